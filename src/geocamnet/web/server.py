"""A small server that hands out the page: a fixed table of files, read into memory, and nothing else.

No path of a request ever becomes a path of the disk, so there is no folder to climb out of.
"""

import gzip
import ipaddress
import logging
import re
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from geocamnet.errors import DataError
from geocamnet.web.site import POLICY, SiteFile

log = logging.getLogger(__name__)

MOST_HEADER_BYTES = 16 << 10
MOST_AT_ONCE = 1000  # connections; more are told to come back
_CHUNK = 256 << 10  # a client that reads slowly holds up no more than that

HEADERS = {
    "Content-Security-Policy": f"{POLICY}; frame-ancestors 'none'",
    # These two let the page share memory between threads, which WebAssembly threads need.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class Certificate:
    """What https needs, as PEM files: the chain of certificates, and the key of the first of them."""

    chain: Path
    key: Path

    def check(self) -> None:
        """Raise a DataError where the two are not there or do not belong together."""
        for file in (self.chain, self.key):
            if not file.is_file():
                raise DataError(f"{file}: no such file. https needs --certificate CHAIN.pem and --key KEY.pem.")
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.chain, self.key, password=_no_password)
        except (OSError, ValueError) as error:
            raise DataError(
                f"{self.chain} and {self.key}: can't be used for https ({error}). Both must be PEM files, the key that "
                "of the certificate, and without a password."
            ) from error


def _no_password() -> str:
    raise ValueError("the key asks for a password")  # or the terminal would be asked, and a server waits for nobody


@dataclass(frozen=True)
class _Ready:
    file: SiteFile
    packed: bytes | None  # gzip, where it is worth it


def app_of(files: Mapping[str, SiteFile], *, host: str = "127.0.0.1") -> Starlette:
    """Return the application that serves these files.

    Args:
        files: by path, as `site.site` gives them.
        host: address it is to listen on. Under a loopback address only loopback names are answered, so that no page
            from elsewhere can reach it through a name of its own (DNS rebinding).
    """
    ready = {path: _Ready(one, _packed(one)) for path, one in files.items()}

    names = {"127.0.0.1", "localhost", "[::1]"} if _is_loopback(host) else None

    async def answer(request: Request) -> Response:
        if names is not None and re.sub(r":\d*$", "", request.headers.get("host", "").lower()) not in names:
            return _said(400, "This server answers under 127.0.0.1 and localhost.")
        if request.method not in ("GET", "HEAD"):
            return _said(405, "This page is only read.", close=True)
        if request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers:
            return _said(413, "This page takes nothing: photographs stay in the browser.", close=True)
        one = ready.get(request.path_params["path"] or "index.html")
        return _said(404, "No such file.") if one is None else _sent(request, one)

    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]  # all but the first two are told no
    return Starlette(routes=[Route("/{path:path}", answer, methods=methods)])


def serve(files: Mapping[str, SiteFile], *, host: str, port: int, secured: Certificate | None = None) -> None:
    """Serve until Ctrl-C.

    Args:
        files: as `site.site` gives them.
        host: a single address or name to listen on.
        port: 0 takes a free one.
        secured: serve over https, which gives other machines their cameras.

    Raises:
        DataError: the address can't be listened on, or the certificate can't be used.
    """
    if secured is not None:
        secured.check()
    listener = listen(host, port)
    address = listener.getsockname()
    shown = f"[{address[0]}]" if ":" in address[0] else address[0]
    log.info("the page: %s://%s:%d/  (Ctrl-C ends it)", "https" if secured else "http", shown, address[1])
    if not (secured or _is_loopback(host)):
        log.warning("everybody who reaches %s can open the page; browsers give it no camera without https", shown)
    config = uvicorn.Config(
        app_of(files, host=host), log_level="warning", server_header=False, ws="none", lifespan="off", http="h11",
        h11_max_incomplete_event_size=MOST_HEADER_BYTES, limit_concurrency=MOST_AT_ONCE, timeout_keep_alive=5,
        timeout_graceful_shutdown=2, ssl_certfile=secured.chain if secured else None,
        ssl_keyfile=secured.key if secured else None,
    )  # fmt: skip
    with listener, suppress(KeyboardInterrupt):  # which uvicorn raises again once it has ended
        uvicorn.Server(config).run(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on one address and no other.

    Raises:
        DataError: a port out of range, an address that is not this machine's, or one that is taken.
    """
    if not 0 <= port <= 65535:
        raise DataError(f"--port must be 0 (any free one) to 65535; received {port}.")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server((str(address[0]), port), family=family, backlog=512)
    except OSError as error:
        raise DataError(
            f"Can't listen on {host}, port {port} ({error.strerror or error}). Another program may have the port: "
            "name another one, --port 0 takes any; --host must be an address of this machine."
        ) from error


def _sent(request: Request, one: _Ready) -> Response:
    tag = f'"{one.file.sha256[:32]}"'
    # The browser asks every time and is answered 304: it never shows yesterday's model, and transfers nothing twice.
    headers = {**HEADERS, "ETag": tag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    content = one.file.content
    if one.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        content, headers["Content-Encoding"] = one.packed, "gzip"
    headers |= {"Content-Type": one.file.content_type, "Content-Length": str(len(content))}
    if request.method == "HEAD":
        return Response(headers=headers)
    return StreamingResponse(_pieces(content), headers=headers)


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), _CHUNK):
        yield content[start : start + _CHUNK]


def _said(status: int, text: str, *, close: bool = False) -> Response:
    return PlainTextResponse(text, status, {**HEADERS, **({"Connection": "close"} if close else {})})


def _packed(one: SiteFile) -> bytes | None:
    packed = gzip.compress(one.content, compresslevel=6, mtime=0)
    return packed if len(packed) < 0.97 * len(one.content) else None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
