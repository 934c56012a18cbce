"""The real Codex edits a real file for a session, asks, stops when it is told to, and goes on after it was killed."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import ClassVar

from hadesgw.sessions.engine import (
    ApprovalAsked,
    ApprovalSettled,
    Decision,
    FilesTouched,
    Output,
    Plan,
    TurnBegan,
    TurnEnded,
    Usage,
    Warned,
)
from tests.real.clients.stage import CANARY
from tests.real.codex.stage import AT_LARGE, EngineTestCase, descriptors, say
from tests.real.waiting import wait_for

READY_SECONDS = 2.0
EDIT = f"Create greet.py that prints 'moin' for the {CANARY}."


class WorkTests(EngineTestCase):
    """What it does when nothing is in its way."""

    async def test_edit(self) -> None:
        """It adds a file and runs it, and tells of the diff, the file, the command and the tokens, in that session."""
        agent, notes = await self.launch()
        ended = await say(agent, notes, EDIT)
        [began] = notes.of(TurnBegan)
        self.assertEqual(ended, TurnEnded(began.turn_id, "completed"))
        self.assertEqual(self.git("status", "--short"), "?? greet.py\n")
        self.assertIn('+print("moin")', notes.diff())
        self.assertIn(FilesTouched(("greet.py",)), notes.events)
        [change] = notes.items("file_change")
        self.assertEqual([(each["path"], each["change"]) for each in change.body["changes"]], [("greet.py", "add")])
        ran = notes.items("command")[-1].body
        self.assertEqual((ran["command"], ran["output"], ran["exit_code"]), ("python3 greet.py", "moin\n", 0))
        self.assertIn("the edit is real", notes.said())
        messages = [item.body["text"] for item in notes.items("message")]
        self.assertEqual(notes.said(), "\n\n".join(messages))
        usage = notes.of(Usage)[-1]
        self.assertGreater(usage.input_tokens, 1_000)
        self.assertEqual(usage.context_tokens, self.order().context_tokens - self.order().output_tokens)
        lines = self.stage.requests(self.session, 4)
        self.assertEqual([(line["route"], line["status"]) for line in lines], [("/v1/responses", 200)] * 4)
        self.assertLess(lines[0]["bytes_in"], 10_000)
        self.assertEqual(notes.of(Warned), [])

    async def test_change_and_read(self) -> None:
        """A file that it changes is active; nothing else of the repository is touched."""
        notes = await self.turn("Document calc.py.")
        self.assertEqual(self.git("diff", "--numstat"), "1\t0\tcalc.py\n")
        self.assertIn(FilesTouched(("calc.py",)), notes.events)

    async def test_ready_soon(self) -> None:
        """It waits for input within two seconds of its launch."""
        await self.engine.probe()
        seconds = []
        for number in range(3):
            begun = time.monotonic()
            agent, _ = await self.launch(session_id=f"{self.session}-{number}")
            seconds.append(time.monotonic() - begun)
            await agent.stop()
        print(f"start to ready: {', '.join(f'{each:.2f} s' for each in seconds)}")
        self.assertLess(min(seconds), READY_SECONDS)

    async def test_two_turns(self) -> None:
        """The second input belongs to the same conversation: all that was said before is sent with it."""
        agent, notes = await self.launch()
        await say(agent, notes, "Say hello")
        await say(agent, notes, "Say hello again")
        first, second = self.stage.requests(self.session, 2)
        self.assertGreater(second["bytes_in"], first["bytes_in"])
        self.assertEqual([ended.status for ended in notes.of(TurnEnded)], ["completed"] * 2)

    async def test_steer(self) -> None:
        """What is said while a turn runs becomes part of that turn."""
        agent, notes = await self.launch()
        spoken = notes.event(Output)
        agent.say("rehearse: long tokens=300 tokens_per_second=150")
        await spoken
        ended = notes.turn_ended()
        agent.steer("Say hello")
        await ended
        self.assertEqual(len(notes.of(TurnBegan)), 1)
        self.assertEqual(len(self.stage.requests(self.session, 2)), 2)

    async def test_interrupt(self) -> None:
        """A turn that is interrupted ends at once, and so does the model's work for it."""
        agent, notes = await self.launch()
        spoken = notes.event(Output)
        agent.say("rehearse: long tokens=3000 tokens_per_second=50")
        await spoken
        ended = notes.turn_ended()
        begun = time.monotonic()
        agent.interrupt()
        self.assertEqual((await ended).status, "interrupted")
        self.assertLess(time.monotonic() - begun, 5)
        wait_for(lambda: self.stage.model.running() == 0, "the model has stopped", 5)
        self.assertEqual((await say(agent, notes, "Say hello")).status, "completed")

    async def test_interrupt_at_once(self) -> None:
        """A turn may be interrupted before Codex has given it a name."""
        agent, notes = await self.launch()
        ended = notes.turn_ended()
        agent.say("rehearse: long tokens=3000 tokens_per_second=50")
        agent.interrupt()
        self.assertEqual((await ended).status, "interrupted")

    async def test_model_refuses(self) -> None:
        """The gateway's refusal is told as the turn's failure, once."""
        agent, notes = await self.launch()
        ended = await say(agent, notes, "rehearse: budget")
        self.assertEqual(ended.status, "failed")
        [failure] = [event for event in notes.events if type(event).__name__ == "Failed"]
        self.assertIn("TOKEN_BUDGET_EXCEEDED", str(failure))


