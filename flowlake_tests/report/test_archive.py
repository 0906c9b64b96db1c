"""The index: every page of the folder, newest first, whatever it says of itself."""

from __future__ import annotations

from pathlib import Path

from flowlake.report.archive import ArchivePage, read_archive, render_archive
from flowlake.report.daily import render_daily
from flowlake.report.market import render_market
from flowlake.report.ticker import render_ticker
from flowlake_tests.report.examples import HOSTILE, Tags, archive, event, market, report, ticker


def test_pages_are_known_by_what_they_say_of_themselves(tmp_path: Path):
    (tmp_path / "daily-2026-06-01.html").write_text(render_daily(report([event(1)])), encoding="utf-8")
    (tmp_path / "ticker-ABC.html").write_text(render_ticker(ticker()), encoding="utf-8")
    (tmp_path / "index.html").write_text("the index itself", encoding="utf-8")
    found = {entry.file: entry for entry in read_archive(tmp_path)}
    assert set(found) == {"daily-2026-06-01.html", "ticker-ABC.html"}
    daily = found["daily-2026-06-01.html"]
    assert (daily.kind, daily.session, list(daily.names), daily.origin) == ("daily", "2026-06-01", ["ABC"], "simulated")


def test_pages_of_others_are_listed_by_their_title(tmp_path: Path):
    (tmp_path / "data-docs").mkdir()
    (tmp_path / "data-docs" / "index.html").write_text("<title>Data docs</title>", encoding="utf-8")
    (tmp_path / "odd.html").write_text('<meta name="flowlake:page" content="not json">', encoding="utf-8")
    found = {entry.file: entry.title for entry in read_archive(tmp_path)}
    assert found == {"data-docs/index.html": "Data docs", "odd.html": "odd"}


def test_hostile_names_survive_the_way_through_a_page(tmp_path: Path):
    (tmp_path / "market.html").write_text(render_market(market(1, HOSTILE)), encoding="utf-8")
    entries = read_archive(tmp_path)
    assert list(entries[0].names) == [HOSTILE]
    assert Tags(render_archive(ArchivePage(entries))).count("script") == 1


def test_the_newest_session_comes_first():
    html = render_archive(archive(3))
    places = [html.index(f'href="daily-{day}.html"') for day in ("2026-06-01", "2026-05-31", "2026-05-30")]
    assert places == sorted(places)


def test_an_empty_folder_has_an_index(tmp_path: Path):
    assert "No report has been written yet" in render_archive(ArchivePage(read_archive(tmp_path)))
