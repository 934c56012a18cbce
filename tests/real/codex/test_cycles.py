"""Two hundred lives that go wrong, of real and of rehearsed agents: nothing gets out, nothing is left, nobody waits."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from threading import Event
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.sessions.codex_home import remove_tree
from tests.real.clients.environment import CLIENTS, CODEX, cache_folder
from tests.real.clients.stage import CONTEXT, MODEL, RehearsalModel
from tests.real.codex.mischief import EDIT, ENGINES, HELLO, Mischief
from tests.real.codex.pulse import CHAT_MODEL, NICE, Pulse, TwoModels
from tests.real.codex.rounds import Rounds
from tests.real.codex.traps import CONNECTED, OUTSIDE, SECRETS, SLEEP, Decoy, Openings, Surroundings, script
from tests.real.processes import PROC
from tests.real.waiting import wait_for

CYCLES = int(os.environ.get("HADESGW_SESSION_CYCLES", "24"))
SEED = int(os.environ.get("HADESGW_SESSION_SEED", "7"))
ROUNDS = 8
SPARE_DESCRIPTORS = 2
"""Connections to the model servers that are kept for the next request."""


class CycleTests(SynchronousTestCase):
    """One gateway, and all that is around it."""

    def setUp(self) -> None:
        kit = CLIENTS.kit(CODEX)
        if shutil.which("git") is None:
            raise SkipTest("there is no git here")
        # Not in the folder for temporary files, which agents do not see anyway.
        base = Path(tempfile.mkdtemp(prefix="hgw-", dir=Path.cwd())).resolve()
        self.addCleanup(shutil.rmtree, base, ignore_errors=True)
        self.state = Path(tempfile.mkdtemp(prefix="codex-state-", dir=cache_folder(CODEX).parent))
        self.addCleanup(remove_tree, self.state)
        self.around = Surroundings(base)
        self.model = RehearsalModel(self.around.model, script(self.around))
        self.model.command[:0] = NICE
        (base / "chats").mkdir()
        chats = RehearsalModel(base / "chats", "", CHAT_MODEL)
        for model in (self.model, chats):
            self.addCleanup(model.stop)
            model.start()
        self.decoy = Decoy(self.around.model / "decoy.sock")
        self.addCleanup(self.decoy.close)
        sections = self.sections(kit.codex)
        self.gateway = TwoModels(self.around.gateway, self.model.socket, [MODEL], sections, chats=chats.socket)
        self.addCleanup(self.gateway.stop)
        self.gateway.start()
        with open(self.around.gateway / "clients.toml", "a") as clients:
            clients.write(f"# {SECRETS['clients']}\n")
        self.pulse = Pulse(self.gateway, base / "pulse.log")
        self.mischief = Mischief(self.gateway, random.Random(SEED))

    def sections(self, codex: Path) -> Mapping[str, Mapping[str, object]]:
        return {
            "budget": {"context_tokens": CONTEXT, "output_tokens": 4_096},
            "limits": {"requests_per_second": 1_000, "burst": 1_000},
            "timeouts": {"drain": 2},
            "sessions": {
                "engine": "rehearsal",  # which is offered where it is configured only; Codex always is
                "workspaces": {"work": str(self.around.work), "other": str(self.around.other)},
                "default_workspace": "work",
                "model": MODEL,
                "approval": "on-request",
                "codex": {"binary": str(codex), "state": str(self.state)},
            },
        }

    def test_cycles(self) -> None:
        """Nothing outside is written or read, no process and no descriptor stays, and chats stay quick."""
        for engine in ENGINES:  # whatever is made once is there now
            self.lay()
            self.mischief.live(engine)
        digest, before = self.around.digest(), self.settled_descriptors()
        openings = Openings([self.around.gateway / "clients.toml", self.around.other / "greet.py"])
        self.addCleanup(openings.close)
        self.pulse.start()
        self.addCleanup(self.pulse.stop)
        rounds = Rounds(self.pulse)
        for number in range(ROUNDS):
            rounds.play(lambda: self.live(number))  # noqa: B023 - called at once
        print(f"{CYCLES} cycles, seed {SEED}: {dict(self.mischief.done)}")
        self.assertEqual(openings.take(), [])
        self.judge_surroundings(digest)
        self.judge_words()
        self.pulse.stop()
        wait_for(lambda: self.gateway.fds() <= before + SPARE_DESCRIPTORS, "no descriptor is left over", seconds=60)
        self.assertIsNone(rounds.complaint())
        self.work_on()

    def lay(self) -> None:
        self.around.lay(self.mischief.chance, [self.model.socket, self.decoy.path])

    def live(self, number: int) -> None:
        """A share of the cycles."""
        for cycle in range(number, CYCLES, ROUNDS):
            self.lay()
            self.mischief.live(ENGINES[cycle // ROUNDS % len(ENGINES)])

    def settled_descriptors(self) -> int:
        """How many the gateway has when connections that it keeps for a while are gone."""
        seen = [self.gateway.fds()]
        while len(seen) < 4 or len(set(seen[-4:])) > 1:
            Event().wait(0.5)
            seen.append(self.gateway.fds())
        return seen[-1]

    def judge_surroundings(self, digest: str) -> None:
        """Nothing has been written, called or left running outside."""
        self.assertEqual(self.around.digest(), digest)
        self.assertEqual(self.around.strays(), [])
        self.assertEqual(self.decoy.calls, 0)
        self.assertEqual(sleepers(), [])
        self.assertEqual([str(path) for path in self.state.glob("*/*/config.toml")], [])

    def judge_words(self) -> None:
        """No secret has been said, neither by the gateway nor by what an agent wrote; and all have tried."""
        work = [path for path in self.around.work.iterdir() if path.is_file() and not path.is_symlink()]
        written = [path.read_text(errors="replace") for path in work if path.name != "probe.sh"]
        heard = {engine: "\n".join(told) for engine, told in self.mischief.heard.items()}
        said = "\n".join([*heard.values(), *written, self.gateway.log_text()])
        for word in (*SECRETS.values(), CONNECTED, self.gateway.token):
            self.assertNotIn(word, said)
        self.assertNotIn(OUTSIDE, heard["rehearsal"])
        for word in ("Traceback", "session_defect"):
            self.assertNotIn(word, self.gateway.log_text())
        self.assertIn("over", said)

    def work_on(self) -> None:
        """After all that an honest session does its work."""
        self.lay()
        (self.around.work / "greet.py").unlink(missing_ok=True)
        self.mischief.engine = "codex"
        self.mischief.begin()
        with self.mischief.visit() as ear:
            for text in (HELLO, EDIT):
                ear.say("input", text)
                self.assertEqual(ear.turn()[-1]["content"]["status"], "completed")
        self.mischief.end()


def sleepers() -> list[str]:
    """Whoever has been left running on this machine; one that has left its family is nobody's descendant."""
    found = []
    for path in PROC.iterdir():
        with contextlib.suppress(OSError):  # of others that end meanwhile
            if path.name.isdigit() and (path / "cmdline").read_bytes() == f"sleep\0{SLEEP}\0".encode():
                found.append(path.name)
    return found
