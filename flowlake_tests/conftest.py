"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real market and filing data beside the repository; skips where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("real data not present: ../shared/data does not exist beside the repository")
    return SHARED_DATA
