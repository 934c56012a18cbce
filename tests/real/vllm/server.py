"""A real `vllm serve` on a UNIX socket, as a child process.

The model has noise for weights (see `tiny_model.py`), so a start takes half a minute and no accelerator.
vLLM runs as a small family: the API server (our child), the engine core, and a worker; only these are ever
ended.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.real.processes import Process, descendants, end, start
from tests.real.vllm.environment import VllmKit
from tests.real.waiting import wait_for
from tests.real.wire import Client

MODEL = "tiny"
"""The name under which the model is served."""

READY_SECONDS = 600.0
"""A start takes 20 to 60 s on two idle cores; a loaded machine needs several times that."""

STOP_SECONDS = 30.0

RUNNING = re.compile(rb"^vllm:num_requests_running\{[^}]*\} ([0-9.e+]+)$", re.MULTILINE)

SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "OMP_NUM_THREADS": "1",
}
"""No call leaves the machine, 1 GiB for the attention cache, one computing thread."""


class VllmFailed(Exception):
    """vLLM ended while it was starting; the text holds the end of its log."""


class VllmServer:
    """One vLLM on `folder/vllm.sock`, which writes `folder/vllm.log`.

    :param folder: an existing folder with a path short enough for a socket in it.
    :param max_model_len: tokens of context, at most 65536.
    :param max_num_seqs: requests that are computed at the same time; others wait within vLLM.
    :param arguments: further arguments of `vllm serve`.
    """

    def __init__(
        self,
        kit: VllmKit,
        folder: Path,
        *,
        max_model_len: int = 8192,
        max_num_seqs: int = 8,
        arguments: Sequence[str] = (),
    ) -> None:
        self.kit = kit
        self.folder = folder
        self.socket = folder / "vllm.sock"
        self.log = folder / "vllm.log"
        self.command: list[str | Path] = [
            kit.vllm, "serve", kit.model,
            "--served-model-name", MODEL,
            "--uds", self.socket,
            "--load-format", "dummy",
            "--dtype", "bfloat16",
            "--enforce-eager",
            "--enable-auto-tool-choice", "--tool-call-parser", "hermes",
            "--max-model-len", str(max_model_len),
            "--max-num-seqs", str(max_num_seqs),
            *arguments,
        ]  # fmt: skip
        self.client = Client(self.socket, {})
        self.child: subprocess.Popen[bytes] | None = None
        self.relatives: list[Process] = []

    def start(self) -> None:
        """Start vLLM and wait until it answers.

        vLLM does not start where a socket file is left over, be it dead or not; see :meth:`remove_socket`.

        :raises VllmFailed: when it ends instead.
        """
        path = f"{self.kit.vllm.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self.child = start(self.command, self.log, {**surroundings, **SETTINGS, "PATH": path}, self.folder)
        # The path is bound long before anyone listens on it: only an answer says that vLLM is there.
        wait_for(self.answers, f"vLLM answers on {self.socket}", READY_SECONDS, pause=0.2)
        self.relatives = self.family()

    def answers(self) -> bool:
        """Whether `/health` is good.

        :raises VllmFailed: when vLLM, once started, has ended.
        """
        if self.child is None or self.child.poll() is not None:
            raise VllmFailed("\n  | ".join(["vLLM has ended; its log:", *self.log_lines()[-20:]]))
        try:
            return self.client.get("/health").status == 200
        except OSError:
            return False

    def well(self) -> bool:
        """Whether it runs and answers."""
        try:
            return self.answers()
        except VllmFailed:
            return False

    def stop(self) -> None:
        """End vLLM and its children; the socket file stays, as vLLM leaves it."""
        if self.child is not None:
            end(self.child, STOP_SECONDS)
            self.child = None
        # Should the API server have died before us, the others are nobody's children any more.
        for process in self.relatives:
            process.kill()

    def restart(self) -> None:
        """Stop, clear the way and start again."""
        self.stop()
        self.remove_socket()
        self.start()

    def remove_socket(self) -> None:
        self.socket.unlink(missing_ok=True)

    def kill_engine(self, title: str = "VLLM::EngineCore") -> None:
        """SIGKILL the engine core, or the child of another `title` such as `VLLM::Worker`.

        The API server notices, fails what is running and ends by itself within seconds.
        """
        victims = [process for process in self.family() if process.title().startswith(title)]
        assert victims, f"no {title} among {[process.title() for process in self.family()]}"
        for process in victims:
            process.kill()

    def wait_until_ended(self) -> int:
        """The exit status of a vLLM that ends by itself."""
        assert self.child is not None, "not started"
        return self.child.wait(STOP_SECONDS)

    def family(self) -> list[Process]:
        """The API server and its descendants, as far as they live."""
        server = Process.of(self.child.pid) if self.child is not None else None
        return [server, *descendants(server.pid)] if server is not None else []

    def rss(self) -> int:
        """Resident bytes of the whole family."""
        return sum(process.rss() for process in self.family())

    def running(self) -> int:
        """How many requests the engine is computing, as vLLM counts them itself."""
        return int(sum(float(count) for count in RUNNING.findall(self.client.get("/metrics").body)))

    def log_lines(self) -> list[str]:
        return self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
