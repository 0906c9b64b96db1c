"""Encoded answers kept for a while: the key says what the content is, so an entry can be old but never wrong."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """An encoded page: its body, whether that is gzip, and the link to the page after it."""

    body: bytes
    is_gzip: bool
    next: str | None


class AnswerCache:
    """The answers used last, up to `max_bytes` of bodies; safe to use from many threads."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> Answer | None:
        """The answer under `key`, None if it is not kept (any more)."""
        with self._lock:
            answer = self._answers.get(key)
            if answer is not None:
                self._answers.move_to_end(key)
            return answer

    def put(self, key: str, answer: Answer) -> None:
        """Keep `answer`, dropping those not used for longest; one larger than a quarter of the room is not kept."""
        size = len(answer.body)
        if size > self._max_bytes // 4:
            return
        with self._lock:
            old = self._answers.pop(key, None)
            self._bytes += size - (len(old.body) if old else 0)
            self._answers[key] = answer
            while self._bytes > self._max_bytes:
                _, dropped = self._answers.popitem(last=False)
                self._bytes -= len(dropped.body)
