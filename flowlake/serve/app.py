"""The Starlette application: routes, security headers, and the way from a request to an encoded answer."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import orjson
from pydantic import ValidationError

from flowlake.serve import openapi
from flowlake.serve.auth import Door, check_same_origin
from flowlake.serve.cache import Answer, AnswerCache
from flowlake.serve.endpoints import PREFIX, listings
from flowlake.serve.formats import MEDIA_TYPES, MIN_GZIP_BYTES, accepts_gzip, encode, gzip_bytes, negotiate
from flowlake.serve.lake_reader import LakeReader, State
from flowlake.serve.operations import Call, Operation, operations
from flowlake.serve.pages import PageFolder, api_page, csp_of
from flowlake.serve.parameters import read_path, read_query
from flowlake.serve.problems import PROBLEM_JSON, Problem
from flowlake.serve.queries import Listing, Query, etag, resolve, run

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("flowlake.serve")

MAX_URL_BYTES, MAX_BODY_BYTES = 8192, 8192
_MAX_WAITING = 512
"""Requests that may wait for a query thread; beyond, the answer is 503 at once."""

_SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
_API_CSP = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")

_CACHE_CONTROL = "private, no-cache"
"""Kept by the client, asked about every time: corrections of past sessions happen."""


@dataclass
class Server:
    """What the handlers share."""

    reader: LakeReader
    pages: PageFolder
    door: Door
    cache: AnswerCache
    threads: anyio.CapacityLimiter

    async def in_thread(self, function: Any, *arguments: Any) -> Any:
        """Run `function` in one of the query threads; raises `Problem` 503 where too many requests wait."""
        if self.threads.statistics().tasks_waiting >= _MAX_WAITING:
            raise Problem(503, "too many requests are waiting", headers={"Retry-After": "1"})
        return await anyio.to_thread.run_sync(function, *arguments, limiter=self.threads)


def create_app(
    reader: LakeReader, pages: PageFolder, door: Door, *, cache_bytes: int = 64_000_000, threads: int = 4
) -> Starlette:
    """The application over `reader`'s lake and the pages in `pages`; `door` decides who is let in."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.routing import Route

    server = Server(reader, pages, door, AnswerCache(cache_bytes), anyio.CapacityLimiter(threads))
    listed, operated = listings(reader.tables), operations(reader.tables)
    document = orjson.dumps(openapi.document(listed, operated, needs_token=door.token is not None))
    routes = [
        *(Route(one.path, _listing_handler(server, one), methods=["GET"]) for one in listed),
        *(Route(one.path, _operation_handler(server, one), methods=[one.method]) for one in operated),
        *(Route(one.path, _only_post, methods=["GET"]) for one in operated if one.method == "POST"),
        Route(f"{PREFIX}/openapi.json", _fixed(document, "application/json"), methods=["GET"]),
        Route("/api", _fixed(api_page(listed, operated), "text/html; charset=utf-8"), methods=["GET"]),
        Route("/", _page_handler(server), methods=["GET"]),
        Route("/{name:path}", _page_handler(server), methods=["GET"]),
    ]
    handlers: Mapping[Any, Any] = {
        Problem: _problem_response,
        HTTPException: _http_exception_response,
        Exception: _unexpected_response,
    }
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False
    app.add_middleware(Guard, door=door)
    return app


class Guard:
    """Outermost: refuses before anything else is looked at, and puts the security headers on every answer."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self.app = app
        self.door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}

        async def send_secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = {name for name, _ in message["headers"]}
                extra = [*_SECURITY_HEADERS, *([] if _API_CSP[0] in sent else [_API_CSP])]
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        try:
            self.door.check_host(headers.get(b"host", ""))
            if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_URL_BYTES:
                raise Problem(414, f"the address is longer than {MAX_URL_BYTES} bytes")
            self.door.check_token(headers.get(b"authorization", ""))
            if scope["method"] == "OPTIONS":
                await _options(scope)(scope, receive, send_secured)
                return
        except Problem as problem:
            await _document(problem)(scope, receive, send_secured)
            return
        await self.app(scope, receive, send_secured)


def _options(scope: Scope) -> Response:
    """What may be done with a path; there is no CORS here, so a browser's question of another site gets no yes."""
    from starlette.responses import Response

    changing = scope["path"].startswith(f"{PREFIX}/alerts/")
    return Response(status_code=204, headers={"Allow": "OPTIONS, POST" if changing else "GET, HEAD, OPTIONS"})


def _listing_handler(server: Server, listing: Listing) -> Any:
    async def handle(request: Request) -> Response:
        values = {
            **read_path(listing.parameters, request.path_params),
            **read_query(listing.parameters, request.query_params.multi_items()),
        }
        format = negotiate(request.headers.get("accept", ""), values["format"])
        state = server.reader.state()
        query = resolve(listing, values, state, format)
        tag = etag(query, state)
        if _matches(request.headers.get("if-none-match", ""), tag):
            return _not_modified(tag, state)
        zipped = accepts_gzip(request.headers.get("accept-encoding", ""))
        answer = server.cache.get(f"{tag}{zipped}")
        if answer is None:
            answer = await server.in_thread(_answer, query, state, zipped)
            server.cache.put(f"{tag}{zipped}", answer)
        return _answered(answer, query, tag, state)

    return handle


def _answer(query: Query, state: State, zipped: bool) -> Answer:
    page = run(query, state)
    body = encode(page, query.format)
    if zipped and len(body) >= MIN_GZIP_BYTES:
        return Answer(gzip_bytes(body), True, page.next)
    return Answer(body, False, page.next)


