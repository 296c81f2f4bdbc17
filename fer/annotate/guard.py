"""What every request must pass before anything else sees it; wraps the whole application.

The page listens on loopback, but any web page that the user opens can send requests there, and
other users of a login node can connect. So a request needs the random token; a Host of loopback,
which defeats DNS rebinding; an Origin, if any, that is this server; and a small body.
"""

import secrets
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
MOST_BYTES = 64 * 1024  # of a request; an answer has less than one
HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff",
           "referrer-policy": "no-referrer", "x-frame-options": "DENY",
           "cross-origin-resource-policy": "same-origin",
           "content-security-policy": "default-src 'none'; frame-ancestors 'none'"}


class Guard:
    """ASGI middleware that refuses every request that the annotator's own page did not send."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self.token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403, 411 or 413, or hand the request on."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            elif scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        headers = Headers(scope=scope)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                message["headers"] += [(name.encode(), value.encode()) for name, value
                                       in HEADERS.items() if name.encode() not in given]
            await send(message)

        if reason := self._refusal(
                headers, scope["query_string"], scope["method"] == "GET" and scope["path"] == "/"):
            await PlainTextResponse(reason, 403)(scope, receive, answer)
            return
        if refusal := _body_refusal(headers):
            await refusal(scope, receive, answer)
            return
        await self.app(scope, receive, answer)

    def _refusal(self, headers: Headers, query: bytes, is_page: bool) -> str:
        """Return why a request is refused; empty if it is not."""
        hosts = headers.getlist("host")
        host = hosts[0] if len(hosts) == 1 else ""
        name, _, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
        if (name if port.isascii() and port.isdigit() else host).lower() not in LOOPBACK:
            return "wrong Host: open the page at 127.0.0.1 or localhost"
        if any(origin.lower() != f"http://{host.lower()}" for origin in headers.getlist("origin")):
            return "wrong Origin: another page may not label"
        followed = is_page and headers.get("sec-fetch-mode") == "navigate"  # a link, in a chat
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not followed:
            return "a request of another page"
        given = headers.get("x-token") or parse_qs(query.decode("latin-1")).get("token", [""])[0]
        if not secrets.compare_digest(given.encode(), self.token.encode()):
            return "no token, or an old one: open the address that launch/annotate.py printed"
        return ""


def _body_refusal(headers: Headers) -> PlainTextResponse | None:
    """Return the answer to a body that is too large, or may be; None if it is not.

    The page says how long its bodies are, so one of unknown length is not read at all.
    """
    if "transfer-encoding" in headers:
        return PlainTextResponse("say the length of the body", 411, {"connection": "close"})
    length = headers.get("content-length", "0")
    if length.isascii() and length.isdigit() and int(length) <= MOST_BYTES:
        return None
    return PlainTextResponse(f"more than {MOST_BYTES} bytes", 413, {"connection": "close"})
