"""The notebooks: stripped in git, and run from top to bottom on a lake the pipeline made of a simulated market."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import polars as pl
import pytest

from flowlake.lake import Lake
from flowlake.runs import run_sessions
from flowlake.sandbox.server import SandboxServer
from flowlake.sandbox.simulator import SimulatorConfig, simulate
from flowlake.schemas import table
from flowlake.settings import get_settings
from flowlake_tests.defs.conftest import FIRST, SESSIONS, environment
from flowlake_tests.factories import frame

if TYPE_CHECKING:
    from jupyter_client.manager import KernelManager

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped_and_no_path_of_this_machine_is_named(path: Path):
    notebook = json.loads(path.read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert cells
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"


def test_there_are_five_and_each_says_what_simulated_means():
    assert len(NOTEBOOKS) == 5
    for path in NOTEBOOKS:
        assert "every number was generated" in path.read_text(), path.stem


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of the pipeline over a small simulated market, and invented insiders in two of its companies."""
    folder = tmp_path_factory.mktemp("notebooks")
    market = simulate(SimulatorConfig(underlyings=20, sessions=len(SESSIONS), first_session=FIRST, seed=11))
    listed = market.contracts(SESSIONS[-1]).group_by("underlying").len().sort("len", "underlying")
    names = sorted(listed["underlying"].head(6))
    with (
        SandboxServer(market) as server,
        pytest.MonkeyPatch.context() as patch,
        dg.DagsterInstance.ephemeral() as instance,
    ):
        for name in ("MASSIVE_API_KEY", "POLYGON_API_KEY"):
            patch.delenv(name, raising=False)
        for name, value in environment(server, ",".join(names), folder).items():
            patch.setenv(name, value)
        get_settings.cache_clear()
        result = run_sessions(instance, "end_of_day", SESSIONS[0], SESSIONS[-1], keep_existing=False)
    get_settings.cache_clear()
    assert result.succeeded, result.failures
    lake = Lake.open(folder / "data")
    with lake.commit("test") as tx:
        for key in lake.partitions("scored_events"):
            tx.replace("insider_signals", key, _insiders(lake.read("scored_events", key)))
    lake.publish(None, "test")
    return folder / "data"


def _insiders(events: pl.DataFrame) -> pl.DataFrame:
    rows = [
        {
            "session": event["session"],
            "ticker": event["underlying"],
            "buyers": number % 2,
            "purchase_value_usd": 250_000.0 * (number % 2),
            "sellers": (number + 1) % 2,
            "sale_value_usd": 90_000.0 * ((number + 1) % 2),
            "available_at": event["event_time"],
            "origin": "simulated",
        }
        for number, event in enumerate(events.head(2).to_dicts())
    ]
    return frame(table("insider_signals"), rows)


@pytest.fixture(scope="module")
def kernel(data_dir: Path) -> Iterator[KernelManager]:
    """One kernel for all notebooks: each starts by forgetting what the one before defined."""
    from jupyter_client.manager import KernelManager

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWLAKE_DATA_DIR", str(data_dir))
        patch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
        manager = KernelManager(kernel_name="python3")
        yield manager
        manager.shutdown_kernel(now=True)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_tables_and_charts(path: Path, kernel: KernelManager):
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell("%reset -f"))
    client = NotebookClient(notebook, km=kernel, timeout=120, resources={"metadata": {"path": str(FOLDER)}})
    client.execute(reset_kc=False)  # raises, with the cell and its traceback, where a cell fails
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in shown if output.get("name") == "stderr"]
    kinds = {kind for output in shown for kind in output.get("data", {})}
    assert "image/png" in kinds
    assert "text/html" in kinds
    assert "origin of the events: simulated" in "".join(output.get("text", "") for output in shown)
