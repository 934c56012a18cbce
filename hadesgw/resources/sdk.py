"""The leaf that serves `codex-client.js`, the browser's library for coding sessions, to pages of ours and of others."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.web.resource import Resource

from hadesgw.http.site import Request
from hadesgw.policy import refusals
from hadesgw.resources.stored_files import File, send

SHOWN = (b"/codex-client.js", b"/codex-client.d.ts")


class Sdk(Resource):
    """Two files below wherever it is mounted. Pages of other origins may load them, as far as `cors` admits these.

    :param files: the library's folder, by path.
    """

    isLeaf = True

    def __init__(self, files: Mapping[bytes, File]) -> None:
        Resource.__init__(self)
        self._files = {path: files[path] for path in SHOWN}

    def render(self, request: Request) -> bytes | int:
        """The file, or word that it is the one the asker has."""
        request.standing.append((b"x-content-type-options", b"nosniff"))
        file = self._files.get(b"/" + b"/".join(request.postpath or ()))
        if file is None:
            return request.refuse(refusals.NOT_FOUND)
        if request.method not in (b"GET", b"HEAD"):
            return request.refuse(refusals.METHOD_NOT_ALLOWED, [(b"Allow", b"GET, HEAD")])
        return send(request, file)
