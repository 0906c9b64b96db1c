"""The compiled path: the same numbers as NumPy, vectorised, independent of neighbours, and not imported early."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from flowlake.options import Status, black_price, engine, volatility_and_greeks

COUNT_VECTOR_INSTRUCTIONS = """
import re
import numpy as np
from flowlake.options import kernel, tree

block, nodes = np.ones(kernel.ROWS * kernel.LANES), np.ones(tree.ROWS * tree.ROW)
for name, function, arguments in [
    ("prepare", kernel._prepare, (block,)),
    ("step", kernel._step, (block,)),
    ("finish", kernel._finish, (block,)),
    ("roll_back_twice", tree._roll_back_twice, (nodes, 48, 1.0, 1.0, 0.0, 1.0, 0.0)),
]:
    fresh = kernel.njit(**{**kernel.OPTIONS, "cache": False})(function.py_func)
    fresh(*arguments)
    assembly = "\\n".join(fresh.inspect_asm().values())
    vector = re.findall(r"\\tv?(?:fn?m(?:add|sub)\\w*|mul|add)pd\\s|\\tfml[as]\\s+v", assembly)  # x86-64 or AArch64
    scalar = re.findall(r"\\tv?(?:fn?m(?:add|sub)\\w*|mul|add)sd\\s|\\tfn?m(?:add|sub)\\s+d", assembly)
    print(name, len(vector), len(scalar))
"""


def market(count: int, seed: int = 4) -> dict[str, Any]:
    """Prices of a plausible market, with every kind of bad row mixed in."""
    rng = np.random.default_rng(seed)
    spot = np.exp(rng.uniform(np.log(5), np.log(600), count))
    years = np.exp(rng.uniform(np.log(0.5 / 365), np.log(2.5), count))
    volatility = np.exp(rng.normal(np.log(0.39), 0.6, count)).clip(0.05, 3)
    strike = spot * np.exp(rng.normal(size=count) * volatility * np.sqrt(years)).clip(0.5, 2)
    discount = np.exp(-0.043 * years)
    inputs = {"forward": spot / discount, "strike": strike, "years": years, "discount": discount}
    inputs["is_call"] = rng.random(count) < 0.5
    price = black_price(volatility, **inputs)
    for name, bad in (("price", 0.0), ("price", np.nan), ("price", 1e9), ("forward", np.nan), ("years", -1.0)):
        rows = rng.random(count) < 0.01
        target = price if name == "price" else inputs[name]
        target[rows] = bad
    below = rng.random(count) < 0.02
    price[below] *= 0.3
    return {"price": price, **inputs, "spot": spot}


def test_compiled_and_numpy_agree_to_rounding():
    inputs = market(30_000)
    compiled = volatility_and_greeks(**inputs, engine="numba")
    numpy = volatility_and_greeks(**inputs, engine="numpy")
    np.testing.assert_array_equal(compiled[1], numpy[1])
    np.testing.assert_allclose(compiled[0], numpy[0], rtol=1e-11)
    for name in numpy[2]._fields:
        expected = getattr(numpy[2], name)
        typical = np.nanmedian(np.abs(expected))
        np.testing.assert_allclose(
            getattr(compiled[2], name), expected, rtol=1e-8, atol=1e-8 * typical, err_msg=name, equal_nan=True
        )


def test_no_result_depends_on_neighbours_batch_size_or_threads():
    inputs = market(70_001)
    whole = volatility_and_greeks(**inputs, engine="numba", threads=2)
    part = {name: values[333:1_501] for name, values in inputs.items()}
    alone = volatility_and_greeks(**part, engine="numba", threads=1)
    np.testing.assert_array_equal(whole[0][333:1_501], alone[0])
    np.testing.assert_array_equal(whole[1][333:1_501], alone[1])
    for one, other in zip(whole[2], alone[2], strict=True):
        np.testing.assert_array_equal(one[333:1_501], other)


def test_an_empty_batch_is_an_empty_answer():
    none = np.empty(0)
    volatility, status, values = volatility_and_greeks(none, none, none, none, none, none > 0)
    assert volatility.size == status.size == values.delta.size == 0


def test_the_numpy_path_serves_where_numba_is_absent(monkeypatch):
    monkeypatch.setattr(engine, "has_numba", lambda: False)
    _, status, _ = volatility_and_greeks(12.0, 110.0, 100.0, 0.25, 1.0, True)
    assert status[0] == Status.OK
    with pytest.raises(engine.EngineUnavailable, match="pip install numba"):
        volatility_and_greeks(12.0, 110.0, 100.0, 0.25, 1.0, True, engine="numba")


def test_importing_the_package_imports_neither_numba_nor_scipy():
    code = "import sys, flowlake.options; print(sorted({'numba', 'scipy', 'pandas'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_inner_loops_stay_vectorised():
    result = subprocess.run(
        [sys.executable, "-c", COUNT_VECTOR_INSTRUCTIONS],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    counts = [line.split() for line in result.stdout.splitlines()]
    assert len(counts) == 4
    for name, vector, scalar in counts:
        assert int(vector) >= 6, f"{name}: no packed arithmetic, LLVM no longer vectorises this loop"
        # The loop's remainder may be scalar, one copy of its arithmetic; the bulk must not be.
        assert int(vector) >= int(scalar), f"{name}: {vector} packed against {scalar} scalar instructions"