class BorderTests(EngineTestCase):
    """Where it calls."""

    async def test_nowhere_else(self) -> None:
        """From its start through a turn to its end it calls the gateway, and tries nothing else on any network."""
        package = self.state / "package"
        (package / "bin").mkdir(parents=True)
        (package / "codex-resources").symlink_to(self.kit.codex.parents[1] / "codex-resources")
        watched = [f"export {name}={value}" for name, value in self.stage.border.environment.items()]
        program = package / "bin" / "codex"
        program.write_text("\n".join(["#!/bin/sh", *watched, f'exec {self.kit.codex} "$@"', ""]))
        program.chmod(0o755)
        self.engine.close()
        self.engine = self.make_engine(program, [self.kit.codex.parents[1]])
        agent, notes = await self.launch()
        self.assertEqual((await say(agent, notes, EDIT)).status, "completed")
        await agent.stop()
        self.assertEqual(self.stage.border.crossings[self.crossed :], [])


class PlanTests(EngineTestCase):
    """A model that plans."""

    steps: ClassVar = [{"step": "look", "status": "completed"}, {"step": "change", "status": "in_progress"}]
    script: ClassVar[str] = AT_LARGE.replace("exec_command", "update_plan") % json.dumps({"plan": steps})

    async def test_plan(self) -> None:
        """Its steps are told with how far they are."""
        notes = await self.turn("run this")
        self.assertEqual([list(plan.steps) for plan in notes.of(Plan)], [self.steps])


class ApprovalTests(EngineTestCase):
    """It asks first."""

    script: ClassVar[str] = AT_LARGE % json.dumps({"cmd": "touch made-by-command"})

    async def test_command_accepted(self) -> None:
        """A command that was asked for and accepted is run."""
        notes = await self.turn("run this", Decision.ACCEPT, approval="untrusted")
        [asked] = notes.of(ApprovalAsked)
        self.assertEqual(
            (asked.kind, asked.body["command"], asked.body["cwd"]), ("command", "touch made-by-command", ".")
        )
        self.assertIn(Decision.DECLINE, asked.decisions)
        self.assertEqual(notes.items("command")[-1].body["status"], "completed")
        self.assertTrue((self.workspace / "made-by-command").exists())

    async def test_command_declined(self) -> None:
        """A command that was declined is not run, and the turn goes on."""
        notes = await self.turn("run this", Decision.DECLINE, approval="untrusted")
        self.assertEqual(notes.items("command")[-1].body["status"], "declined")
        self.assertFalse((self.workspace / "made-by-command").exists())
        self.assertEqual([ended.status for ended in notes.of(TurnEnded)], ["completed"])

    async def test_command_cancelled(self) -> None:
        """To cancel ends the turn too."""
        notes = await self.turn("run this", Decision.CANCEL, approval="untrusted")
        self.assertFalse((self.workspace / "made-by-command").exists())
        self.assertEqual([ended.status for ended in notes.of(TurnEnded)], ["interrupted"])

    async def test_change_accepted(self) -> None:
        """Where nothing may be written unasked, a change is shown, asked for, and made when it is accepted."""
        notes = await self.turn(EDIT, Decision.ACCEPT, approval="on-request", sandbox="read-only")
        asked = next(asked for asked in notes.of(ApprovalAsked) if asked.kind == "file_change")
        self.assertEqual([each["path"] for each in asked.body["changes"]], ["greet.py"])
        self.assertIn('print("moin")', (self.workspace / "greet.py").read_text())
        self.assertIn('+print("moin")', notes.diff())

    async def test_change_declined(self) -> None:
        """And not made when it is declined."""
        notes = await self.turn(EDIT, Decision.DECLINE, approval="on-request", sandbox="read-only")
        self.assertIn("file_change", [asked.kind for asked in notes.of(ApprovalAsked)])
        self.assertEqual(self.git("status", "--short"), "")
        self.assertNotIn(FilesTouched(("greet.py",)), notes.events)

    async def test_settled_by_interrupt(self) -> None:
        """A request for approval is settled when its turn is interrupted; a late answer does nothing."""
        agent, notes = await self.launch(approval="untrusted")
        asking = notes.event(ApprovalAsked)
        agent.say("run this")
        asked = await asking
        ended = notes.turn_ended()
        agent.interrupt()
        await ended
        agent.decide(asked.approval_id, Decision.ACCEPT)
        self.assertIn(ApprovalSettled(asked.approval_id), notes.events)
        await say(agent, notes, "Say hello")
        self.assertFalse((self.workspace / "made-by-command").exists())


