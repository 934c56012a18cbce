"""Chats beside coding agents at full work: four sessions of the real Codex, which edit, print and talk all the time."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.sessions.codex_home import remove_tree
from tests.real.clients.environment import CLIENTS, CODEX, cache_folder
from tests.real.clients.stage import CONTEXT, MODEL, RehearsalModel
from tests.real.codex.mischief import EDIT, TORRENT, Ear, Mischief
from tests.real.codex.pulse import CHAT_MODEL, NICE, Pulse, TwoModels
from tests.real.codex.rounds import Rounds
from tests.real.codex.traps import Surroundings, script

SESSIONS = 4
ROUNDS = 6
WORK_SECONDS = 5.0


class Worker(threading.Thread):
    """A user who gives an agent one thing after the other to do; as nice as agents are."""

    inputs: ClassVar[tuple[str, ...]] = (EDIT, "Please drown us", TORRENT)

    def __init__(self, ear: Ear, first: int) -> None:
        super().__init__(daemon=True)
        self.ear = ear
        self.first = first
        self.over = threading.Event()
        self.turns = 0

    def run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 15)
        for text in itertools.islice(itertools.cycle(self.inputs), self.first, None):
            if self.over.is_set():
                return
            self.ear.say("input", text)
            self.ear.turn()
            self.turns += 1


class ChatTests(SynchronousTestCase):
    """One gateway, before two models."""

    def setUp(self) -> None:
        kit = CLIENTS.kit(CODEX)
        CLIENTS.program("git")
        base = Path(tempfile.mkdtemp(prefix="hgw-", dir=Path.cwd())).resolve()
        self.addCleanup(shutil.rmtree, base, ignore_errors=True)
        state = Path(tempfile.mkdtemp(prefix="codex-state-", dir=cache_folder(CODEX).parent))
        self.addCleanup(remove_tree, state)
        around = Surroundings(base)
        (base / "chats").mkdir()
        chats = RehearsalModel(base / "chats", "", CHAT_MODEL)
        model = RehearsalModel(around.model, script(around))
        model.command[:0] = NICE
        for each in (chats, model):
            self.addCleanup(each.stop)
            each.start()
        sections = {
            "budget": {"context_tokens": CONTEXT, "output_tokens": 4_096},
            "limits": {"requests_per_second": 1_000, "burst": 1_000, "max_in_flight": 100},
            "timeouts": {"drain": 2},
            "sessions": {
                "workspaces": {"work": str(around.work)},
                "default_workspace": "work",
                "model": MODEL,
                "approval": "never",
                "codex": {"binary": str(kit.codex), "state": str(state)},
            },
        }
        self.gateway = TwoModels(around.gateway, model.socket, [MODEL], sections, chats=chats.socket)
        self.addCleanup(self.gateway.stop)
        self.gateway.start()
        self.pulse = Pulse(self.gateway, base / "pulse.log")

    def test_chats(self) -> None:
        """Of 100 chats 95 are answered within twice the time that they take when no agent works."""
        with ExitStack() as parts:
            self.agents = [Mischief(self.gateway, random.Random(number)) for number in range(SESSIONS)]
            for agent in self.agents:
                agent.begin()
            self.ears = [parts.enter_context(agent.visit()) for agent in self.agents]
            self.pulse.start()
            parts.callback(self.pulse.stop)
            rounds = Rounds(self.pulse)
            for _ in range(ROUNDS):
                workers = [Worker(ear, first) for first, ear in enumerate(self.ears)]
                rounds.play(lambda: self.work(workers))  # noqa: B023 - called at once
                self.rest(workers)
                print(f"turns: {[worker.turns for worker in workers]}")
        self.assertIsNone(rounds.complaint())

    def work(self, workers: list[Worker]) -> None:
        for worker in workers:
            worker.start()
        threading.Event().wait(WORK_SECONDS)

    def rest(self, workers: list[Worker]) -> None:
        for worker in workers:
            worker.over.set()
        for agent in self.agents:
            agent.calm()
        for worker in workers:
            worker.join(60)
            self.assertFalse(worker.is_alive())
