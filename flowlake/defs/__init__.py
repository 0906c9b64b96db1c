"""The Dagster shell: partitions, resources, assets, checks, jobs, schedules: each a few lines over the core."""

from __future__ import annotations

import warnings

import dagster as dg

# Single-run backfills and partitioned checks are still marked beta and preview; constraints.txt pins what is tested.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
