"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("flowlake", deadline=None)
settings.load_profile("flowlake")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real market and filing data beside the repository; skips where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("real data not present: ../shared/data does not exist beside the repository")
    return SHARED_DATA
