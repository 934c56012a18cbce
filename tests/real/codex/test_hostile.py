"""Real processes in Codex's place that mean no good, and a conversation that outgrows the model."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from typing import ClassVar

from twisted.internet import reactor  # noqa: TID251 - the one that trial runs
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from hadesgw.sessions.engine import EngineFailure, Item, TurnEnded, Warned
from tests.real.codex.pair import Notes
from tests.real.codex.stage import AT_LARGE, EngineTestCase, descriptors, say
from tests.real.processes import Process

IMPOSTOR = r"""#!/usr/bin/env python3
import json, os, signal, sys, time
if sys.argv[1] == "--version":
    print("codex-cli 0.163.0")
if sys.argv[1] != "app-server":
    sys.exit(0)
SANDBOX = {"read-only": "readOnly", "workspace-write": "workspaceWrite"}

def say(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()

def serve():
    for line in sys.stdin:
        message = json.loads(line)
        rules = message.get("params", {})
        started = {"thread": {"id": "t"}, "sandbox": {"type": SANDBOX.get(rules.get("sandbox"))}}
        if "id" in message:
            say({"id": message["id"], "result": {**started, "approvalPolicy": rules.get("approvalPolicy")}})
        if message["method"] == "turn/start":
            return

ACT
"""

ACTS = {
    "chatters": 'serve()\nline = b\'{"method": "item/agentMessage/delta", "params":'
    ' {"itemId": "m", "delta": "x"}}\\n\' * 1000\nwhile True: os.write(1, line)',
    "drones": "serve()\nwhile True: os.write(1, b'x' * 65536)",
    "babbles": "serve()\nos.write(1, b'\\xff\\x00nonsense\\n' * 100)\ntime.sleep(600)",
    "stays": "serve()\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "if os.fork() == 0:\n    os.setsid()\n    os.fork()\nwhile True: time.sleep(600)",
    "leaves": "serve()\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(600)\nsys.exit(3)",
    "refuses": "print('no', file=sys.stderr)\nsys.exit(1)",
}
MOST_MEMORY = 96 << 20
"""Of growth, while a child does all it can: two lines of the largest kind, and what Python makes of them."""
LONGEST_STALL = 0.5
"""Seconds in which nobody else is served; a fair machine shows a tenth of it."""


class ImpostorTests(EngineTestCase):
    """Something else in Codex's place."""

    def impostor(self, act: str) -> None:
        """Let the engine run a program that behaves so."""
        package = self.state / act
        (package / "bin").mkdir(parents=True)
        (package / "codex-resources").mkdir()
        (package / "codex-resources" / "bwrap").symlink_to(self.kit.codex.parents[1] / "codex-resources" / "bwrap")
        program = package / "bin" / "codex"
        program.write_text(IMPOSTOR.replace("ACT", ACTS[act]))
        program.chmod(0o755)
        self.engine.close()
        self.engine = self.make_engine(program)

    async def begin(self, act: str) -> tuple[object, Notes, list[Process]]:
        self.impostor(act)
        agent, notes = await self.launch()
        agent.say("Do your worst")
        return agent, notes, self.family()

    async def bear(self, act: str, seconds: float) -> tuple[Notes, int, float]:
        """Let it do its worst for a while; what was told, how much we grew, and the longest stall."""
        agent, notes, processes = await self.begin(act)
        ours = Process.of(os.getpid())
        assert ours is not None
        before, moments = ours.rss(), [reactor.seconds()]
        beat = LoopingCall(lambda: moments.append(reactor.seconds()))
        beat.start(0.01)
        await pause(seconds)
        beat.stop()
        grown = ours.rss() - before
        await agent.stop()  # type: ignore[attr-defined]
        self.await_gone(processes)
        return notes, grown, max(later - earlier for earlier, later in pairwise(moments))

    async def test_chatter(self) -> None:
        """A flood of small messages costs bounded memory, and leaves time for everybody else."""
        notes, grown, stall = await self.bear("chatters", 3)
        print(f"grown by {grown >> 20} MiB, {len(notes.events)} events, longest stall {stall * 1000:.0f} ms")
        self.assertLess(grown, MOST_MEMORY)
        self.assertLess(stall, LONGEST_STALL)
        self.assertLess(len(notes.events), 3_000)

    async def test_endless_line(self) -> None:
        """So does a line without an end."""
        _, grown, stall = await self.bear("drones", 3)
        print(f"grown by {grown >> 20} MiB, longest stall {stall * 1000:.0f} ms")
        self.assertLess(grown, MOST_MEMORY)
        self.assertLess(stall, LONGEST_STALL)

    async def test_nonsense(self) -> None:
        """One that speaks nonsense is ended, for a reason in one line."""
        _, notes, processes = await self.begin("babbles")
        await notes.end()
        self.assertEqual(notes.ends, ["what it says is not its protocol"])
        self.assertEqual(len(notes.of(Warned)), 1)
        self.await_gone(processes)

    async def test_stubborn(self) -> None:
        """One that will not go, nor its children, is made to go."""
        agent, notes, processes = await self.begin("stays")
        self.assertGreater(len(processes), 1)
        await agent.stop()  # type: ignore[attr-defined]
        self.assertEqual([process.title() for process in processes if process.alive()], [])
        self.assertEqual(notes.ends, [None])

    async def test_leaves_children(self) -> None:
        """One that goes and leaves its children behind has taken them along when that is told."""
        _, notes, processes = await self.begin("leaves")
        await notes.end()
        self.assertEqual([process.title() for process in processes if process.alive()], [])
        self.assertIn("exit status 3", str(notes.ends))

    async def test_refuses(self) -> None:
        """One that does not start leaves nothing, and its word is told."""
        self.impostor("refuses")
        await self.engine.probe()
        before = descriptors()
        for _ in range(5):
            problem = await self.assertFailure(self.launch_soon(), EngineFailure)
            self.assertIn("(no)", str(problem))
        self.assertEqual((descriptors(), self.family()), (before, []))


class GrowthTests(EngineTestCase):
    """A conversation that grows, before a model with a small context."""

    script: ClassVar[str] = AT_LARGE % json.dumps({"cmd": "seq 1 4000"})

    async def test_summed_up_in_time(self) -> None:
        """It is summed up before a request is too long for the model: none is refused, and the work goes on."""
        agent, notes = await self.launch(context_tokens=12_000, output_tokens=4_096)
        for _ in range(6):
            self.assertEqual((await say(agent, notes, "run this")).status, "completed")
        kinds = [item.body.get("type") for item in notes.of(Item) if item.kind == "other"]
        self.assertIn("context_compaction", kinds)
        lines = self.stage.requests(self.session, 12)
        self.assertEqual({line["status"] for line in lines}, {200})
        self.assertLess(max(line["prompt_tokens"] or 0 for line in lines), 12_000 - 4_096)
        self.assertEqual([ended.status for ended in notes.of(TurnEnded)], ["completed"] * 6)


def pause(seconds: float) -> Deferred[None]:
    """Fires when so much time is over."""
    over: Deferred[None] = Deferred()
    reactor.callLater(seconds, over.callback, None)
    return over
