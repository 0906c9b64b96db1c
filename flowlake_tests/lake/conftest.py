from __future__ import annotations

from pathlib import Path

import pytest

from flowlake.lake import Lake
from flowlake_tests.lake.toys import TOYS


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "data", tables=TOYS)
