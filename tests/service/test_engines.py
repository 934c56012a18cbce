"""What can be known of engines without a gateway."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.config import parse
from hadesgw.service.engines import ENGINES, install_aider
from hadesgw.sessions.aider_environment import VERSION

UPSTREAM = '[[upstream]]\nname = "vllm"\nsocket = "/run/hades/vllm/api.sock"\n'


class ObstacleTests(SynchronousTestCase):
    """Ready, or what to do."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        text = f"{UPSTREAM}[sessions]\naider = {{ environment = 'aider' }}\ncodex = {{ binary = 'codex' }}\n"
        self.config = parse(text, "test", self.folder)

    def test_missing(self) -> None:
        """What is not there is said by each; the rehearsal needs nothing."""
        told = {name: obstacle(self.config, {}) for name, obstacle in ENGINES.items()}
        self.assertIn("sessions.codex.binary", told["codex"] or "")
        self.assertIn("hadesgw engine install aider", told["aider"] or "")
        self.assertIsNone(told["rehearsal"])

    def test_ready(self) -> None:
        """What is there has no obstacle."""
        (self.folder / "codex").touch(mode=0o755)
        (self.folder / "aider" / "bin").mkdir(parents=True)
        (self.folder / "aider" / "bin" / "python").touch()
        packages = self.folder / "aider" / "lib" / "python3.12" / "site-packages"
        (packages / f"aider_chat-{VERSION}.dist-info").mkdir(parents=True)
        self.assertEqual([obstacle(self.config, {}) for obstacle in ENGINES.values()], [None] * 3)

    def test_install(self) -> None:
        """Into the folder that is looked at, with a Python that Aider runs on: this one, or one of the path's."""
        (self.folder / "python3.11").touch(mode=0o755)
        ran: list[Sequence[str]] = []

        def run(command: Sequence[str]) -> int:
            ran.append(command)
            return 0

        environ = {"PATH": str(self.folder)}
        self.assertEqual(install_aider(self.config, environ, run), self.folder / "aider")
        self.assertIn(ran[0][0], (sys.executable, str(self.folder / "python3.11")))
