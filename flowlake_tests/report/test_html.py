"""What all pages share: file names that stay in the folder, one script that may run, cells that sort by value."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from flowlake.report.daily import render_daily
from flowlake.report.html import cell, counted, monitor_file, replace_file, signed, ticker_file
from flowlake_tests.report.examples import HOSTILE, event, report


@given(st.text(min_size=1, max_size=80))
def test_a_page_of_any_name_stays_in_its_folder(name: str):
    file = ticker_file(name)
    assert re.fullmatch(r"ticker-[A-Za-z0-9_]+\.html", file)
    assert len(file) <= 255


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_different_names_have_different_pages(one: str, other: str):
    assert (ticker_file(one) == ticker_file(other)) == (one == other)


def test_plain_names_read_as_they_are():
    assert ticker_file("AAPL") == "ticker-AAPL.html"
    assert ticker_file("BRK.B") == "ticker-BRK_2e_B.html"
    assert monitor_file("SPX") == "monitor-SPX.html"


def test_the_policy_of_a_page_lets_its_own_script_run_and_no_other():
    html = render_daily(report([event(1)]))
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src &#39;sha256-{digest}&#39;" in html or f"script-src 'sha256-{digest}'" in html


def test_an_unchanged_page_is_left_alone(tmp_path: Path):
    page = tmp_path / "page.html"
    assert replace_file(page, "one")
    before = page.stat().st_mtime_ns
    assert not replace_file(page, "one")
    assert page.stat().st_mtime_ns == before
    assert replace_file(page, "two")
    assert [found.name for found in tmp_path.iterdir()] == ["page.html"]


def test_a_cell_sorts_by_its_value_and_escapes_its_text():
    assert cell(0.1 + 0.2, "0.30") == '<td class="n" data-v="0.3">0.30</td>'
    assert cell(None, "–") == '<td class="n" data-v="">–</td>'
    assert "<script>" not in cell(HOSTILE, HOSTILE)


def test_counts_and_changes_read_well():
    assert [counted(n, "event") for n in (0, 1, 2)] == ["0 events", "1 event", "2 events"]
    assert [signed(v, 1) for v in (1.25, -3.0, None)] == ["+1.2", "-3.0", "–"]
