"""Clients of the outside world that return frames."""
