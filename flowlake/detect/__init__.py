"""Baselines, detection algorithms and scoring: pure functions from chains to explained events."""