class DeathTests(EngineTestCase):
    """It dies, or is ended."""

    async def test_resumed(self) -> None:
        """Killed in the middle of a turn it is gone with all its processes; another one continues the conversation."""
        agent, notes = await self.launch()
        await say(agent, notes, "Say hello")
        spoken = notes.event(Output)
        agent.say("rehearse: long tokens=3000 tokens_per_second=50")
        await spoken
        processes = self.family()
        codex = next(
            process for process in processes if "app-server" in process.title() and "bwrap" not in process.title()
        )
        os.kill(codex.pid, signal.SIGKILL)
        await notes.end()
        self.assertEqual([type(reason) for reason in notes.ends], [str])
        self.await_gone(processes)
        second, further = await self.launch(resume=agent.thread_id)
        self.assertEqual(second.thread_id, agent.thread_id)
        before = len(self.stage.requests(self.session, 2))
        await say(second, further, "Say hello again")
        lines = self.stage.requests(self.session, before + 1)
        self.assertGreater(lines[-1]["bytes_in"], lines[0]["bytes_in"])
        self.assertEqual(further.of(Warned), [])

    async def test_conversation_lost(self) -> None:
        """A conversation that cannot be found again is replaced by another, and that is said."""
        agent, notes = await self.launch(resume="01a1ff08-ccf2-7d92-8c50-81c8286147b4")
        self.assertIn("cannot be continued", str(notes.of(Warned)))
        self.assertEqual((await say(agent, notes, "Say hello")).status, "completed")

    async def test_stopped_in_a_turn(self) -> None:
        """Stopped, it is gone when it says so, its folder too."""
        agent, notes = await self.launch()
        spoken = notes.event(Output)
        agent.say("rehearse: long tokens=3000 tokens_per_second=50")
        await spoken
        processes = self.family()
        self.assertGreater(len(processes), 1)
        await agent.stop()
        self.assertEqual([process.title() for process in processes if process.alive()], [])
        self.assertEqual(notes.ends, [None])
        [life] = self.state.iterdir()
        self.assertEqual([path.name for path in life.iterdir() if list(path.glob("config.toml"))], [])

    async def test_launch_given_up(self) -> None:
        """A launch that is cancelled leaves nothing."""
        await self.engine.probe()
        launching = self.launch_soon()
        processes = self.family()
        self.assertNotEqual(processes, [])
        launching.addErrback(lambda failure: None)
        launching.cancel()
        await launching
        self.await_gone(processes)

    async def test_no_descriptors_leak(self) -> None:
        """Ten agents, ended in turn by a word, by a kill and by a cancelled launch, leave no open file behind."""
        await self.engine.probe()
        agent, _ = await self.launch()
        await agent.stop()
        before = descriptors()
        for _ in range(3):
            agent, notes = await self.launch()
            await agent.stop()
            agent, notes = await self.launch()
            for process in self.family():
                process.kill()
            await notes.end()
            launching = self.launch_soon()
            launching.addErrback(lambda failure: None)
            launching.cancel()
            await launching
        self.assertEqual(descriptors(), before)
        self.assertEqual(self.family(), [])
