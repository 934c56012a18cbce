"""The log: one line of JSON for each request and for each thing that happens to the service.

A line is made of values we chose, encoded by a JSON encoder: nothing a client sends can break out of it. Lines are
gathered for a moment and written by a thread of their own, so a slow disk or a full pipe never holds up a stream; what
cannot be kept is dropped and counted.
"""

from __future__ import annotations

import os
import queue
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText
from zope.interface import implementer

from hadesgw.http.site import Request
from hadesgw.interfaces import IRequestLog
from hadesgw.policy.refusals import Refusal, catalogue
from hadesgw.telemetry.meters import UPSTREAM_ERROR

GATHER_SECONDS = 0.05
MOST_BATCHES = 64
MOST_LINES = 4096
"""Lines gathered for one batch; more are dropped."""
_STOP_SECONDS = 2.0
_ENCODE = msgspec.json.Encoder(enc_hook=repr).encode
_UNSAFE = re.compile(rb"\x7f|\xc2[\x80-\x9f]|\xe2\x80[\xa8\xa9]")
"""Characters that JSON allows as they are: U+007F to U+009F, which a terminal may obey, and those that half the world's
line readers take for line ends: U+0085, U+2028 and U+2029."""
_FAULTS = frozenset((UPSTREAM_ERROR, *(reason for reason, refusal in catalogue().items() if refusal.status >= 500)))
"""Reasons that are the gateway's or the model server's fault, whatever the status said before it came to that."""
_LEVELS = {name: rank for rank, name in enumerate(("debug", "info", "warn", "error", "critical"))}


