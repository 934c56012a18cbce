"""`hadesgw demo --gguf` with real weights: what its users get, and that nothing of it is left."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.demo.local_model import model_name
from tests.real import processes
from tests.real.gateway import toml
from tests.real.kits import SUPPLIES
from tests.real.local.environment import LOCAL
from tests.real.waiting import wait_for
from tests.real.wire import Client
from tools.pure import PROJECT

READY_SECONDS = 180.0
"""A start takes 3 s on two idle cores."""
STOP_SECONDS = 30.0
CHAT = "/v1/chat/completions"
TOKENS = 24
COUNTING = {
    "stream": True,
    "max_tokens": TOKENS,
    "temperature": 0,
    "messages": [{"role": "user", "content": "Count from 1 to 100, one number a line, and say nothing else."}],
}


class LocalModelTests(SynchronousTestCase):
    """One demo each, started as a person would."""

    def setUp(self) -> None:
        self.kit = SUPPLIES.kit(LOCAL)
        scratch = tempfile.TemporaryDirectory(prefix="hgw-")  # short: a socket's path has 107 bytes
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        self.log = self.folder / "demo.log"
        self.name = model_name(self.kit.model)
        self.child = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        configuration = self.folder / "hadesgw.toml"
        configuration.write_text(toml({"server": {"listen": ["tcp:0:interface=127.0.0.1"], "control": "control.sock"}}))
        command: list[str | Path] = [self.kit.python, "-m", "hadesgw.cli", "demo"]
        child = processes.start(
            [*command, "--gguf", self.kit.model, "--config", configuration],
            self.log,
            {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "TMPDIR": str(self.folder), "LANG": "C.UTF-8"},
            self.folder,
        )
        self.addCleanup(processes.end, child, STOP_SECONDS)
        return child

    def client(self) -> Client:
        """Of the gateway, as it invites to be used."""
        said = wait_for(self.invitation, "the demo invites", READY_SECONDS, pause=0.1)
        return Client(("127.0.0.1", int(said[1])), {"Authorization": f"Bearer {said[2]}"})

    def invitation(self) -> re.Match[str] | None:
        said = self.log.read_text()
        self.assertIsNone(self.child.poll(), said)
        return re.search(r"URL +http://127\.0\.0\.1:(\d+)/v1\n +key +(\S+)\n", said)

    def family(self) -> list[processes.Process]:
        found = processes.descendants(self.child.pid)
        self.assertEqual([process.title().count("hadesgw.demo.local_model") for process in found], [1])
        return found

    def answering(self) -> int:
        """How many requests llama.cpp is working on, as it counts them itself."""
        (path,) = self.folder.glob("hadesgw-demo-*/model.sock")
        text = Client(path, {}).get("/metrics").body.decode()
        return int(text.partition("\nllamacpp:requests_processing ")[2].split()[0])

    def test_tokens_arrive_as_they_are_made(self) -> None:
        """The first is here while llama.cpp still works on the rest, and most come at a moment of their own."""
        client = self.client()
        with client.open("POST", CHAT, {**COUNTING, "model": self.name}) as stream:
            self.assertEqual(stream.status, 200)
            events = [stream.event() for _ in range(3)]
            self.assertEqual(self.answering(), 1)
            times = []
            while event := stream.event():
                events.append(event)
                times.append(time.monotonic())
        self.assertEqual(events[-1], b"data: [DONE]\n\n")
        documents = [json.loads(event.removeprefix(b"data: ")) for event in events[:-1]]
        choices = [document["choices"][0] for document in documents if document["choices"]]
        said = [choice["delta"].get("content") or "" for choice in choices]
        self.assertEqual({document["model"] for document in documents}, {self.name})
        self.assertEqual("".join(said).split()[:5], ["1", "2", "3", "4", "5"])
        self.assertGreater(len(list(filter(None, said))), TOKENS // 2)
        moments = {round(at, 2) for at in times}
        self.assertGreater(len(moments), len(times) // 2, f"{len(times)} events at {len(moments)} moments")
        wait_for(lambda: self.answering() == 0, "llama.cpp is done", STOP_SECONDS)

    def test_it_goes_by_the_name_of_its_file(self) -> None:
        """In the list of models, in the line to paste, and as the only upstream."""
        client = self.client()
        self.assertEqual([model["id"] for model in client.get("/v1/models").json()["data"]], [self.name])
        self.assertIn(f'"model":"{self.name}"', self.log.read_text())
        self.assertEqual(client.get("/readyz").json(), {"status": "ready", "upstream": {"local": "ok"}})

    def test_who_leaves_is_gone(self) -> None:
        """llama.cpp stops for a client that leaves in mid-stream."""
        client = self.client()
        with client.open("POST", CHAT, {**COUNTING, "max_tokens": 2000, "model": self.name}) as stream:
            stream.event()
            self.assertEqual(self.answering(), 1)
        wait_for(lambda: self.answering() == 0, "llama.cpp has stopped", STOP_SECONDS)

    def test_it_stops_in_the_middle_of_an_answer(self) -> None:
        """Without waiting for it; no process and no folder remains, and the stream does not look complete."""
        client = self.client()
        family = self.family()
        with client.open("POST", CHAT, {**COUNTING, "max_tokens": 2000, "model": self.name}) as stream:
            stream.event()
            self.assertEqual(processes.end(self.child, STOP_SECONDS), 0, self.log.read_text())
            self.assertNotIn(b"[DONE]", b"".join(stream.events()))
        self.assertEqual([process for process in family if process.alive()], [])
        self.assertEqual(list(self.folder.glob("hadesgw-demo-*")), [])

    def test_it_does_not_outlive_its_parent(self) -> None:
        """Killed, be it while the model is loaded or when it serves."""
        for serving in (False, True):
            if serving:
                self.log.unlink()
                self.child = self.start()
                self.client()
            (model,) = wait_for(self.loading, "the model's process is there", READY_SECONDS)
            self.child.send_signal(signal.SIGKILL)
            self.child.wait()
            wait_for(lambda: not model.alive(), "the model's process is gone", STOP_SECONDS)  # noqa: B023

    def loading(self) -> list[processes.Process]:
        """The model's process once it is more than a Python that starts."""
        self.assertIsNone(self.child.poll(), self.log.read_text())
        return [process for process in processes.descendants(self.child.pid) if process.rss() > 100 << 20]