def _answered(answer: Answer, query: Query, tag: str, state: State) -> Response:
    from starlette.responses import Response

    headers = _validators(f"{tag}-gzip" if answer.is_gzip else tag, state)
    if answer.is_gzip:
        headers["Content-Encoding"] = "gzip"
    if answer.next:
        headers["Link"] = f'<{answer.next}>; rel="next"'
    if query.format != "json":
        ending = {"csv": "csv", "arrow": "arrows"}[query.format]
        headers["Content-Disposition"] = f'attachment; filename="{query.listing.name}.{ending}"'
    return Response(answer.body, media_type=MEDIA_TYPES[query.format], headers=headers)


def _operation_handler(server: Server, operation: Operation) -> Any:
    async def handle(request: Request) -> Response:
        values = {
            **read_path(operation.parameters, request.path_params),
            **read_query(operation.parameters, request.query_params.multi_items()),
        }
        body = await _body(request, operation)
        state = server.reader.state()
        answer = await server.in_thread(operation.handle, Call(server.reader, state, values, body))
        return _object_response(request, orjson.dumps(answer), state, operation.method == "GET")

    return handle


async def _only_post(request: Request) -> Response:
    """Without this, a GET would be looked up among the pages."""
    raise Problem(405, "this changes something: it takes POST alone", headers={"Allow": "OPTIONS, POST"})


async def _body(request: Request, operation: Operation) -> Any:
    if operation.body_model is None:
        return None
    check_same_origin(
        request.headers.get("host", ""),
        request.headers.get("origin"),
        request.headers.get("sec-fetch-site"),
        request.headers.get("content-type", ""),
    )
    try:
        return operation.body_model.model_validate_json(await _limited(request))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"]) or "body"
        raise Problem(400, f"the body does not fit: {first['msg']}", parameter=name) from error


async def _limited(request: Request) -> bytes:
    """The body; raises `Problem` 413 before more than the limit has been read."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise Problem(413, f"the body is longer than {MAX_BODY_BYTES} bytes")
    return body


def _object_response(request: Request, body: bytes, state: State, cacheable: bool) -> Response:
    from starlette.responses import Response

    if not cacheable:
        return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})
    tag = hashlib.sha256(body).hexdigest()[:32]
    if _matches(request.headers.get("if-none-match", ""), tag):
        return _not_modified(tag, state)
    return Response(body, media_type="application/json", headers=_validators(tag, state))


def _page_handler(server: Server) -> Any:
    async def handle(request: Request) -> Response:
        from starlette.responses import Response

        page = await server.in_thread(server.pages.read, request.path_params.get("name", ""))
        zipped = len(page.body) >= MIN_GZIP_BYTES and accepts_gzip(request.headers.get("accept-encoding", ""))
        headers = {
            "ETag": f'"{page.tag}-gzip"' if zipped else f'"{page.tag}"',
            "Cache-Control": _CACHE_CONTROL,
            "Vary": "Accept-Encoding, Authorization",
            "Content-Security-Policy": page.csp,
        }
        if _matches(request.headers.get("if-none-match", ""), page.tag):
            return Response(status_code=304, headers=headers)
        if not zipped:
            return Response(page.body, media_type=page.media_type, headers=headers)
        body = await server.in_thread(gzip_bytes, page.body)
        return Response(body, media_type=page.media_type, headers=headers | {"Content-Encoding": "gzip"})

    return handle


def _fixed(body: bytes, media_type: str) -> Any:
    tag = hashlib.sha256(body).hexdigest()[:32]
    headers = {"ETag": f'"{tag}"', "Cache-Control": _CACHE_CONTROL}
    if media_type.startswith("text/html"):
        headers["Content-Security-Policy"] = csp_of(body)

    async def handle(request: Request) -> Response:
        from starlette.responses import Response

        if _matches(request.headers.get("if-none-match", ""), tag):
            return Response(status_code=304, headers=headers)
        return Response(body, media_type=media_type, headers=headers)

    return handle


def _validators(tag: str, state: State) -> dict[str, str]:
    return {
        "ETag": f'"{tag}"',
        "Cache-Control": _CACHE_CONTROL,
        "Vary": "Accept, Accept-Encoding, Authorization",
        "X-Flowlake-Catalog": str(state.version),
    }


def _not_modified(tag: str, state: State) -> Response:
    from starlette.responses import Response

    return Response(status_code=304, headers=_validators(tag, state))


def _matches(header: str, tag: str) -> bool:
    """Whether If-None-Match names the tag, of the plain or the compressed body, weakly compared."""
    if header.strip() == "*":
        return True
    sent = {part.strip().removeprefix("W/").strip('"').removesuffix("-gzip") for part in header.split(",")}
    return tag in sent


# --- errors -----------------------------------------------------------------------------------------------------------


def _document(problem: Problem) -> Response:
    from starlette.responses import Response

    headers = {"Cache-Control": "no-store", **problem.headers}
    return Response(orjson.dumps(problem.document()), problem.status, headers, PROBLEM_JSON)


async def _problem_response(request: Request, problem: Problem) -> Response:
    return _document(problem)


async def _http_exception_response(request: Request, error: HTTPException) -> Response:
    remedies: dict[int, str] = {404: "/api lists what there is", 405: "see the Allow header"}
    return _document(
        Problem(error.status_code, error.detail, remedy=remedies.get(error.status_code), headers=error.headers)
    )


async def _unexpected_response(request: Request, error: Exception) -> Response:
    """A fault of ours: logged in full, told without anything internal."""
    log.error("request %s failed", request.url.path, exc_info=error)
    return _document(Problem(500, "the server failed on this request; its log says why"))
