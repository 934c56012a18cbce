"""How a resource gets a request's body, and what becomes of the request where none comes."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import maybeDeferred
from twisted.python.failure import Failure
from twisted.web.server import NOT_DONE_YET

from hadesgw.http.site import Request
from hadesgw.policy.refusals import Refused


def when_read(request: Request, cap: int, take: Callable[[bytes], None]) -> int:
    """Call `take` with the request's body once that is there, and return what a resource returns until then.

    A body that may not be taken is refused. For a client that has left, `take` is not called: `metered` notes that.
    What `take` raises ends the request.

    :param cap: the most bytes it may have.
    """
    reading = maybeDeferred(request.read_body, cap)
    reading.addCallbacks(take, _unread, errbackArgs=(request,)).addErrback(end_by_defect, request)
    return NOT_DONE_YET


def _unread(failure: Failure, request: Request) -> Failure | None:
    if isinstance(failure.value, Refused):
        request.refuse(failure.value.refusal)
    elif request.channel is not None:
        return failure
    return None


def end_by_defect(failure: Failure, request: Request) -> None:
    """A defect of ours: it is logged, and the client does not wait for ever because of it."""
    request.processingFailed(failure)
