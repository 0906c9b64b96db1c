"""A local market for demos and tests: simulator, recorded sessions, and a loopback server speaking the vendor API."""
