"""Evaluation: how often flowlake is right, and how often it cries wolf, measured on sessions nobody labelled.

`run` injects episodes and decoys into real or simulated sessions, re-enacts public cases, and judges detection beside
seven simple rules on the same data; `flowlake.evaluate.summary` says it in words.
"""

from flowlake.evaluate.runner import Options, run

__all__ = ["Options", "run"]
