"""The browser's library as it is served."""

from __future__ import annotations

import gzip
import json
from importlib.resources import files

from twisted.trial.unittest import SynchronousTestCase

from hadesgw import __version__
from hadesgw.http.site import Request
from hadesgw.resources.sdk import SHOWN, Sdk
from hadesgw.resources.stored_files import read_files
from tests.wire.answers import Answer
from tests.wire.door import Door

FOLDER = files("hadesgw") / "sdk"
LARGEST = 6 * 1024
"""Bytes of the library by gzip."""


class SdkTests(SynchronousTestCase):
    """What is below the leaf, and what it weighs."""

    def ask(self, request: bytes, *fields: bytes) -> Answer:
        """The answer to a request line's method and target."""

        class Mounted(Sdk):
            def render(self, request: Request) -> bytes | int:
                request.postpath = request.path.split(b"/")[2:]
                return Sdk.render(self, request)

        head = b"\r\n".join([request + b" HTTP/1.1", b"Host: localhost", *fields, b"", b""])
        return Door(Mounted(read_files(FOLDER))).call().send(head).answer()

    def test_the_library_and_its_types_are_there(self) -> None:
        """As what they are, to be asked for again when they have changed."""
        for path, kind in zip(SHOWN, (b"text/javascript; charset=utf-8", b"text/plain; charset=utf-8"), strict=True):
            answer = self.ask(b"GET /sdk" + path)
            self.assertEqual((answer.status, answer.one(b"content-type")), (200, kind))
            self.assertEqual(answer.body, (FOLDER / path[1:].decode()).read_bytes())
            self.assertEqual(answer.one(b"x-content-type-options"), b"nosniff")
            again = self.ask(b"GET /sdk" + path, b"If-None-Match: " + answer.one(b"etag"))
            self.assertEqual((again.status, again.body), (304, b""))

    def test_nothing_else_of_the_folder_is_shown(self) -> None:
        """Not the package's own files, nor a path that leads elsewhere; and nothing is taken."""
        for path in (b"", b"/", b"/package.json", b"/README.md", b"/../config.py", b"/codex-client.js/"):
            self.assertEqual(self.ask(b"GET /sdk" + path).status, 404, path)
        self.assertEqual(self.ask(b"DELETE /sdk/codex-client.js").status, 405)

    def test_it_is_small_and_says_our_version(self) -> None:
        """A page pays for it once; the npm package goes with the gateway it came with."""
        self.assertLessEqual(len(gzip.compress((FOLDER / "codex-client.js").read_bytes(), 9)), LARGEST)
        package = json.loads((FOLDER / "package.json").read_text())
        self.assertEqual(package["version"], __version__)
        self.assertEqual({name for name in package["files"] if not (FOLDER / name).is_file()}, set())
        self.assertNotIn("dependencies", package)
