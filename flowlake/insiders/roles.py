"""Canonical roles of insiders from the relation boxes and the title as typed."""

from __future__ import annotations

import polars as pl

ROLES = (
    "ceo",
    "cfo",
    "coo",
    "president",
    "chair",
    "general_counsel",
    "chief_officer",
    "vice_president",
    "officer",
    "director",
    "ten_percent_owner",
    "other",
)
"""Canonical roles, most senior first."""

SENIOR_ROLES = ROLES[: ROLES.index("general_counsel")]
"""Chief executive, financial and operating officers, presidents and chairs."""

_PATTERNS: tuple[tuple[str, str], ...] = (
    ("officer", r"\b(?:former|ex|retired)\b"),
    # "CEO Web Services" heads a division; that is a chief officer, not the chief executive.
    ("ceo", r"(?:\bceo\b|(?:chief|principal) exec\w*(?: officer)?)\.?\s*(?:$|[,&/;()-]|and\b|of the )"),
    ("cfo", r"\bcfo\b|chief financ|principal financial"),
    ("coo", r"\bcoo\b|chief operat"),
    ("general_counsel", r"general counsel|chief legal|\bclo\b|\bgc\b"),
    ("chief_officer", r"\bchief\b|\bc[a-z]{1,2}o\b|principal accounting"),
    ("vice_president", r"vice[ -]*pres|\b[ase]{0,2}vp\b|\bv\.p\."),
    ("president", r"\bpres(?:ident)?\b"),
    ("chair", r"\bchair(?:man|woman|person)?\b"),
)
_POINTERS = r"^(?:\(?see (?:the )?(?:remarks|footnotes?|explanation).*|\*+)$"


def role(title: pl.Expr, other_text: pl.Expr, remarks: pl.Expr) -> pl.Expr:
    """The canonical role (`ROLES`) from relation boxes (columns `is_*` of insider_owners) and texts.

    A title that only points to the remarks is read there; some officers tick 'other' and type their title beside it.
    A former officer is an 'officer'.
    """
    typed = title.str.strip_chars()
    stated = pl.when(typed.str.to_lowercase().str.contains(_POINTERS)).then(remarks).otherwise(typed)
    text = pl.coalesce(stated, pl.when("is_other").then(other_text)).fill_null("").str.to_lowercase()
    chain = pl.when(pl.lit(False)).then(pl.lit("other"))
    works_there = pl.col("is_officer") | pl.col("is_other")
    for name, pattern in _PATTERNS:
        # A chair who is no officer has no officer title; the word then stands in the other text.
        chain = chain.when(works_there & text.str.contains(pattern)).then(pl.lit(name))
    return (
        chain.when(pl.col("is_officer"))
        .then(pl.lit("officer"))
        .when(pl.col("is_director"))
        .then(pl.lit("director"))
        .when(pl.col("is_ten_percent_owner"))
        .then(pl.lit("ten_percent_owner"))
        .otherwise(pl.lit("other"))
    )


def seniority(role_name: pl.Expr) -> pl.Expr:
    """Rank of a role: 0 is the most senior."""
    return role_name.replace_strict(list(ROLES), list(range(len(ROLES))), return_dtype=pl.Int8)
