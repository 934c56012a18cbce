"""The watch over answers, against the rehearsal model and through a gateway that runs: counts equal the known truth."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from tests.real.gateway import Gateway
from tests.real.wire import Client

PROJECT = Path(__file__).resolve().parents[2]
MODEL = "qwen3-coder-30b-a3b-instruct"
CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
MEMORY_TOOLS = (
    "store_core",
    "fetch_core",
    "append_fifo",
    "evict_fifo",
    "write_recall",
    "search_recall",
    "search_archival",
    "ingest_archival",
    "record_heartbeat",
)
SCENES: Mapping[str, list[str]] = {
    "plain": [],
    "reason": [],
    "characters": [],
    "silence": [],
    "tool": ["other"],
    "tool-fragments": ["other"],
    "tools-parallel": ["other"] * 3,
    "tool-broken": ["other"],
    "memory": ["search_recall", "write_recall", "store_core", "record_heartbeat"],
    "memory-warning": ["evict_fifo", "write_recall"],
    **{name: [name] for name in MEMORY_TOOLS},
}
"""What each rehearsal calls, by the names that are counted."""
WARNINGS = {"memory-warning": 1}
"""How many events of memory pressure the text of a rehearsal shows."""
NOT_PLAYED = ("tool-broken", MESSAGES, {"stream": False})
"""An answer in one piece has arguments as objects in that protocol: what is none cannot be said; nor can vLLM."""
ALLOWANCE = {"requests_per_second": 1_000_000, "burst": 1_000_000, "roles": ["admin"]}


def wish(path: str, scene: str, **members: Any) -> dict[str, Any]:
    """A request for a rehearsal, in the protocol of a path."""
    said = f"rehearse: {scene}"
    asked: dict[str, Any] = {"model": MODEL, **members}
    if path == RESPONSES:
        return {**asked, "input": said}
    return {**asked, "max_tokens": 1_000, "messages": [{"role": "user", "content": said}]}


def objects(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every object in a JSON value."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from objects(item)


def usage(body: bytes) -> tuple[int, int] | None:
    """(prompt, completion) tokens that an answer tells last, by whatever protocol."""
    lines = [line.removeprefix(b"data: ") for line in body.splitlines() if line.startswith(b"data: {")] or [body]
    told = None
    for line in lines:
        for found in objects(json.loads(line)):
            prompt = found.get("prompt_tokens", found.get("input_tokens"))
            completion = found.get("completion_tokens", found.get("output_tokens"))
            if isinstance(prompt, int) and isinstance(completion, int):
                told = prompt, completion
    return told


class Case(SynchronousTestCase):
    """A rehearsal model that plays as fast as it is read, and a gateway before it."""

    sections: Mapping[str, Mapping[str, object]] = {}
    pace = "0"

    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory(prefix="hgw-")
        self.addCleanup(scratch.cleanup)
        folder = Path(scratch.name)
        command = [sys.executable, "-m", "hadesgw.demo", "--socket", str(folder / "model.sock")]
        command += ["--tokens-per-second", self.pace, "--model", MODEL, "--until-stdin-closes"]
        pipe = subprocess.PIPE
        model = subprocess.Popen(command, cwd=PROJECT, stdin=pipe, stdout=pipe, text=True)
        self.addCleanup(self._end, model)
        assert model.stdout is not None
        self.assertEqual(model.stdout.readline(), "READY\n")
        (folder / "gateway").mkdir()
        self.gateway = Gateway(folder / "gateway", folder / "model.sock", [MODEL], self.sections, ALLOWANCE)
        self.addCleanup(self.gateway.stop)
        self.gateway.start()
        self.asked = 0

    @staticmethod
    def _end(model: subprocess.Popen[str]) -> None:
        model.terminate()
        model.wait(20)
        for pipe in (model.stdin, model.stdout):
            assert pipe is not None
            pipe.close()

    def client(self) -> tuple[Client, str]:
        """One for a single request, and the id it has."""
        self.asked += 1
        request_id = f"watched-{self.asked}"
        return self.gateway.client({"X-Request-ID": request_id}), request_id

    def ask(self, path: str, scene: str, **members: Any) -> tuple[bytes, dict[str, Any]]:
        """(body, line in the log) of one rehearsal."""
        client, request_id = self.client()
        answer = client.post(path, wish(path, scene, **members))
        self.assertEqual(answer.status, 200, answer.body)
        return answer.body, self.gateway.request_log(request_id)

    def counted(self, name: str, label: str) -> dict[str, float]:
        """The values of a metric by one of its labels."""
        page = self.gateway.client().get("/metrics").body.decode()
        samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
        return {one.labels[label]: one.value for one in samples if one.name == f"hades_codex_{name}_total"}


class TruthTests(Case):
    """Every rehearsal, in three protocols, streamed or not, with and without usage."""

    def test_what_is_counted_is_what_was_played(self) -> None:
        """Tool calls by name, memory events, the usage that the model tells; in the log and in the meters."""
        tools: Counter[str] = Counter()
        tokens: Counter[str] = Counter()
        asking = {"stream_options": {"include_usage": True}}
        kinds: list[tuple[str, dict[str, Any]]] = [(CHAT, {"stream": True}), (CHAT, {"stream": True, **asking})]
        kinds += [(path, {"stream": stream}) for path in (CHAT, RESPONSES, MESSAGES) for stream in (True, False)]
        for scene, called in SCENES.items():
            for path, members in kinds:
                if (scene, path, members) == NOT_PLAYED:
                    continue
                body, line = self.ask(path, scene, **members)
                told = (scene, path, members, line)
                memory = sum(name in MEMORY_TOOLS for name in called) + WARNINGS.get(scene, 0)
                self.assertEqual((line["tool_calls"], line["memory_events"]), (len(called), memory), told)
                self.assertEqual((line["reason"], line["stream"]), (None, members["stream"]), told)
                self.assertTrue(line["response_id"], told)
                stated = usage(body)
                if stated is not None:
                    self.assertEqual((line["prompt_tokens"], line["completion_tokens"]), stated, told)
                    tokens["prompt"] += stated[0]
                    tokens["completion"] += stated[1]
                tools.update(called)
        self.assertGreater(self.asked, 140)
        self.assertEqual(self.counted("tool_calls", "tool"), dict(tools))
        broken = len(kinds) - 1
        self.assertEqual(self.counted("tool_call_faults", "fault"), {"partial": broken})
        counted = self.counted("tokens", "kind")
        self.assertEqual({kind: counted[kind] for kind in ("completion",)}, {"completion": tokens["completion"]})
        self.assertEqual(counted["prompt"], tokens["prompt"])
        called_memory = sum(count for name, count in tools.items() if name in MEMORY_TOOLS)
        shown = self.counted("memory_events", "kind")
        self.assertEqual(shown, {"tool_call": called_memory, "warning": len(kinds) * WARNINGS["memory-warning"]})

    def test_bad_ends(self) -> None:
        """An engine that dies tells it in the stream; a connection that breaks is the gateway's to tell."""
        for path in (CHAT, RESPONSES, MESSAGES):
            _, line = self.ask(path, "engine-death", stream=True)
            self.assertEqual((line["status"], line["reason"], line["code"]), (200, "upstream_error", "upstream_error"))
            self.assertTrue(line["completion_tokens"])
        errors = {code: count for code, count in self.counted("errors", "code").items() if count}
        self.assertEqual(errors, {"upstream_error": 3})

    def test_a_warning_in_the_conversation(self) -> None:
        """It is counted once, with the turn that brings it."""
        warning = json.dumps({"type": "system_alert", "message": "The memory is nearly full.", "time": "now"})
        said = [{"role": "user", "content": "hello"}, {"role": "system", "content": warning}]
        for messages in (said, [*said, {"role": "assistant", "content": "ok"}, {"role": "user", "content": "go on"}]):
            self.gateway.client().post(CHAT, {"model": MODEL, "messages": messages, "max_tokens": 9})
        self.assertEqual(self.counted("memory_events", "kind"), {"system_alert": 1})


