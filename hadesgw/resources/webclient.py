"""The leaf that serves the web client: files of the installation, held in memory, and what the page must know of us.

Only paths that were found at the start exist, so there is no path that could lead anywhere else, and nothing to wait
for. Every answer, refusals too, forbids the page whatever it does not need: scripts and styles that are not files of
ours, frames, other hosts, and sinks that turn text into markup.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources.abc import Traversable
from typing import NamedTuple

import msgspec
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from hadesgw import __version__
from hadesgw.config import Config
from hadesgw.http.framing import Fields
from hadesgw.http.site import Request
from hadesgw.policy import refusals
from hadesgw.policy.negotiation import accepts_gzip, is_fresh

_TYPES = {
    ".css": b"text/css; charset=utf-8",
    ".html": b"text/html; charset=utf-8",
    ".ico": b"image/x-icon",
    ".js": b"text/javascript; charset=utf-8",
    ".json": b"application/json",
    ".png": b"image/png",
    ".svg": b"image/svg+xml",
    ".txt": b"text/plain; charset=utf-8",
    ".woff2": b"font/woff2",
}
_FOREVER = b"public, max-age=31536000, immutable"
_ASK_AGAIN = b"no-cache"
_HASHED = b"/assets/"
"""Below it, names hold the hash of what is in the file."""
_NOT_BUILT = b"""The web client is not in this installation of hadesgw: it was not built before the package was made.

In a checkout, `make webclient` builds it (it wants Node 20); then start the gateway again.
The API does not need it: /v1, /healthz, /readyz and /metrics are where they always are.
"""


class File(NamedTuple):
    """One file as it is answered.

    :ivar content_type: value of `Content-Type`.
    :ivar caching: value of `Cache-Control`.
    :ivar plain: its bytes.
    :ivar compressed: the same by gzip, or None.
    :ivar tag: a strong entity tag of `plain`, without quotes.
    """

    content_type: bytes
    caching: bytes
    plain: bytes
    compressed: bytes | None
    tag: bytes


def read_client(folder: Traversable) -> dict[bytes, File]:
    """The built client's files by the path of their URL; nothing if it was not built.

    :param folder: where the build put them. A file `X.gz` beside `X` is `X` in another coding.
    """
    found = dict(_walk(folder, b"/")) if folder.is_dir() else {}
    files = {
        path: _file(path, content, found.get(path + b".gz"))
        for path, content in found.items()
        if not (path.endswith(b".gz") and path.removesuffix(b".gz") in found)
    }
    if b"/index.html" in files:
        files[b"/"] = files[b"/index.html"]
    return files


def _walk(folder: Traversable, path: bytes) -> Iterator[tuple[bytes, bytes]]:
    for entry in folder.iterdir():
        below = path + entry.name.encode("utf-8", "surrogateescape")
        if entry.is_dir():
            yield from _walk(entry, below + b"/")
        elif entry.is_file():
            yield below, entry.read_bytes()


def _file(path: bytes, plain: bytes, compressed: bytes | None = None) -> File:
    suffix = path[path.rfind(b".") :].decode("latin-1")
    content_type = _TYPES.get(suffix, b"application/octet-stream")
    caching = _FOREVER if path.startswith(_HASHED) else _ASK_AGAIN
    return File(content_type, caching, plain, compressed, _digest([plain]))


def _digest(contents: Iterable[bytes]) -> bytes:
    digest = hashlib.sha256()
    for content in contents:
        digest.update(b"%d:%b" % (len(content), content))
    return digest.hexdigest()[:32].encode("ascii")


def page_settings(config: Config) -> bytes:
    """`/ui/config.json`: what the page must know of the gateway. Everybody can read it, so there is no secret in it."""
    upstream, limits = config.upstream[0], config.limits
    models = [model for model in upstream.models if model != "*"]
    return msgspec.json.encode(
        {
            "headers": {"request_id": config.headers.request_id, "session_id": config.headers.session_id},
            "default_model": config.webclient.default_model or next(iter(models), ""),
            "limits": {
                "body_bytes": {"default": limits.body.default, **limits.body.routes},
                "context_tokens": upstream.context_tokens or config.budget.context_tokens,
                "output_tokens": upstream.output_tokens or config.budget.output_tokens,
                "requests_per_second": limits.requests_per_second,
                "burst": limits.burst,
                "max_in_flight": limits.max_in_flight,
            },
            "connect": config.webclient.connect,
            "memory_tools": config.telemetry.memory_tools,
        }
    )


def _build(files: Mapping[bytes, File]) -> bytes:
    """`/ui/build.json`: which client this is; a page that finds another one than its own offers to be loaded anew."""
    digest = _digest(part for path in sorted(files) for part in (path, files[path].plain))
    return msgspec.json.encode({"version": __version__, "hash": digest.decode("ascii") if files else None})


def _protection(connect: Iterable[str]) -> Fields:
    """The fields that keep the page from doing what it does not need.

    :param connect: origins it may speak to besides ours.
    """
    policy = [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "font-src 'self'",
        " ".join(["connect-src 'self'", *connect]),
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
    return [
        (b"content-security-policy", "; ".join(policy).encode("ascii")),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"permissions-policy", b"camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"),
        (b"referrer-policy", b"no-referrer"),
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", b"DENY"),
    ]


class WebClient(Resource):
    """`/`: the page and its files, `/ui/config.json`, `/ui/build.json`; 404 for all else: no page stands for others.

    :param files: of :func:`read_client`.
    :param settings: of :func:`page_settings`.
    :param connect: origins that the page may speak to besides ours.
    """

    isLeaf = True

    def __init__(self, files: Mapping[bytes, File], settings: bytes, connect: Iterable[str]) -> None:
        Resource.__init__(self)
        self._files = {
            **files,
            b"/ui/config.json": _file(b".json", settings),
            b"/ui/build.json": _file(b".json", _build(files)),
        }
        self._protection = _protection(connect)

    def render(self, request: Request) -> bytes | int:
        """The file of that path, in the coding that is wanted, or word that it is the one the asker has."""
        request.standing.extend(self._protection)
        file = self._files.get(request.path)
        if request.method not in (b"GET", b"HEAD"):
            refusal = refusals.NOT_FOUND if file is None and request.path != b"/" else refusals.METHOD_NOT_ALLOWED
            return request.refuse(refusal, [(b"Allow", b"GET, HEAD")] if refusal.status == 405 else ())
        if file is not None:
            return _send(request, file)
        if request.path == b"/":
            return _say_not_built(request)
        return request.refuse(refusals.NOT_FOUND)


def _send(request: Request, file: File) -> bytes | int:
    body, tag = file.plain, b'"%b"' % file.tag
    if file.compressed is not None:
        request.standing.append((b"vary", b"Accept-Encoding"))
        if accepts_gzip(request.head.values(b"accept-encoding")):
            body, tag = file.compressed, b'"%b-gz"' % file.tag
            request.setHeader(b"Content-Encoding", b"gzip")
    request.setHeader(b"Cache-Control", file.caching)
    request.setHeader(b"ETag", tag)
    if is_fresh(request.head.values(b"if-none-match"), tag):
        request.responseHeaders.removeHeader(b"Content-Encoding")
        request.setResponseCode(304, b"Not Modified")
        request.write(b"")
        request.finish()
        return NOT_DONE_YET
    request.setHeader(b"Content-Type", file.content_type)
    return body


def _say_not_built(request: Request) -> bytes:
    request.setResponseCode(404, b"Not Found")
    request.setHeader(b"Content-Type", _TYPES[".txt"])
    request.setHeader(b"Cache-Control", b"no-store")
    return _NOT_BUILT