class Sink:
    """Writes lines to a file descriptor without ever waiting for it.

    :param descriptor: where to; stays open.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._dropped: Callable[[int], None] = lambda count: None
        self._lines: list[bytes] = []
        self._batches: queue.Queue[list[bytes] | None] = queue.Queue(MOST_BATCHES)
        self._clock: IReactorTime | None = None
        self._timer: IDelayedCall | None = None
        self._thread: threading.Thread | None = None
        self._lost = 0  # lines the thread could not write; read and reset by the reactor's thread
        self._torn = False  # whether the last write ended inside a line: what follows begins on a new one

    def on_drop(self, dropped: Callable[[int], None]) -> None:
        """Call `dropped`, in the reactor's thread, with the number of lines whenever some were."""
        self._dropped = dropped

    def start(self, clock: IReactorTime) -> None:
        """Begin to gather; before this, lines are written at once."""
        self._clock = clock
        self._thread = threading.Thread(target=self._write_batches, name="hadesgw-log", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what is gathered, waiting two seconds at most; then write at once again."""
        self._flush()
        self._clock = None
        if self._thread is not None:
            try:
                self._batches.put(None, timeout=_STOP_SECONDS)
            except queue.Full:
                pass
            self._thread.join(_STOP_SECONDS)
            self._thread = None

    def write(self, line: bytes) -> None:
        """Take one line, with its line feed."""
        if self._clock is None:
            self._emit(line)
            return
        if len(self._lines) >= MOST_LINES:
            self._dropped(1)
            return
        self._lines.append(line)
        if self._timer is None:
            self._timer = self._clock.callLater(GATHER_SECONDS, self._flush)

    def _flush(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        lost, self._lost = self._lost, 0
        if self._lines:
            batch, self._lines = self._lines, []
            try:
                self._batches.put_nowait(batch)
            except queue.Full:
                lost += len(batch)
        if lost:
            self._dropped(lost)

    def _write_batches(self) -> None:
        while (batch := self._batches.get()) is not None:
            if not self._emit(b"".join(batch)):
                self._lost += len(batch)

    def _emit(self, data: bytes) -> bool:
        view = memoryview(b"\n" + data if self._torn else data)
        whole = len(view)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError:
            self._torn = self._torn or len(view) < whole
            return False
        self._torn = False
        return True


class RequestLine(msgspec.Struct):
    """One request's line; names and order of the fields are the log's."""

    ts: str
    level: str
    event: str
    request_id: str
    conveyance_session_id: str
    response_id: str | None = None
    client: str | None = None
    method: str | None = None
    route: str | None = None
    status: int = 0
    code: str | None = None
    model: str | None = None
    stream: bool = False
    duration_ms: float | None = None
    first_byte_ms: float | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    tokens_from: str | None = None
    tool_calls: int = 0
    memory_events: int = 0
    upstream: str | None = None
    reason: str | None = None


@implementer(ILogObserver, IRequestLog)
class Log:
    """The gateway's log.

    :param sink: takes the lines.
    :param wall: seconds since the epoch.
    :param text: write for a person at a terminal instead of JSON.
    :param level: the lowest level that is written.
    """

    def __init__(self, sink: Sink, wall: Callable[[], float], *, text: bool, level: str) -> None:
        self.sink = sink
        self._wall = wall
        self._render = _as_text if text else _as_json
        self._lowest = _LEVELS[level]
        self._second = (-1, "")

    def _write(self, level: str, event: str, facts: dict[str, Any]) -> None:
        if _LEVELS[level] >= self._lowest:
            self.sink.write(self._render({"ts": self._now(), "level": level, "event": event, **facts}))

    def _now(self) -> str:
        """The time in RFC 3339's form, to the millisecond; the part above the second is made once a second."""
        now = self._wall()
        second = int(now)
        if second != self._second[0]:
            self._second = (second, datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S"))
        return f"{self._second[1]}.{int((now - second) * 1_000):03d}Z"

    def request(self, request: Request, completed: bool, now: float) -> None:
        """See :meth:`IRequestLog.request`."""
        record = request.record
        fault = request.code >= 500 if record.reason is None else record.reason in _FAULTS
        level = "warn" if fault else "info"
        if _LEVELS[level] < self._lowest:
            return
        first = record.first_byte
        line = RequestLine(  # by position: 23 keywords would cost as much as encoding them
            self._now(),
            level,
            "request",
            request.correlation.request_id.decode("ascii"),
            request.correlation.session_id.decode("ascii"),
            record.response_id,
            record.client,
            request.method.decode("ascii"),
            record.route,
            499 if record.reason == "client_left" else request.code,
            record.code,
            record.model,
            record.stream,
            _milliseconds(now - record.started),
            None if first is None else _milliseconds(first - record.started),
            record.bytes_in,
            request.sentLength,
            record.prompt_tokens,
            record.completion_tokens,
            record.tokens_from,
            record.tool_calls,
            record.memory_events,
            record.upstream,
            record.reason,
        )
        self.sink.write(self._render(line))

    def refused_early(self, refusal: Refusal, request_id: bytes, session_id: bytes) -> None:
        """Write the line of a request that was refused before it reached a resource: nothing more is known of it."""
        if _LEVELS["info"] < self._lowest:
            return
        line = RequestLine(
            ts=self._now(),
            level="info",
            event="request",
            request_id=request_id.decode("ascii"),
            conveyance_session_id=session_id.decode("ascii"),
            status=refusal.status,
            code=refusal.code,
            reason=refusal.reason,
        )
        self.sink.write(self._render(line))

    def event(self, name: str, level: str = "info", **facts: object) -> None:
        """See :meth:`IRequestLog.event`."""
        self._write(level, name, facts)

    def __call__(self, event: LogEvent) -> None:
        """Take an event of Twisted's own log: what libraries say, and failures with their tracebacks."""
        level = event.get("log_level", LogLevel.info).name
        if level == "info":
            level = "debug"  # libraries' everyday chatter is not an operator's
        facts: dict[str, object] = {"system": str(event.get("log_namespace", ""))}
        facts["message"] = eventAsText(event, includeTimestamp=False, includeSystem=False)
        self._write(level if level in _LEVELS else "info", "log", facts)


def _milliseconds(seconds: float) -> float:
    """To the microsecond; `round` to so many digits would cost as much as half of the line's encoding."""
    return int(seconds * 1_000_000 + 0.5) / 1_000


def _as_json(facts: dict[str, Any] | RequestLine) -> bytes:
    try:
        encoded = _ENCODE(facts)
    except UnicodeEncodeError:  # half of a character: a file's name can be one
        encoded = _ENCODE(_mended(facts))
    if not encoded.isascii() or b"\x7f" in encoded:
        encoded = _UNSAFE.sub(_escaped, encoded)
    return encoded + b"\n"


def _escaped(unsafe: re.Match[bytes]) -> bytes:
    return b"\\u%04x" % ord(unsafe[0].decode("utf-8"))


def _mended(value: Any) -> Any:
    """`value` with a question mark for each half of a character in it."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {_mended(name): _mended(item) for name, item in value.items()}
    return [_mended(item) for item in value] if isinstance(value, list | tuple) else value


def _as_text(line_facts: dict[str, Any] | RequestLine) -> bytes:
    facts = msgspec.structs.asdict(line_facts) if isinstance(line_facts, RequestLine) else line_facts
    told = [f"{facts.pop('ts')} {facts.pop('level'):5} {facts.pop('event')}"]
    told += [f"{name}={value}" for name, value in facts.items() if value is not None]
    line = " ".join(told)
    # A message may hold a traceback, shown in its lines; none can look like one of ours, or drive the terminal.
    line = "".join("\n    " if c == "\n" else c if c.isprintable() else repr(c)[1:-1] for c in line)
    return line.encode("utf-8", "replace") + b"\n"
