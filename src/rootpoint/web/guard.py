"""Who may ask what: a middleware before everything else that the server does."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 24 * 2**20
"""Bytes of a request: a photo in base64, and a mask."""

PATIENCE = 20.0
"""Seconds in which a request must have arrived as a whole."""

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where one listens at all addresses of a machine, and where it finds that itself."""

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class RefusedError(Exception):
    """A request is not let through."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Guard:
    """Refuses strangers' hosts and origins, missing tokens, and bodies too large or too slow.

    host    where the server listens: a request must name it, or this machine's loopback, so that
            no other site's name that points here (DNS rebinding) is answered; at EVERYWHERE,
            whose names nobody knows, the token alone keeps strangers out
    token   what requests to /api/ must carry as `Authorization: Bearer …`; None: nothing
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str = "127.0.0.1",
        token: str | None = None,
        max_body: int = MAX_BODY,
        patience: float = PATIENCE,
    ) -> None:
        self.app = app
        self.hosts = None if host in EVERYWHERE else LOOPBACK | {host.lower()}
        self.token = token
        self.max_body, self.patience = max_body, patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refused: list[RefusedError] = []
        begun = False

        async def guarded(message: Message) -> None:
            nonlocal begun
            if refused and not begun:  # whatever the application makes of it
                return
            if message["type"] == "http.response.start":
                begun = True
                _add_headers(message, scope["path"])
            await send(message)

        try:
            self._check(scope)
            await self.app(scope, self._limited(receive, refused), guarded)
        except RefusedError as error:
            refused = [error]
        if refused and not begun:
            await _refuse(refused[0], scope["path"], send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self.hosts is not None and _hostname(host) not in self.hosts:
            raise RefusedError(421, f"this server does not answer for {host!r}")
        if scope["method"] not in ("GET", "HEAD"):
            _check_origin(headers, host)
        if self.token is not None and scope["path"].startswith("/api/"):
            _check_token(headers.get("authorization", ""), self.token)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self.max_body:
            raise self._too_large()

    def _too_large(self) -> RefusedError:
        return RefusedError(413, f"a request may have {self.max_body / 2**20:.3g} MiB")

    def _limited(self, receive: Receive, refused: list[RefusedError]) -> Receive:
        """What is received, counted, and not for ever waited for; why not, if it is refused."""
        size, complete = 0, False
        end = asyncio.get_running_loop().time() + self.patience

        async def limited() -> Message:
            nonlocal size, complete
            if complete:  # from here on, it is only asked whether the visitor has left
                return await receive()
            try:
                async with asyncio.timeout_at(end):
                    message = await receive()
            except TimeoutError:
                said = f"the request took over {self.patience:g} s to arrive"
                refused.append(RefusedError(408, said))
                raise refused[0] from None
            size += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if size > self.max_body:
                refused.append(self._too_large())
                raise refused[0]
            return message

        return limited


def _check_origin(headers: Headers, host: str) -> None:
    """Raise RefusedError if a browser sends this for another site's page."""
    site = headers.get("sec-fetch-site", "same-origin")
    origin = headers.get("origin")
    foreign = origin is not None and urlsplit(origin).netloc.lower() != host.lower()
    if foreign or site not in ("same-origin", "none"):
        raise RefusedError(403, "another site's page asks, which may not")


def _check_token(given: str, token: str) -> None:
    kind, _, secret = given.partition(" ")
    if kind.lower() != "bearer" or not hmac.compare_digest(secret.encode(), token.encode()):
        raise RefusedError(
            401, "the token is missing or wrong: use the address that the server printed"
        )


def _hostname(host: str) -> str:
    """The name in a Host header, without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _add_headers(message: Message, path: str) -> None:
    headers = MutableHeaders(scope=message)
    for name, value in HEADERS.items():
        headers[name] = value
    headers["Cache-Control"] = "no-store" if path.startswith("/api") else "no-cache"


async def _refuse(refused: RefusedError, path: str, send: Send) -> None:
    body = json.dumps({"error": {"kind": "Refused", "message": str(refused)}}).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    if refused.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    headers.append((b"content-length", str(len(body)).encode()))
    start: Message = {"type": "http.response.start", "status": refused.status, "headers": headers}
    _add_headers(start, path)
    await send(start)
    await send({"type": "http.response.body", "body": body})
