"""What is pinned of the clients."""

from __future__ import annotations

import json
import re
import tomllib

from twisted.trial.unittest import SynchronousTestCase

from tests.real.clients.environment import KITS, PINS
from tests.real.gateway import PROJECT


class PinsTests(SynchronousTestCase):
    """Nothing else can be installed."""

    def test_pins(self) -> None:
        """Every package is pinned to one version and to the hashes of its files, by name and not by place."""
        for kit in KITS:
            text = kit.pins.read_text().replace("\\\n", "")
            for pin in text.splitlines():
                self.assertRegex(pin, r"\A(#.*|[a-z0-9-]+==[^ ]+( ; [^-]+)?( +--hash=sha256:[0-9a-f]{64})+)\Z")
        lock = json.loads((PINS / "package-lock.json").read_text())["packages"]
        wanted = json.loads((PINS / "package.json").read_text())["dependencies"]
        self.assertEqual(lock[""]["dependencies"], wanted)
        for name, module in lock.items():
            if name:
                self.assertRegex(module["integrity"], r"\Asha512-")
                self.assertNotIn("resolved", module)

    def test_codex_is_ours(self) -> None:
        """The Codex that is tested is the one that the extra [codex] installs."""
        extras = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        pinned = re.findall(r"^openai-codex-cli-bin==\S+", (PINS / "codex.txt").read_text(), re.MULTILINE)
        self.assertEqual(extras["codex"], pinned)
