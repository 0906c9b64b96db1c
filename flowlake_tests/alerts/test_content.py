"""What an alert says: figures a person can check, caveats always, and hostile names that stay text."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from flowlake.alerts import content, evidence, ledger, policy, render
from flowlake.alerts.channels.email import to_mail
from flowlake.alerts.compose import compose_alert
from flowlake.alerts.message import Message, clean
from flowlake.alerts.sample import sample_evidence
from flowlake.lake import Lake
from flowlake.schemas import table
from flowlake.settings import AlertSettings, EmailSettings, Settings
from flowlake_tests.alerts.scenes import NOW, SESSION, event, fill, full_scene, settings
from flowlake_tests.factories import frame

HOSTILES = {
    "script": "<script>document.title='ran'</script><img src=x onerror=alert(1)>",
    "right-to-left": "ABC\u202eCBA\u2066\u200f",
    "long": "W" * 200,
    "header": "A\r\nBcc: thief@example.com\r\n\r\n<b>",
    "template": "{{ 7 * 7 }}{% raw %}",
    "markup": "[bold red]A[/]\x1b[31m",
}


def alert_of(lake: Lake, now: datetime = NOW) -> dict[str, Any]:
    """The row the ledger would get for the lake's only event."""
    events = lake.read("scored_events", SESSION.isoformat())
    held = policy.update({}, policy.candidates(events, "scored_events", 7.0, []), now)
    row = policy.decide(held.values(), policy.Standing(), AlertSettings(), now).alerts[0]
    with ledger.changes(lake) as transaction:
        ledger.put(transaction, "alerts", [row])
    return row


def built(lake: Lake, **chosen: Any) -> content.Content:
    return content.build(evidence.gather(lake.snapshot(), alert_of(lake)), AlertSettings(**chosen))


def mail_of(lake: Lake, **chosen: Any) -> Message:
    return compose_alert(lake.snapshot(), alert_of(lake), "email", settings(lake.paths.root, **chosen), NOW)


class Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_the_figures_add_up(lake: Lake):
    full_scene(lake)
    said = built(lake)
    facts = dict(said.arithmetic) | dict(said.risks)
    assert facts["Break-even at expiration"].startswith("$105.85, a move of +5.8% by 19 Jun 2026")
    assert facts["Move the options imply"].startswith("±6.4% by then: call + put at strike 100 cost $6.40")
    assert facts["If the stock were at $106.40 then"].startswith("worth $1.40, 65% more than it costs now")
    assert facts["Most a buyer can lose"] == "the whole premium: $85 a contract"
    assert facts["Time decay"].startswith("about $4.00 a day and contract")
    assert facts["Delta"] == "+0.22: ends in the money roughly 22 times in 100"
    line = said.lines[0]
    assert (line.name, line.gamma, line.open_interest) == ("ABC 19 Jun 2026 105 call", pytest.approx(0.031), 250)
    assert said.volume_words.startswith("9,000 calls traded, 29.0 times the usual 310")
    assert sum(value for _, value, _ in said.factors) == pytest.approx(said.llr_total)


def test_a_put_breaks_even_below_its_strike(lake: Lake):
    put = {**event()["contracts"][0], "right": "P", "strike": 95.0, "contract": "O:ABC260619P00095000", "delta": -0.2}
    full_scene(lake, contracts=[put], right="P", direction="bearish")
    facts = dict(built(lake).arithmetic)
    assert facts["Break-even at expiration"].startswith("$94.15, a move of -5.8%")
    assert "If the stock were at $93.60 then" in facts


def test_without_a_direction_no_move_is_spelled_out(lake: Lake):
    full_scene(lake, direction="neutral")
    said = built(lake)
    assert not [name for name, _ in said.arithmetic if name.startswith("If the stock")]
    assert "no direction is claimed" in said.direction_words


def test_what_is_unknown_is_said_to_be_unknown(lake: Lake):
    full_scene(lake)
    with lake.commit("test") as transaction:
        transaction.remove("option_chains", SESSION.isoformat())
    said = built(lake)
    assert dict(said.arithmetic)["Move the options imply"].startswith("unknown")
    assert said.lines[0].gamma is None
    assert "have not been looked up" in said.insiders
    assert "none known" in dict(said.risks)["Earnings and other dates"]


