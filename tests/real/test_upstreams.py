"""Two model servers behind one gateway, each a process: each has the requests for its models."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.real.gateway import PROJECT, Gateway
from tests.real.processes import end, start
from tests.real.waiting import wait_for

MODELS = {"one": "org/big-1", "two": "small"}
SECONDS = 60.0


class _Gateway(Gateway):
    """A gateway before several."""

    upstreams: tuple[dict[str, Any], ...] = ()

    def _configuration(self) -> dict[str, Any]:
        return {**super()._configuration(), "upstream": list(self.upstreams)}


class UpstreamsTests(SynchronousTestCase):
    """The first names its models in the configuration, the second is asked."""

    def setUp(self) -> None:
        scratch = TemporaryDirectory(prefix="hgw-")
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        (self.folder / "gateway").mkdir()
        self.models = {name: self._start(name, model) for name, model in MODELS.items()}
        self.gateway = _Gateway(self.folder / "gateway", self._socket("one"), [])
        first = {"name": "one", "socket": str(self._socket("one")), "models": [MODELS["one"]]}
        self.gateway.upstreams = (first, {"name": "two", "socket": str(self._socket("two"))})
        self.addCleanup(self.gateway.stop)
        self.gateway.start()

    def _socket(self, name: str) -> Path:
        return self.folder / f"{name}.sock"

    def _start(self, name: str, model: str) -> Any:
        command: list[str | Path] = [sys.executable, "-m", "hadesgw.demo", "--socket", self._socket(name)]
        command += ["--model", model, "--tokens-per-second", "0"]
        child = start(command, self.folder / f"{name}.log", dict(os.environ), PROJECT)
        self.addCleanup(end, child, 10.0)
        wait_for(self._socket(name).exists, f"{name} serves", SECONDS)
        return child

    def ask(self, model: str) -> Any:
        """The answer to a chat with `model`."""
        document = {"model": model, "messages": [{"role": "user", "content": "Say hello"}]}
        headers = {"X-Request-ID": f"ask-{model.replace('/', '-')}"}
        return self.gateway.client().post("/v1/chat/completions", document, headers)

    def test_each_has_its_own(self) -> None:
        """Requests, log lines, and the list of both; one that is gone takes nothing from the other."""
        for name, model in MODELS.items():
            answer = self.ask(model)
            self.assertEqual((answer.status, json.loads(answer.body)["model"]), (200, model))
            line = self.gateway.request_log(f"ask-{model.replace('/', '-')}")
            self.assertEqual((line["upstream"], line["model"]), (name, model))
        listed = json.loads(self.gateway.client().get("/v1/models").body)["data"]
        self.assertEqual([model["id"] for model in listed], [*MODELS.values()])
        for path in ("/v1/models/org/big-1", "/v1/models/org%2Fbig-1"):
            self.assertEqual(json.loads(self.gateway.client().get(path).body)["id"], "org/big-1")
        self.assertEqual(self.ask("nobody's").status, 404)
        end(self.models["two"], 10.0)
        self.assertEqual((self.ask("small").status, self.ask("org/big-1").status), (503, 200))
        ready = self.gateway.stranger().get("/readyz")
        self.assertEqual((ready.status, json.loads(ready.body)["upstream"]["one"]), (503, "ok"))
