"""Who may ask: the token, the Host header, and where a request that changes something may come from."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import SecretStr

from flowlake.serve.problems import Problem

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})
MIN_TOKEN_LENGTH = 16
TOKEN_VARIABLE = "FLOWLAKE_SERVE__TOKEN"


class TokenRequired(ValueError):
    """The server would be reachable from outside without a token, or with one easily guessed."""


def is_loopback(host: str) -> bool:
    """Whether an address to bind can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Door:
    """What a request must show to be let in.

    Without `token` everybody who reaches the socket is let in, which `for_address` grants on loopback only. `hosts`
    are the names a Host header may give (None: any): on loopback they keep pages of other sites, whose names have
    been pointed at 127.0.0.1, from reading the lake through a browser.
    """

    token: SecretStr | None
    hosts: frozenset[str] | None

    @classmethod
    def for_address(
        cls, host: str, token: SecretStr | None, hosts: Collection[str] = (), variable: str = TOKEN_VARIABLE
    ) -> Door:
        """The door of a server bound to `host`; `hosts` are further names it is reached by.

        Raises `TokenRequired` where it may be reached from outside and no token of 16 characters or more is set.
        """
        secret = token.get_secret_value() if token is not None else ""
        local = is_loopback(host) and not hosts
        if not local and not secret:
            raise TokenRequired(
                f"serving on {host}{' as ' + ', '.join(sorted(hosts)) if hosts else ''} needs a token: set {variable} "
                "to a long random text (for instance from `openssl rand -hex 32`), or serve on 127.0.0.1"
            )
        if secret and len(secret) < MIN_TOKEN_LENGTH:
            raise TokenRequired(f"{variable} is shorter than {MIN_TOKEN_LENGTH} characters; choose a longer token")
        named = frozenset(LOOPBACK_NAMES | {name.lower() for name in hosts}) if is_loopback(host) else None
        return cls(token if secret else None, named)

    def check_host(self, header: str) -> None:
        """Raise `Problem` 421 where the Host header names another site."""
        if self.hosts is None:
            return
        if host_name(header) not in self.hosts:
            raise Problem(
                421,
                "this server does not answer for the host the request names",
                parameter="Host",
                remedy="use http://127.0.0.1 or localhost; behind a proxy, name it in FLOWLAKE_SERVE__HOSTS",
            )

    def check_token(self, authorization: str) -> None:
        """Raise `Problem` 401 without the token, as `Bearer TOKEN` or as the password of Basic authentication."""
        if self.token is None:
            return
        shown = _shown_token(authorization)
        expected = self.token.get_secret_value()
        if shown is None or not secrets.compare_digest(shown.encode(), expected.encode()):
            raise Problem(
                401,
                "this server needs its token" if shown is None else "the token is wrong",
                parameter="Authorization",
                remedy="send 'Authorization: Bearer TOKEN', or the token as the password of any user",
                headers={"WWW-Authenticate": 'Basic realm="flowlake", charset="UTF-8"'},
            )


def check_same_origin(host: str, origin: str | None, fetch_site: str | None, content_type: str) -> None:
    """Raise `Problem` where a request that changes something was not made by this server's own pages or a program.

    Browsers say where a request comes from; programs say nothing and are let in. A form of another site cannot send
    JSON without asking first, and nothing here ever answers such a question with yes.
    """
    foreign = origin is not None and urlsplit(origin).netloc.lower() != host.lower()
    if foreign or (fetch_site is not None and fetch_site not in ("same-origin", "none")):
        raise Problem(403, "a page of another site may not change anything here", parameter="Origin")
    if content_type.split(";", maxsplit=1)[0].strip().lower() != "application/json":
        raise Problem(
            415, "the body must be JSON", parameter="Content-Type", remedy="send 'Content-Type: application/json'"
        )


def host_name(header: str) -> str:
    """The name in a Host header, without the port, lower case."""
    name = header.strip().lower()
    if name.startswith("["):
        return name.partition("]")[0] + "]"
    return name.rpartition(":")[0] if ":" in name else name


def _shown_token(authorization: str) -> str | None:
    scheme, _, value = authorization.strip().partition(" ")
    if scheme.lower() == "bearer":
        return value.strip() or None
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return None