def test_an_alert_whose_evidence_is_no_longer_kept_can_still_be_sent(lake: Lake):
    full_scene(lake)
    alert = alert_of(lake)
    with lake.commit("test") as transaction:
        transaction.remove("scored_events", SESSION.isoformat())
        transaction.remove("option_chains", SESSION.isoformat())
    message = compose_alert(lake.snapshot(), alert, "email", settings(lake.paths.root), NOW)
    assert "ABC calls are statistically unusual" in message.text
    assert content.DISCLAIMER in message.text


def test_insiders_and_the_calendar_are_told_where_known(lake: Lake):
    full_scene(lake)
    key = SESSION.isoformat()
    common = {"session": SESSION, "available_at": NOW - timedelta(hours=3), "origin": "simulated"}
    bought = {"event_id": event()["event_id"], "transaction_class": "open_market_purchase", "transactions": 3,
              "owners": 2, "value_usd": 1_250_000.0}  # fmt: skip
    earnings = {"underlying": "ABC", "kind": "earnings", "description": "earnings after the close",
                "event_on": date(2026, 6, 11)}  # fmt: skip
    over = {**earnings, "event_on": date(2026, 5, 11)}
    fill(lake, {("event_insiders", key): [common | bought], ("known_events", key): [common | earnings, common | over]})
    said = built(lake)
    assert said.insiders == ("Known filings of the last 90 days: open-market purchases: 3 by 2 insider(s), $1.2M.")
    dates = dict(said.risks)["Earnings and other dates"]
    assert dates.startswith("11 Jun: earnings after the close")
    assert "May" not in dates


def test_within_the_session_insiders_are_looked_up_in_the_filings_known_by_then(lake: Lake):
    full_scene(lake)
    filings, transactions, trades = [], [], []
    for number, (ticker, filed) in enumerate(
        [("ABC", date(2026, 5, 20)), ("XYZ", date(2026, 5, 20)), ("ABC", date(2026, 1, 2)), ("ABC", SESSION)]
    ):
        # The last one is filed in the evening, after the event was known.
        known = datetime(filed.year, filed.month, filed.day, 21, tzinfo=UTC)
        same = {"filed_on": filed, "accession": f"a{number}", "available_at": known, "origin": "simulated"}
        filings.append(same | {"ticker": ticker, "owner_ciks": [f"o{number}"], "form_type": "4"})
        line = {"form_table": "non_derivative", "row_number": 1, "transaction_class": "open_market_sale"}
        transactions.append(same | line | {"ticker": ticker, "shares": 100.0, "transaction_date": filed})
        trades.append(same | line | {"value_usd": 5_000_000.0, "is_chain_repeat": False})
    rows = {"insider_filings": filings, "insider_transactions": transactions, "insider_trades": trades}
    partitions: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for name, of_table in rows.items():
        for row in of_table:
            declared = {column: value for column, value in row.items() if column in table(name).schema}
            partitions.setdefault((name, row["filed_on"].isoformat()), []).append(declared)
    fill(lake, partitions)
    assert built(lake).insiders == "Known filings of the last 90 days: open-market sales: 1 by 1 insider(s), $5.0M."


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        (12.0, "about 12 times a day"),
        (1.0, "about once a day"),
        (0.5, "about once every 2 trading days"),
        (0.2, "about once a week"),
        (0.05, "about once every 4 weeks"),
        (0.01, "about once every 5 months"),
        (0.0008, "about once every 5 years"),
    ],
)
def test_a_rate_of_false_alarms_in_words(rate: float, words: str):
    assert words in content.rate_words(rate, 6000)
    assert "among 6,000 underlyings" in content.rate_words(rate, 6000)


@hypothesis_settings(max_examples=60, deadline=None)
@given(st.floats(1e-7, 60.0))
def test_every_rate_can_be_said(rate: float):
    assert "expected about" in content.rate_words(rate, None)


def test_every_form_says_that_it_is_statistical_and_accuses_nobody(lake: Lake):
    full_scene(lake)
    message = mail_of(lake)
    for text in (message.html, message.text):
        assert "cannot identify traders" in text
        assert "never says that anyone broke the law" in text
        assert "SIMULATED DATA" in text
    assert "says nothing about who or why" in message.body
    assert message.subject.startswith("[SIMULATED] ")
    everything = f"{message.html} {message.text} {message.body}".lower()
    assert not [word for word in ("illegal", "insider trading", "criminal", "guilty") if word in everything]


def test_a_link_leads_to_the_event_in_the_report(lake: Lake):
    full_scene(lake)
    message = mail_of(lake, report_url="https://flow.example.com/reports/")
    assert message.link == "https://flow.example.com/reports/daily-2026-06-01.html#event-1"
    assert f'href="{message.link}"' in message.html
    assert "reports/daily-2026-06-01.html" in mail_of(lake).text


