"""The build hook: when the client is built, and what is said when it is not."""

from __future__ import annotations

import os
import tempfile
from importlib.util import find_spec
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

NPM = """#!/bin/sh
echo "$*" >>npm.log
[ "$1" = run ] || exit 0
%s
mkdir -p ../hadesgw/webclient_dist && : >../hadesgw/webclient_dist/index.html
"""


class BuildTests(SynchronousTestCase):
    """A tree of its own, and an npm that does as it is told."""

    def setUp(self) -> None:
        if find_spec("hatchling") is None:
            raise SkipTest("hatchling is not installed (requirements/build.lock)")
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        self.npm_log = self.root / "webclient" / "npm.log"
        self.npm_log.parent.mkdir()
        (self.npm_log.parent / "package.json").write_text("{}")
        self.environ = {"PATH": f"{self.root}/bin{os.pathsep}/usr/bin{os.pathsep}/bin"}

    def install_npm(self, failing: str = "") -> None:
        (self.root / "bin").mkdir()
        npm = self.root / "bin" / "npm"
        npm.write_text(NPM % failing)
        npm.chmod(0o755)

    def build(self) -> str | None:
        from tools.webclient_build import build_client

        return build_client(self.root, self.environ)

    def test_it_is_built_from_the_lock(self) -> None:
        """And not again when it is there."""
        self.install_npm()
        for _ in range(2):
            self.assertIsNone(self.build())
            self.assertEqual(self.npm_log.read_text(), "ci --no-audit --no-fund\nrun build\n")

    def test_without_what_it_takes_the_package_is_made_without_it(self) -> None:
        """No npm, no sources, or not wanted: the reason is told."""
        self.environ["PATH"] = str(self.root / "bin")
        self.assertIn("npm is not installed", self.build() or "")
        self.install_npm()
        self.environ["HADESGW_WITHOUT_WEBCLIENT"] = "1"
        self.assertIn("HADESGW_WITHOUT_WEBCLIENT", self.build() or "")
        del self.environ["HADESGW_WITHOUT_WEBCLIENT"]
        (self.root / "webclient" / "package.json").unlink()
        self.assertIn("sources", self.build() or "")
        self.assertFalse(self.npm_log.exists())

    def test_a_build_that_fails_is_no_package(self) -> None:
        """What npm said is told, and how to do without."""
        from tools.webclient_build import ClientNotBuilt

        self.install_npm("echo no such thing; exit 3")
        error = self.assertRaises(ClientNotBuilt, self.build)
        self.assertIn("npm run build said:\n  | no such thing", str(error))
        self.assertIn("HADESGW_WITHOUT_WEBCLIENT=1", str(error))
