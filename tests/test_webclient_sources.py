"""What holds of the web client's sources as they stand; how it behaves is tested in a browser by `webclient/e2e`."""

from __future__ import annotations

import json
import re
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tools.pure import PROJECT

CLIENT = PROJECT / "webclient"
SINKS = re.compile(
    r"\b(?:innerHTML|outerHTML|insertAdjacentHTML|dangerouslySetInnerHTML|srcdoc|document\.write(?:ln)?|eval(?=\s*\()"
    r"|new Function|createContextualFragment|parseFromString|setHTMLUnsafe|importScripts)\b"
)
"""What turns text into markup or code."""
ADDRESS = re.compile(r"(?:https?|wss?)://[^\s\"'`<>)]+")
SHIPPED_LICENCES = {"MIT", "BSD-3-Clause", "Apache-2.0", "ISC"}


class SourceTests(SynchronousTestCase):
    """The files below `webclient/src`."""

    def setUp(self) -> None:
        if not CLIENT.is_dir():
            raise SkipTest("this tree has no webclient/: it is a source package, with the client built")
        paths = [path for path in (CLIENT / "src").rglob("*") if path.suffix in (".ts", ".tsx", ".css", ".svg")]
        self.sources = {path: path.read_text("utf-8") for path in paths}
        unshipped = (".test.", "/fixtures/")
        self.shipped = {
            path: text for path, text in self.sources.items() if not any(part in str(path) for part in unshipped)
        }

    def test_text_never_becomes_markup_or_code(self) -> None:
        """No sink that could do that is as much as named."""
        found = [f"{path}: {sink}" for path, text in self.shipped.items() for sink in SINKS.findall(text)]
        self.assertEqual(found, [])

    def test_no_foreign_host_is_named(self) -> None:
        """But for names of XML, which nobody fetches, and examples on loopback."""
        known = ("http://www.w3.org/", "http://127.0.0.1", "http://localhost")
        named = {address for text in self.shipped.values() for address in ADDRESS.findall(text)}
        self.assertEqual([address for address in named if not address.startswith(known)], [])

    def test_what_is_shipped_is_pinned_and_free(self) -> None:
        """Each dependency has one version, a licence that asks only to be named, and no install script."""
        manifest = json.loads((CLIENT / "package.json").read_text())
        lock = json.loads((CLIENT / "package-lock.json").read_text())["packages"]
        for group in ("dependencies", "devDependencies"):
            for name, version in manifest[group].items():
                self.assertRegex(version, r"\A\d+\.\d+\.\d+\Z", name)
        for name, package in lock.items():
            if name and not package.get("dev"):
                self.assertIn(package["license"], SHIPPED_LICENCES, name)
        scripts = [name for name, package in lock.items() if package.get("hasInstallScript")]
        self.assertEqual([name for name in scripts if Path(name).name != "fsevents"], [])
