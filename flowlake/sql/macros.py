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
        tables=("scored_events",),
        description="events_on(session): the scored events of a session, highest score first.",
        query="SELECT * FROM scored_events WHERE session = CAST(on_session AS DATE) ORDER BY score DESC",
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