@pytest.mark.parametrize("name", HOSTILES)
def test_hostile_names_are_harmless_in_every_form(name: str, lake: Lake):
    hostile = HOSTILES[name]
    factor = {"factor": hostile, "value": 1.0, "contribution": 2.0, "text": hostile}
    full_scene(lake, hostile, explanation=hostile, annotations=[hostile], algorithms=[hostile], factors=[factor])
    message = mail_of(lake)
    tags = Tags(message.html)
    assert not [tag for tag, _ in tags.seen if tag in ("script", "iframe", "form")]
    assert not [attrs for _, attrs in tags.seen for attribute in attrs if attribute.startswith("on")]
    assert {attrs["src"] for tag, attrs in tags.seen if tag == "img"} <= {"cid:factors", "cid:activity"}
    for text in (message.subject, message.title, message.body, message.text, message.html):
        assert not {"\u202e", "\u2066", "\u200f", "\x1b", "\r"} & set(text)
    assert "49" not in message.subject
    assert len(message.subject) <= 180
    mail = to_mail(message, EmailSettings(recipients="a@example.com"))
    assert mail["Bcc"] is None
    assert "\n" not in mail["Subject"]


@hypothesis_settings(max_examples=150, deadline=None)
@given(st.text(max_size=400), st.integers(1, 200))
def test_cleaned_text_is_one_short_visible_line(text: str, limit: int):
    cleaned = clean(text, limit)
    assert len(cleaned) <= limit
    assert cleaned == clean(cleaned, limit)
    assert cleaned.isprintable()


def test_pictures_are_png_and_small(lake: Lake):
    full_scene(lake)
    pictures = mail_of(lake).pictures
    assert set(pictures) == {"factors", "activity"}
    for png in pictures.values():
        assert png.startswith(b"\x89PNG")
        assert len(png) < 120_000


def test_the_mail_is_small_enough_not_to_be_clipped(lake: Lake):
    full_scene(lake)
    assert len(mail_of(lake).html) < 100_000


def test_the_straddle_is_the_one_nearest_the_forward():
    chain = sample_evidence(SESSION, NOW).chain
    assert content.expected_move(chain, chain["expiration"][0]) == (48.0, pytest.approx(4.08, abs=0.01))
    assert content.expected_move(chain.filter(pl.col("right") == "C"), chain["expiration"][0]) is None
    assert content.expected_move(chain.clear(), SESSION) is None


def test_a_digest_with_nothing_in_it_says_so():
    message = render.digest_message(SESSION, [], "email", NOW)
    assert "Nothing reached the alert score" in message.text
    assert "Nothing reached the alert score" in message.html


def test_a_digest_lists_hostile_names_as_text():
    row = frame(
        table("alerts"), [{"underlying": HOSTILES["script"], "reason": HOSTILES["script"], "conviction": "HIGH"}]
    )
    message = render.digest_message(SESSION, row.to_dicts(), "email", NOW)
    assert not [tag for tag, _ in Tags(message.html).seen if tag in ("script", "img")]


def test_a_notification_shows_what_was_expected_and_seen_and_escapes_it():
    fault = {"key": "check:t:c", "at": NOW, "severity": "ERROR", "what": "fails coverage", "where": "t 2026-06-01",
             "expected": "95 %", "seen": HOSTILES["script"], "link": "http://127.0.0.1:3000/runs/1",
             "recovered_at": None}  # fmt: skip
    row = frame(table("notifications"), [{"severity": "ERROR", "title": "t is broken"}]).row(0, named=True)
    row |= {"occurrences": [fault], "revision": 1, "status": "open"}
    message = render.notification_message(row, "email", NOW, "http://127.0.0.1:3000/")
    assert "expected: 95 %" in message.text
    assert 'href="http://127.0.0.1:3000/runs/1"' in message.html
    assert not [tag for tag, _ in Tags(message.html).seen if tag in ("script", "img")]
    assert message.urgent
    row |= {"status": "recovered", "occurrences": [fault | {"recovered_at": NOW}]}
    recovered = render.notification_message(row, "email", NOW, "http://127.0.0.1:3000/")
    assert "are over as of" in recovered.text
    assert not recovered.urgent


def test_a_channel_without_pictures_gets_none_drawn(lake: Lake):
    full_scene(lake)
    chosen: Settings = settings(lake.paths.root)
    assert compose_alert(lake.snapshot(), alert_of(lake), "telegram", chosen, NOW).pictures == {}
