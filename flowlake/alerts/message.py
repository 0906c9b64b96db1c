"""One message as every channel gets it, and text made safe for headers, pages and screens."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

_BIDI = dict.fromkeys([0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)])
"""Characters that make a reader see text in another order than it is written."""

_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@dataclass(frozen=True)
class Message:
    """What is sent: long forms for mail, short forms for push, the same facts in each.

    `pictures` are PNG bytes by content id, shown in `html` as `cid:`; `reply` says that it continues `thread_id`.
    """

    message_id: str
    thread_id: str
    subject: str
    text: str
    html: str
    title: str
    body: str
    date: datetime
    link: str | None = None
    reply: bool = False
    urgent: bool = False
    pictures: Mapping[str, bytes] = field(default_factory=dict)


def clean(text: object, limit: int = 200) -> str:
    """`text` on one line, without control and direction-changing characters, at most `limit` characters long."""
    spaced = "".join(" " if letter.isspace() else letter for letter in str(text).translate(_BIDI))
    shown = "".join(letter for letter in spaced if unicodedata.category(letter) not in _INVISIBLE)
    visible = " ".join(shown.split())
    return visible if len(visible) <= limit else visible[: limit - 1].rstrip() + "…"
