"""Asset checks: one-scan invariants and data incidents, blocking between the stages."""
