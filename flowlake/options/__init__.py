"""Option contracts: symbols, chains, time to expiration, implied forwards, implied volatility and Greeks."""

from flowlake.options.black import Greeks, black_price
from flowlake.options.engine import greeks, implied_volatility, volatility_and_greeks
from flowlake.options.forwards import implied_forwards
from flowlake.options.pricing import price_chain
from flowlake.options.status import Status
from flowlake.options.time import time_to_expiration

__all__ = [
    "Greeks",
    "Status",
    "black_price",
    "greeks",
    "implied_forwards",
    "implied_volatility",
    "price_chain",
    "time_to_expiration",
    "volatility_and_greeks",
]
