"""The layer that gives each client its share: so many requests a second, so many tokens a minute, a turn at the model.

A request that need not wait goes through without a timer and without a Deferred. One that must wait is left alone until
its turn comes, its time is over, or its client leaves; its body may come meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container
from functools import lru_cache

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource
from twisted.web.server import NOT_DONE_YET

from hadesgw.http.framing import Fields
from hadesgw.http.site import Request
from hadesgw.interfaces import ILimiterObserver
from hadesgw.policy import refusals
from hadesgw.policy.allowance import Account, Accounts, Reservation, Verdict
from hadesgw.policy.refusals import Refusal, Refused
from hadesgw.policy.turns import Slots, State, Ticket
from hadesgw.resources.layer import Layer

NOBODY = ""
"""Whose account is charged where no guard has said who asks: one for all of them."""
_WITHOUT_TOKENS = frozenset((b"/v1/messages/count_tokens",))
"""Where the model server counts tokens and makes none."""


class Gate:
    """The way to one model server: its slots, and how long a request may wait for one.

    :param name: the upstream's in the configuration.
    :param routes: the paths a POST to which goes to the model server; nothing else needs a slot.
    :param slots: how many requests the model server works on at one time.
    :param places: how many may wait; 0: none.
    :param seconds: how long.
    :param cap: the most bytes of body a path allows.
    :param estimate: the tokens a request may take, by its body's length (None if not stated).
    :param observer: told of the queue.
    """

    def __init__(
        self,
        name: str,
        *,
        routes: Container[bytes],
        slots: int,
        places: int,
        seconds: float,
        cap: Callable[[bytes], int],
        estimate: Callable[[int | None], int],
        observer: ILimiterObserver,
    ) -> None:
        self.name = name
        self.routes = routes
        self.seconds = seconds
        self.cap = cap
        self.estimate = estimate
        self.slots = Slots(slots, places, self._depth_changed)
        self._observer = observer
        self._depth_changed(0)

    def waited(self, seconds: float) -> None:
        """A request has waited."""
        self._observer.queue_waited(self.name, seconds)

    def _depth_changed(self, depth: int) -> None:
        self._observer.queue_depth(self.name, depth)


class Limiter(Layer):
    """Admits a request as its client's limits and the model server's slots allow.

    :param accounts: what each client has taken; one for all limiters, so that no path gives anybody a second share.
    :param gate: the way to the model server behind this path, one for all paths to it; None where there is none.
    :param clock: monotonic time.
    """

    def __init__(self, inner: IResource, accounts: Accounts, gate: Gate | None, clock: IReactorTime) -> None:
        Layer.__init__(self, inner)
        self._accounts = accounts
        self._gate = gate
        self._clock = clock

    def render(self, request: Request) -> bytes | int:
        """Admit, let wait, or refuse."""
        now = self._clock.seconds()
        account = self._accounts.of(request.record.client or NOBODY, now)
        verdict = account.requests.take(now)
        request.standing += _request_fields(verdict.limit, verdict.remaining, verdict.reset)
        if not verdict.admitted:
            return request.refuse(refusals.RATE_LIMITED, _wait(verdict.retry_after))
        gate = self._gate
        if gate is None or request.method != b"POST" or request.path not in gate.routes:
            return self.pass_on(request)
        return _Stay(request, account, gate, self, self._clock).begin(now)


class Turnstile(Layer):
    """What a :class:`Limiter` does at its gate, for requests that one without a gate has admitted before it was known
    to which model server they go.

    :param accounts: those of that limiter.
    """

    def __init__(self, inner: IResource, accounts: Accounts, gate: Gate, clock: IReactorTime) -> None:
        Layer.__init__(self, inner)
        self._accounts = accounts
        self._gate = gate
        self._clock = clock

    def render(self, request: Request) -> bytes | int:
        """Let through, let wait, or refuse."""
        gate = self._gate
        if request.method != b"POST" or request.path not in gate.routes:
            return self.pass_on(request)
        now = self._clock.seconds()
        account = self._accounts.of(request.record.client or NOBODY, now)
        return _Stay(request, account, gate, self, self._clock).begin(now)


class _Stay:
    """One request between its admission by rate and its end: the tokens and the slot it holds."""

    __slots__ = ("_account", "_clock", "_gate", "_layer", "_request", "_reservation", "_ticket")

    def __init__(self, request: Request, account: Account, gate: Gate, layer: Layer, clock: IReactorTime) -> None:
        self._request = request
        self._account = account
        self._gate = gate
        self._layer = layer
        self._clock = clock
        self._reservation: Reservation | None = None
        self._ticket: Ticket | None = None

    def begin(self, now: float) -> bytes | int:
        """Take what is needed, or refuse."""
        request, slots = self._request, self._gate.slots
        request.at_end(self._ended)
        if self._account.tokens is not None and request.path not in _WITHOUT_TOKENS and not self._reserve(now):
            return NOT_DONE_YET
        ticket = self._ticket = slots.ask(self._account.visitor, now)
        if ticket is None:
            return self._refuse_place()
        if ticket.state is State.SERVED:
            return self._layer.pass_on(request)
        return self._wait(ticket)

    # -- Tokens --------------------------------------------------------------------------------------------------------

    def _reserve(self, now: float) -> bool:
        """Set aside what the request may take by its length: whoever counts its tokens will say it better."""
        tokens = self._account.tokens
        assert tokens is not None
        estimate = min(self._gate.estimate(self._request.head.length), tokens.limit)
        self._reservation, verdict = tokens.reserve(estimate, now)
        self._request.standing += _fields(_TOKENS, verdict)
        self._request.on_tokens = self._counted
        if not verdict.admitted:
            self._request.refuse(refusals.TOKENS_LIMITED, _wait(verdict.retry_after))
        return verdict.admitted

    def _counted(self, tokens: int) -> bool:
        """See :attr:`IGatewayRequest.on_tokens`."""
        assert self._reservation is not None
        verdict = self._reservation.restate(tokens, self._clock.seconds())
        standing = [field for field in self._request.standing if field[0] not in _TOKENS]
        self._request.standing = standing + _fields(_TOKENS, verdict)
        if verdict.admitted:
            return True
        if tokens > verdict.limit:
            self._request.refuse(refusals.TOKENS_BEYOND_MINUTE)
        else:
            self._request.refuse(refusals.TOKENS_LIMITED, _wait(verdict.retry_after))
        return False

    def _used(self) -> int | None:
        """The tokens the request has taken; None if nobody knows."""
        record = self._request.record
        if record.completion_tokens is not None:  # the prompt's may have been counted before it was sent on
            return (record.prompt_tokens or 0) + record.completion_tokens
        if not record.bytes_in or self._request.code >= 400:
            return 0  # it was not sent on, or the model server refused it
        return None

    # -- The slot ------------------------------------------------------------------------------------------------------

    def _wait(self, ticket: Ticket) -> int:
        request = self._request
        request.record.upstream = self._gate.name
        ticket.on_turn = self._turn
        request.on_late = self._late
        request.watch(self._gate.seconds)
        try:
            request.gather_body(self._gate.cap(request.path))
        except Refused as refused:
            request.refuse(refused.refusal)
        return NOT_DONE_YET

    def _turn(self) -> None:
        """The wait is over, well or not."""
        assert self._ticket is not None
        self._request.on_late = None
        self._note_wait(self._ticket)
        if self._ticket.state is State.SERVED:
            self._layer.pass_on_late(self._request)
        else:
            self._refuse_place()

    def _late(self) -> None:
        """The turn has not come in time."""
        self._request.on_late = None
        has_room = self._account.visitor.has_room
        self._request.refuse(refusals.QUEUE_TOO_LONG if has_room else refusals.IN_FLIGHT_TOO_LONG)

    def _refuse_place(self) -> int:
        """There is no place to wait: it is the client's own doing if it is at its cap, and the crowd's if not.

        Whoever waits longest shows how slowly the queue moves: after that long there should be room.
        """
        request = self._request
        request.record.upstream = self._gate.name
        refusal: Refusal = refusals.QUEUE_FULL if self._account.visitor.has_room else refusals.TOO_MANY_IN_FLIGHT
        longest = self._gate.slots.longest_wait(self._clock.seconds())
        return request.refuse(refusal, _wait(max(math.ceil(longest), 1)))

    def _note_wait(self, ticket: Ticket) -> None:
        self._gate.waited(self._clock.seconds() - ticket.asked)

    # -- The end -------------------------------------------------------------------------------------------------------

    def _ended(self, completed: bool) -> None:
        """The request has ended, whoever ended it: give everything back."""
        ticket = self._ticket
        if ticket is not None:
            if ticket.state is State.WAITING:
                self._request.on_late = None
                self._note_wait(ticket)
            ticket.give_back()
        if self._reservation is not None:
            self._request.on_tokens = None
            self._reservation.settle(self._used(), self._clock.seconds())


# -- What clients are told ---------------------------------------------------------------------------------------------

_REQUESTS = (b"x-ratelimit-limit-requests", b"x-ratelimit-remaining-requests", b"x-ratelimit-reset-requests")
_TOKENS = (b"x-ratelimit-limit-tokens", b"x-ratelimit-remaining-tokens", b"x-ratelimit-reset-tokens")


def _fields(names: tuple[bytes, bytes, bytes], verdict: Verdict) -> Fields:
    """OpenAI's fields: two numbers, and a duration with its unit."""
    limit, remaining, reset = names
    return [(limit, b"%d" % verdict.limit), (remaining, b"%d" % verdict.remaining), (reset, b"%ds" % verdict.reset)]


@lru_cache(256)  # whoever asks now and then has the same left each time
def _request_fields(limit: int, remaining: int, reset: int) -> Fields:
    return _fields(_REQUESTS, Verdict(True, limit, remaining, reset, 1))


def _wait(seconds: int) -> Fields:
    return [(b"Retry-After", b"%d" % seconds)]
