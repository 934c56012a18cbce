"""The installer of the clients, tried on what costs nothing."""

from __future__ import annotations

import json
import re
import tempfile
import tomllib
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.real.clients import environment
from tests.real.clients.environment import CODEX, KITS, NODE, PINS, Clients
from tests.real.gateway import PROJECT
from tests.real.vllm.environment import EnvironmentUnavailable


class KitTests(SynchronousTestCase):
    """What is recognised, what is refused, and what is pinned."""

    def setUp(self) -> None:
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = Path(holder.name)

    def test_finished(self) -> None:
        """A finished kit is taken as it is, without a lock or a log."""
        (self.folder / "complete").write_text(CODEX.digest())
        self.assertEqual(environment.prepare(CODEX, self.folder).folder, self.folder)
        self.assertEqual([path.name for path in self.folder.iterdir()], ["complete"])

    def test_unfinished(self) -> None:
        """Without the stamp, or with that of other pins, there is no kit."""
        self.assertIsNone(environment.existing(CODEX, self.folder))
        (self.folder / "complete").write_text(NODE.digest())
        self.assertIsNone(environment.existing(CODEX, self.folder))

    def test_folder_that_cannot_be(self) -> None:
        """A cache that cannot be written to is an answer, not a traceback."""
        (self.folder / "file").write_text("")
        with self.assertRaises(EnvironmentUnavailable):
            environment.prepare(CODEX, self.folder / "file" / "below")

    def test_pins(self) -> None:
        """Every package is pinned to one version and to the hashes of its files, by name and not by place."""
        for kit in KITS:
            text = (PINS / kit.requirements).read_text().replace("\\\n", "")
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


class AbsenceTests(SynchronousTestCase):
    """What becomes of the tests of a client that cannot be had."""

    def setUp(self) -> None:
        self.told: list[str] = []

    def lack(self, kind: type[BaseException], **environ: str) -> str:
        """What is said by the exception for a program that no machine has."""
        with self.assertRaises(kind) as caught:
            Clients(environ, self.told.append).program("no-such-program")
        return str(caught.exception)

    def test_unasked(self) -> None:
        """Where nobody asked for real clients, the reason is the command that does."""
        self.assertIn("make test-real", self.lack(SkipTest))

    def test_asked(self) -> None:
        """Where they were asked for, the test is skipped with what is missing and the package that has it."""
        said = self.lack(SkipTest, HADESGW_REAL="1")
        self.assertEqual(said, "NO no-such-program: the Debian package no-such-program is not installed")

    def test_required(self) -> None:
        """Where they are required, it fails."""
        self.lack(AssertionError, HADESGW_REQUIRE_REAL="1")

    def test_once(self) -> None:
        """What could not be had is said once, and the reason stays."""
        clients = Clients({"HADESGW_REAL": "1"}, self.told.append)
        first = clients.absence("Codex", "no space left")
        self.assertEqual(str(clients.absence("Codex", "another reason")), str(first))
        self.assertEqual(self.told, ["NO Codex: no space left"])
