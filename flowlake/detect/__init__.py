"""Baselines, detection algorithms and scoring: pure functions from chains to explained events.

`flowlake.detect.baselines` says what was normal before the session, `flowlake.detect.pipeline` runs everything else on
one session's chain. Each algorithm lives in its own module.
"""
