"""Files of the installation as answers: read at the start, held in memory, sent in the coding that is wanted.

Only paths that were found at the start exist, so there is no path that could lead anywhere else, and nothing to wait
for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from importlib.resources.abc import Traversable
from typing import NamedTuple

from twisted.web.server import NOT_DONE_YET

from hadesgw.http.site import Request
from hadesgw.policy.negotiation import accepts_gzip, is_fresh

TYPES = {
    ".css": b"text/css; charset=utf-8",
    ".html": b"text/html; charset=utf-8",
    ".ico": b"image/x-icon",
    ".js": b"text/javascript; charset=utf-8",
    ".ts": b"text/plain; charset=utf-8",
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


def read_files(folder: Traversable) -> dict[bytes, File]:
    """The files below `folder` by the path of their URL; nothing if there is no such folder.

    A file `X.gz` beside `X` is `X` in another coding.
    """
    found = dict(_walk(folder, b"/")) if folder.is_dir() else {}
    files = {
        path: as_file(path, content, found.get(path + b".gz"))
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


def as_file(path: bytes, plain: bytes, compressed: bytes | None = None) -> File:
    """A file as it is answered at that path."""
    suffix = path[path.rfind(b".") :].decode("latin-1")
    content_type = TYPES.get(suffix, b"application/octet-stream")
    caching = _FOREVER if path.startswith(_HASHED) else _ASK_AGAIN
    return File(content_type, caching, plain, compressed, digest([plain]))


def digest(contents: Iterable[bytes]) -> bytes:
    """Hex digits that differ when any of these parts do, or where one ends."""
    whole = hashlib.sha256()
    for content in contents:
        whole.update(b"%d:%b" % (len(content), content))
    return whole.hexdigest()[:32].encode("ascii")


def send(request: Request, file: File) -> bytes | int:
    """Answer with the file in the coding that is wanted, or with word that the asker has it (RFC 9110 13)."""
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


