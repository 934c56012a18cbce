"""What a request goes through, told as it happens: each piece of news is a flat object that JSON can hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from zope.interface import implementer

from hadesgw.http.site import Request
from hadesgw.interfaces import IFollower

Tell = Callable[[Mapping[str, object]], None]


@implementer(IFollower)
class Following:
    """Tells of requests; names and units are the log's, see docs/operations.md.

    :param tell: takes each piece of news.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def begun(self, request: Request) -> None:
        """See :meth:`IFollower.begun`."""
        self._tell({"event": "begun", **_who(request), "method": request.method.decode("ascii"), **_where(request)})

    def learned(self, request: Request, fact: str, word: str | None) -> None:
        """See :meth:`IFollower.learned`."""
        record = request.record
        news: dict[str, object] = {"event": fact, **_who(request), **_where(request), "word": word}
        if fact == "first_byte":
            news["first_byte_ms"] = _milliseconds(record.started, record.first_byte)
        self._tell(news)

    def ended(self, request: Request, completed: bool, now: float) -> None:
        """See :meth:`IFollower.ended`."""
        record = request.record
        self._tell(
            {
                "event": "ended",
                **_who(request),
                "method": request.method.decode("ascii"),
                **_where(request),
                "status": 499 if record.reason == "client_left" else request.code,
                "code": record.code,
                "reason": record.reason,
                "stream": record.stream,
                "duration_ms": _milliseconds(record.started, now),
                "first_byte_ms": _milliseconds(record.started, record.first_byte),
                "bytes_in": record.bytes_in,
                "bytes_out": request.sentLength,
                "prompt_tokens": record.prompt_tokens,
                "completion_tokens": record.completion_tokens,
                "tool_calls": record.tool_calls,
                "memory_events": record.memory_events,
            }
        )


def _who(request: Request) -> dict[str, object]:
    return {
        "request_id": request.correlation.request_id.decode("ascii"),
        "conveyance_session_id": request.correlation.session_id.decode("ascii"),
        "client": request.record.client,
    }


def _where(request: Request) -> dict[str, object]:
    record = request.record
    return {"route": record.route, "model": record.model, "upstream": record.upstream}


def _milliseconds(since: float, until: float | None) -> float | None:
    return None if until is None else round((until - since) * 1_000, 3)
