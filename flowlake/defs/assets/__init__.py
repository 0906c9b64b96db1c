"""The assets, a module a stage: market, chains, baselines, anomalies, events, published."""
