"""Option analytics: symbols, chains, implied forwards, implied volatility and Greeks."""