class UsageTests(Case):
    """A gateway that asks for its clients."""

    sections: Mapping[str, Mapping[str, object]] = {"usage": {"ask_upstream": True}}

    def test_the_numbers_are_the_models_and_the_client_sees_none(self) -> None:
        """What its stream has is what it would have had; what is booked is what a client that asks is told."""
        for scene in SCENES:
            plain, line = self.ask(CHAT, scene, stream=True)
            self.assertIsNone(usage(plain), scene)
            self.assertNotIn(b'"choices":[]', plain, scene)
            self.assertTrue(plain.endswith(b"data: [DONE]\n\n"))
            body, _ = self.ask(CHAT, scene, stream=True, stream_options={"include_usage": True})
            stated = usage(body)
            self.assertIsNotNone(stated, scene)
            self.assertEqual((line["prompt_tokens"], line["completion_tokens"]), stated, scene)
            self.assertEqual(line["tokens_from"], "upstream", scene)


class DepartureTests(Case):
    """Clients that leave a stream."""

    def test_what_the_model_has_said_is_booked(self) -> None:
        """Within one token, in each protocol: the model falls silent after so many, and then its client leaves."""
        for path in (CHAT, RESPONSES, MESSAGES):
            for tokens in (1, 2, 7, 30):
                client, request_id = self.client()
                document = wish(path, f"stall after_tokens={tokens}", stream=True)
                with client.open("POST", path, document) as stream:
                    seen = 0
                    while seen < tokens:
                        seen += says_something(stream.event())
                line = self.gateway.request_log(request_id)
                told = (path, tokens, line)
                self.assertEqual(
                    (line["status"], line["reason"], line["tokens_from"]), (499, "client_left", "count"), told
                )
                self.assertLessEqual(abs(line["completion_tokens"] - tokens), 1, told)


def says_something(event: bytes) -> bool:
    """Whether an event of any of the protocols has a piece of text."""
    for line in event.splitlines():
        if line.startswith(b"data: {"):
            found = json.loads(line[6:])
            delta = found["choices"][0]["delta"].get("content") if "choices" in found else found.get("delta")
            return bool(delta)
    return False
