"""One answer on its way to the client, watched: what is learned goes into the request's record, the meters, and to
whoever follows. It sees bytes that have been sent already, so it can neither hold them up nor change them.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable

from twisted.logger import Logger
from zope.interface import implementer

from hadesgw.http.site import Request
from hadesgw.interfaces import IAnswerObserver, Record
from hadesgw.telemetry.followers import Followers
from hadesgw.telemetry.memory import Vocabulary
from hadesgw.telemetry.meters import UPSTREAM_ERROR, Meters
from hadesgw.telemetry.watch import Watch


@implementer(IAnswerObserver)
class Tee:
    """Watches one answer.

    :param kind: the watch that understands it.
    :param events: whether it is a stream of events.
    :param seconds: monotonic time.
    """

    _log = Logger()

    def __init__(
        self,
        request: Request,
        kind: type[Watch],
        events: bool,
        words: Vocabulary,
        seconds: Callable[[], float],
        meters: Meters,
        followers: Followers,
    ) -> None:
        self._request = request
        self._events = events
        self._watch: Watch | None = kind(events, words, self._learned)
        self._seconds = seconds
        self._meters = meters
        self._followers = followers
        self._gap = meters.gap
        self._seen = 0  # events, of which the last came
        self._last = 0.0  # then
        self._whole = False
        request.record.settle = self._settle

    def passed(self, data: bytes) -> None:
        """See :meth:`IAnswerObserver.passed`."""
        watch = self._watch
        if watch is None:
            return
        begins = not self._seen
        try:
            watch.feed(data)
        except Exception as error:  # noqa: BLE001 - a defect of the watch must not become one of the stream
            self._give_up(error)
            return
        if watch.events != self._seen:
            now = self._seconds()
            if not begins:
                self._gap((now - self._last) * 1_000)
            elif not self._seen:
                self._begun(now)
            self._seen = watch.events
            self._last = now

    def completed(self) -> None:
        """See :meth:`IAnswerObserver.completed`."""
        self._whole = True

    def _begun(self, now: float) -> None:
        """The first event: what came before it, head and comments, says nothing of the model."""
        self._request.record.first_byte = now
        if self._followers.present:
            self._followers.learned(self._request, "first_byte", None)

    def _learned(self, fact: str, word: str | None) -> None:
        """The watch has found something; if in the first event, that came before what is in it."""
        if self._events and not self._seen:
            self._seen = 1
            self._last = self._seconds()
            self._begun(self._last)
        record = self._request.record
        if fact == "tool_call":
            record.tool_calls += 1
        elif fact == "memory_event":
            record.memory_events += 1
        if self._followers.present:
            self._followers.learned(self._request, fact, word)

    def _settle(self) -> None:
        """The request is at its end: bring its record, and the meters, up to date."""
        watch, record = self._watch, self._request.record
        record.settle = None
        if watch is None:
            return
        try:
            watch.end(self._whole)
        except Exception as error:  # noqa: BLE001 - as above
            self._give_up(error)
            return
        self._watch = None  # they know each other: leave no cycle behind
        record.response_id = watch.response_id
        if self._events and not self._seen:
            record.first_byte = None  # what has been sent says nothing of the model: it has not begun
        if watch.failed and record.reason is None:  # whatever the status says, and whatever end mark followed
            record.reason = record.code = UPSTREAM_ERROR
        _note_tokens(record, watch)
        self._meters.answer_watched(record, watch, self._whole)

    def _give_up(self, error: Exception) -> None:
        """Go on without the watch. Its error's text is not told: it could be the model's."""
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{place.filename.rpartition('/')[2]}:{place.lineno}"
        kind = type(error).__name__
        self._log.error(
            "The watch over an answer failed: {kind} at {where}. The answer goes on.", kind=kind, where=where
        )
        self._watch = None


def _note_tokens(record: Record, watch: Watch) -> None:
    """The model server's own numbers; its output's where they are final, or no less than what was seen to come."""
    if watch.prompt_tokens is not None:
        record.prompt_tokens = watch.prompt_tokens
    stated, counted = watch.completion_tokens, watch.counted_tokens
    if stated is not None and (watch.done or stated >= counted):
        record.completion_tokens, record.tokens_from = stated, "upstream"
    elif counted:
        record.completion_tokens, record.tokens_from = counted, "count"
