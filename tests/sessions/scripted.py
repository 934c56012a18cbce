"""Processes that exist in a script only, on a reactor whose time stands still."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from twisted.internet.interfaces import IProcessTransport


class ScriptedProcess:
    """A process as its parent sees it.

    :ivar obedient: whether it ends when its input does.
    :ivar paused: whether its output is not read at this moment.
    """

    pid = 4_194_304  # past the largest there is

    def __init__(self, protocol: ProcessProtocol, command: list[str], environment: dict[str, str], folder: Any) -> None:
        self.protocol = protocol
        self.command = command
        self.environment = environment
        self.folder = folder
        self.written: list[dict[str, Any]] = []
        self.heard: Callable[[dict[str, Any]], object] = lambda message: None
        self.obedient = True
        self.paused = False
        self.input_open = True
        self.ended = False

    # -- What the parent does ------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        for line in data.splitlines():
            self.written.append(json.loads(line))
            self.heard(json.loads(line))

    def closeStdin(self) -> None:  # noqa: N802 - its name in Twisted, as the next
        self.input_open = False
        if self.obedient and not self.ended:
            self.end(0)

    def signalProcess(self, signal: str) -> None:
        if self.ended:
            raise ProcessExitedAlready
        assert signal == "KILL"
        self.end(signal=9)

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    # -- What it does itself -------------------------------------------------------------------------------------------

    def say(self, *messages: Any) -> None:
        """Write messages, each on a line of its own."""
        self.print(b"".join(json.dumps(message).encode() + b"\n" for message in messages))

    def print(self, data: bytes) -> None:
        self.protocol.childDataReceived(1, data)

    def complain(self, text: str) -> None:
        self.protocol.childDataReceived(2, text.encode())

    def end(self, status: int | None = None, signal: int | None = None) -> None:
        self.ended = True
        reason: Exception = ProcessDone(0) if status == 0 else ProcessTerminated(status, signal, signal or status)
        self.protocol.processExited(Failure(reason))
        self.protocol.processEnded(Failure(reason))


class ScriptedReactor(Clock):
    """Starts no process but in the script.

    :ivar processes: all that have been started.
    :ivar starting: told of each as it starts; may raise OSError.
    """

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[ScriptedProcess] = []
        self.starting: Callable[[ScriptedProcess], object] = lambda process: None

    def spawnProcess(  # noqa: N802
        self,
        protocol: ProcessProtocol,
        executable: str,
        args: list[str],
        env: dict[str, str],
        path: str | None = None,
        childFDs: dict[int, str] | None = None,  # noqa: N803 - its name in Twisted
    ) -> ScriptedProcess:
        process = ScriptedProcess(protocol, args, env, path)
        self.starting(process)
        self.processes.append(process)
        protocol.makeConnection(cast("IProcessTransport", process))
        return process


SANDBOXES = {"read-only": "readOnly", "workspace-write": "workspaceWrite", "danger-full-access": "dangerFullAccess"}


def started(rules: dict[str, Any]) -> dict[str, Any]:
    """A conversation by the rules that were asked for."""
    sandbox = {"type": SANDBOXES[rules["sandbox"]]}
    return {"thread": {"id": "thread-1"}, "sandbox": sandbox, "approvalPolicy": rules["approvalPolicy"]}


class AppServer:
    """Codex's side of a conversation, by the script.

    :ivar asked: the requests it has had, by method.
    :ivar answers: what it answers to a method: a result, or what makes one of the parameters, or an exception for an
        error, or None for nothing at all.
    """

    def __init__(self, process: ScriptedProcess) -> None:
        self.process = process
        self.asked: dict[str, list[dict[str, Any]]] = {}
        self.answers: dict[str, Any] = {
            "initialize": {"userAgent": "hadesgw/0.163.0"},
            "thread/start": started,
            "thread/resume": started,
            "turn/start": {"turn": {"id": "turn-1"}},
            "turn/steer": {"turnId": "turn-1"},
            "turn/interrupt": {},
        }
        process.heard = self._heard

    def tell(self, method: str, **params: Any) -> None:
        """A notification."""
        self.process.say({"method": method, "params": {"threadId": "thread-1", **params}})

    def ask(self, number: int | str, method: str, **params: Any) -> None:
        """A request."""
        self.process.say({"id": number, "method": method, "params": {"threadId": "thread-1", **params}})

    def replies(self) -> list[dict[str, Any]]:
        """What its requests were answered."""
        return [message for message in self.process.written if "method" not in message]

    def _heard(self, message: dict[str, Any]) -> None:
        method = message.get("method")
        if method is None or "id" not in message:
            return
        self.asked.setdefault(method, []).append(message["params"])
        answer = self.answers.get(method)
        if callable(answer):
            answer = answer(message["params"])
        if isinstance(answer, Exception):
            self.process.say({"id": message["id"], "error": {"code": -32600, "message": str(answer)}})
        elif answer is not None:
            self.process.say({"id": message["id"], "result": answer})
