"""Alerts: which events people are told of, what they are told, through which channels, and the ledger of all that."""
