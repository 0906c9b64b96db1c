"""Table macros of the DuckDB catalog: the questions analysts ask every day, by name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Macro:
    """One table macro, created where all of `tables` are declared."""

    name: str
    parameters: tuple[str, ...]
    tables: tuple[str, ...]
    description: str
    query: str


MACROS = (
    Macro(
        name="chain",
        parameters=("of_underlying", "on_session"),
        tables=("option_chains",),
        description="chain(underlying, session): one underlying's chain, by expiration, strike and right.",
        query=(
            "SELECT * FROM option_chains WHERE underlying = of_underlying AND session = CAST(on_session AS DATE) "
            'ORDER BY expiration, strike, "right"'
        ),
    ),
    Macro(
        name="contract_history",
        parameters=("of_contract",),
        tables=("option_chains",),
        description="contract_history(contract): one contract ('O:' + OCC symbol) over all kept sessions.",
        query="SELECT * FROM option_chains WHERE contract = of_contract ORDER BY session",
    ),
    Macro(
        name="events_on",
        parameters=("on_session",),
        tables=("scored_events", "event_status"),
        description=(
            "events_on(session): the scored events of a session, highest score first, with the status that the next "
            "morning's open interest gave them."
        ),
        query=(
            "SELECT e.* REPLACE (coalesce(s.status, e.status) AS status), s.oi_change, s.oi_confirmation, "
            "s.explanation AS status_explanation FROM scored_events AS e LEFT JOIN event_status AS s USING (event_id) "
            "WHERE e.session = CAST(on_session AS DATE) ORDER BY e.score DESC, e.rank"
        ),
    ),
    Macro(
        name="latest_events",
        parameters=(),
        tables=("scored_events",),
        description="latest_events(): the scored events of the newest session, most unusual first.",
        query=("SELECT * FROM scored_events WHERE session = (SELECT max(session) FROM scored_events) ORDER BY rank"),
    ),
    Macro(
        name="event_factors",
        parameters=("of_event",),
        tables=("scored_events",),
        description="event_factors(event_id): an event's factors, one row each; their contributions (nats) add up to "
        "its llr_total.",
        query=(
            "SELECT session, event_id, underlying, f.factor, f.value, f.contribution, f.text, origin FROM "
            "(SELECT session, event_id, underlying, origin, unnest(factors) AS f FROM scored_events "
            "WHERE event_id = of_event) ORDER BY f.contribution DESC"
        ),
    ),
    Macro(
        name="event_lines",
        parameters=("of_event",),
        tables=("scored_events",),
        description="event_lines(event_id): an event's leading contracts, what traded against what was expected.",
        query=(
            "SELECT session, event_id, underlying, unnest(contracts, recursive := true), origin FROM scored_events "
            "WHERE event_id = of_event"
        ),
    ),
    Macro(
        name="event_statuses",
        parameters=("on_session",),
        tables=("scored_events", "event_status"),
        description="event_statuses(session): a session's events with the status the next morning's open interest "
        "gave them ('provisional' until then).",
        query=(
            "SELECT e.session, e.rank, e.event_id, e.underlying, e.score, e.conviction, e.direction, "
            "coalesce(s.status, e.status) AS status, s.oi_change, s.oi_confirmation, s.explanation, "
            "s.available_at AS status_known_at, e.origin FROM scored_events e LEFT JOIN event_status s USING "
            "(event_id) WHERE e.session = CAST(on_session AS DATE) ORDER BY e.rank"
        ),
    ),
    Macro(
        name="ticker_history",
        parameters=("of_underlying",),
        tables=("option_chains", "scored_events", "iv_surface"),
        description="ticker_history(underlying): one row per session: spot, option volume, open interest at its "
        "start, 30-day at-the-money volatility, and the scored event if there was one.",
        query=(
            "SELECT c.session, c.spot, c.volume, c.call_volume, c.put_volume, c.open_interest, v.atm_volatility, "
            "e.score, e.conviction, e.direction, e.event_id, c.origin FROM "
            "(SELECT session, max(spot) AS spot, sum(volume)::BIGINT AS volume, "
            "coalesce(sum(volume) FILTER (\"right\" = 'C'), 0)::BIGINT AS call_volume, "
            "coalesce(sum(volume) FILTER (\"right\" = 'P'), 0)::BIGINT AS put_volume, "
            "sum(open_interest)::BIGINT AS open_interest, any_value(origin) AS origin FROM option_chains "
            "WHERE underlying = of_underlying GROUP BY session) c "
            "LEFT JOIN (SELECT session, atm_volatility FROM iv_surface WHERE underlying = of_underlying "
            "AND tenor_days = 30) v USING (session) "
            "LEFT JOIN (SELECT session, score, conviction, direction, event_id FROM scored_events "
            "WHERE underlying = of_underlying) e USING (session) ORDER BY c.session"
        ),
    ),
    Macro(
        name="oi_changes",
        parameters=("of_underlying", "on_session"),
        tables=("option_chains",),
        description="oi_changes(underlying, session): what the session before opened and closed, by contract, the "
        "largest change first; open interest of a session is the figure at its start. Not adjusted for splits.",
        query=(
            'SELECT n.session, b.session AS session_before, n.contract, n.expiration, n.strike, n."right", '
            "b.volume AS volume_before, b.open_interest AS open_interest_before, n.open_interest, "
            "n.open_interest - b.open_interest AS oi_change, n.price, n.delta, n.origin FROM option_chains n "
            "JOIN option_chains b USING (contract_id) WHERE n.underlying = of_underlying "
            "AND n.session = CAST(on_session AS DATE) AND b.underlying = of_underlying AND b.session = "
            "(SELECT max(session) FROM option_chains WHERE underlying = of_underlying "
            "AND session < CAST(on_session AS DATE)) AND n.open_interest <> b.open_interest "
            "ORDER BY abs(n.open_interest - b.open_interest) DESC, n.contract"
        ),
    ),
    Macro(
        name="top_volume",
        parameters=("on_session",),
        tables=("option_chains", "contract_baselines"),
        description="top_volume(session): contracts by volume, beside their mean over the 20 sessions before and how "
        "many times that it is; add a LIMIT.",
        query=(
            'SELECT c.session, c.underlying, c.contract, c.expiration, c.strike, c."right", c.volume, '
            "b.volume_mean_20, c.volume / nullif(b.volume_mean_20, 0) AS times_usual, c.open_interest, c.price, "
            "c.volume * c.price * c.multiplier AS premium_usd, c.delta, c.implied_volatility, c.origin "
            "FROM (SELECT * FROM option_chains WHERE session = CAST(on_session AS DATE) AND volume > 0) c "
            "LEFT JOIN (SELECT contract_id, volume_mean_20 FROM contract_baselines "
            "WHERE session = CAST(on_session AS DATE)) b USING (contract_id) ORDER BY c.volume DESC, c.contract"
        ),
    ),
    Macro(
        name="alarms_by_rule",
        parameters=("on_session",),
        tables=("rule_alarms",),
        description="alarms_by_rule(session): what the plain thresholds of the earlier system would flag, beside our "
        "conviction levels, the loudest first.",
        query=(
            "SELECT session, rule, kind, contracts, underlyings, universe, description, origin FROM rule_alarms "
            "WHERE session = CAST(on_session AS DATE) ORDER BY underlyings DESC, rule"
        ),
    ),
    Macro(
        name="calibration_summary",
        parameters=(),
        tables=("calibration",),
        description="calibration_summary(): alarms promised and alarms seen by conviction level, over the counted "
        "sessions to the newest one.",
        query=(
            "SELECT session, level, sessions, judged, nominal, observed, ratio, ratio_low, ratio_high, verdict, origin "
            "FROM calibration WHERE session = (SELECT max(session) FROM calibration) AND activity = 'all' "
            "ORDER BY nominal DESC"
        ),
    ),
    Macro(
        name="what_followed",
        parameters=("at_horizon",),
        tables=("event_outcomes",),
        description="what_followed(horizon): by conviction, how the stock moved in the event's direction 1, 3, 5 or "
        "10 sessions later. Overlapping windows and few events: read it with the counts.",
        query=(
            "SELECT conviction, horizon_sessions, count(*) AS events, count(z) AS judged, "
            "avg((signed_return > 0)::INT) AS share_in_direction, avg(signed_return) AS mean_signed_return, "
            "median(signed_return) AS median_signed_return, avg(z) AS mean_z, "
            "avg(oi_confirmation) AS mean_oi_confirmation, origin FROM event_outcomes "
            "WHERE horizon_sessions = at_horizon AND direction <> 'neutral' "
            "GROUP BY conviction, horizon_sessions, origin "
            "ORDER BY array_position(['EXTREME', 'HIGH', 'MEDIUM', 'LOW', 'NONE'], conviction)"
        ),
    ),
    Macro(
        name="insiders_and_flow",
        parameters=("since",),
        tables=("scored_events", "insider_signals"),
        description="insiders_and_flow(since): scored events from a session on in whose company insiders traded in "
        "the 30 days before; both as known at the time.",
        query=(
            "SELECT e.session, e.underlying, e.score, e.conviction, e.direction, i.buyers, i.opportunistic_buyers, "
            "i.purchase_value_usd, i.is_cluster_buy, i.sellers, i.sale_value_usd, i.planned_sale_value_usd, "
            "i.net_purchase_ratio, e.event_id, e.origin AS event_origin, i.origin AS insider_origin "
            "FROM scored_events e JOIN insider_signals i ON i.session = e.session AND i.ticker = e.underlying "
            "WHERE e.session >= CAST(since AS DATE) ORDER BY e.score DESC, e.session DESC, e.underlying"
        ),
    ),
    Macro(
        name="market_history",
        parameters=(),
        tables=("option_chains", "scored_events"),
        description="market_history(): one row per session: contracts, volume, put/call ratio, and events by "
        "conviction.",
        query=(
            "SELECT c.*, coalesce(e.events, 0) AS events, coalesce(e.low_or_above, 0) AS low_or_above, "
            "coalesce(e.high_or_extreme, 0) AS high_or_extreme FROM "
            "(SELECT session, any_value(origin) AS origin, count(*) AS contracts, "
            "count(DISTINCT underlying) AS underlyings, sum(volume)::BIGINT AS volume, "
            "sum(volume) FILTER (\"right\" = 'P') / nullif(sum(volume) FILTER (\"right\" = 'C'), 0) AS put_call_ratio "
            "FROM option_chains GROUP BY session) c LEFT JOIN "
            "(SELECT session, count(*) AS events, count(*) FILTER (conviction <> 'NONE') AS low_or_above, "
            "count(*) FILTER (conviction IN ('HIGH', 'EXTREME')) AS high_or_extreme FROM scored_events "
            "GROUP BY session) e USING (session) ORDER BY c.session"
        ),
    ),
    Macro(
        name="open_alerts",
        parameters=(),
        tables=("alerts",),
        description="open_alerts(): alerts nobody has acknowledged and that have not expired, highest score first.",
        query=(
            "SELECT session, alert_id, underlying, score, conviction, direction, event_status, status, decision, "
            "reason, first_seen, last_updated, explanation, origin FROM alerts "
            "WHERE status NOT IN ('acknowledged', 'expired') ORDER BY score DESC, alert_id"
        ),
    ),
    Macro(
        name="features_asof",
        parameters=("at_moment",),
        tables=("options_flow_features",),
        description="features_asof(moment): of each underlying the newest session's features known strictly before.",
        query=(
            "SELECT * FROM options_flow_features WHERE available_at < CAST(at_moment AS TIMESTAMPTZ) "
            "QUALIFY row_number() OVER (PARTITION BY underlying ORDER BY session DESC) = 1 ORDER BY underlying"
        ),
    ),
)
"""Parameters are named so that no column of a table hides them."""
