"""Feature tables: pure functions from a session's frames to one row per underlying, and frozen point-in-time views."""
