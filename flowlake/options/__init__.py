"""Option contracts: symbols, chains, time to expiration, implied forwards, implied volatility and Greeks."""

from flowlake.options.black import Greeks, black_price
from flowlake.options.engine import greeks, implied_volatility, volatility_and_greeks
from flowlake.options.forwards import implied_forwards
from flowlake.options.pricing import price_chain
from flowlake.options.rates import RateCurve
from flowlake.options.status import Status
from flowlake.options.surface import implied_surface
from flowlake.options.time import time_to_expiration
from flowlake.options.vendor import vendor_differences

__all__ = [
    "Greeks",
    "RateCurve",
    "Status",
    "black_price",
    "greeks",
    "implied_forwards",
    "implied_surface",
    "implied_volatility",
    "price_chain",
    "time_to_expiration",
    "vendor_differences",
    "volatility_and_greeks",
]
