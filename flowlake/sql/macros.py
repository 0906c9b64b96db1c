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
)
"""Parameters are named so that no column of a table hides them."""
