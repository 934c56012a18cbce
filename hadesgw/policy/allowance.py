"""How much one client may take: requests by a rate with a burst, model tokens by the minute. Time is given, never read.

Two measures, because they can promise different things. A request counts as one and is judged at once: the generic cell
rate algorithm (ITU-T I.371) holds a client to `burst + rate * t` in *every* window of length `t`, with one number to
keep. What a request takes in tokens is certain only when it has ended: what is set aside for those in flight and what
the ended ones of the last minute have used are counted together, so that whatever is learnt later only gives room back.

All sums are whole numbers (nanoseconds, tokens): nothing is gained by rounding. A clock that goes back counts as one
that stands still.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from fractions import Fraction

import msgspec

from hadesgw.policy.credentials import Client
from hadesgw.policy.turns import Visitor

MINUTE = 60
"""Seconds for which used tokens count."""
BYTES_PER_TOKEN = 3
"""How many bytes of a request's body are taken for one token where nobody has counted: more than English prose and most
code need, about what Chinese or Japanese text takes."""
FEWEST_KEPT = 256
"""How many clients' accounts are kept before the idle ones are looked for."""

_SECOND = 1_000_000_000
_LONGEST = 10**18  # 31 years between two requests: no rate is so low that sums overflow a clock


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """What came of asking for something.

    :ivar admitted: whether it was granted, and is counted from now on.
    :ivar limit: how much there is when nothing is missing.
    :ivar remaining: how much is left.
    :ivar reset: whole seconds, rounded up, until nothing is missing if nothing more is taken.
    :ivar retry_after: whole seconds, rounded up and at least 1, after which asking again may succeed.
    """

    admitted: bool
    limit: int
    remaining: int
    reset: int
    retry_after: int


# -- Requests ----------------------------------------------------------------------------------------------------------


class Rate:
    """So many requests a second on the long run, so many at once after a rest.

    :param per_second: > 0.
    :param burst: at least 1.
    :ivar interval: nanoseconds after which one request comes back, rounded up.
    """

    __slots__ = ("burst", "capacity", "interval")

    def __init__(self, per_second: float, burst: int) -> None:
        self.burst = burst
        self.interval = min(math.ceil(_SECOND / Fraction(per_second)), _LONGEST)
        self.capacity = burst * self.interval


class Bucket:
    """What one client has taken of its rate.

    Full at first. Each request takes one `interval` out of it, and it fills up as time goes by; so all that need be
    known is when it will be full again.
    """

    __slots__ = ("_full_at", "_moment", "rate")

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self._full_at = 0
        self._moment = 0

    def take(self, now: float) -> Verdict:
        """Ask for one request.

        :param now: monotonic seconds.
        """
        moment = self._at(now)
        rate = self.rate
        missing = self._full_at - moment
        if missing < 0:
            missing = 0
        left = rate.capacity - missing - rate.interval
        if left < 0:
            return Verdict(False, rate.burst, 0, -(-missing // _SECOND), -(left // _SECOND))
        missing += rate.interval
        self._full_at = moment + missing
        return Verdict(True, rate.burst, left // rate.interval, -(-missing // _SECOND), 1)

    def change(self, rate: Rate, now: float) -> None:
        """Go by another rate from now on: nobody who was slow to come back owes more than an empty bucket."""
        self.rate = rate
        self._full_at = min(self._full_at, self._at(now) + rate.capacity)

    def full(self, now: float) -> bool:
        """Whether nothing is missing, so that a new bucket would be the same."""
        return self._full_at <= self._at(now)

    def _at(self, now: float) -> int:
        moment = round(now * _SECOND)
        if moment > self._moment:
            self._moment = moment
        return self._moment


# -- Tokens ------------------------------------------------------------------------------------------------------------


def estimated_tokens(length: int | None, output: int, context: int) -> int:
    """How many tokens a request may take, where nobody has counted them.

    :param length: bytes of its body, or None if they are not stated.
    :param output: the most output a request may ask.
    :param context: the most that prompt and output together may be.
    """
    if length is None:
        return context
    return min(-(-length // BYTES_PER_TOKEN) + output, context)


class TokenMinute:
    """The tokens one client has taken: used in the last minute, and set aside for what is in flight.

    The two together never exceed `limit`, unless a request has used more than it said. As every token of any minute
    belongs to a request that ended within it or was in flight at its end, no minute sees more than `limit` either.

    :param limit: tokens, prompt and output together.
    """

    __slots__ = ("_now", "_set_aside", "_used", "_used_by_second", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._now = -math.inf
        self._set_aside = 0
        self._used = 0
        self._used_by_second: deque[tuple[int, int]] = deque()  # at most one entry a second, the oldest first

    def reserve(self, tokens: int, now: float) -> tuple[Reservation, Verdict]:
        """Set `tokens` aside; if the verdict says that there are not so many, the reservation is of none."""
        reservation = Reservation(self)
        return reservation, reservation.restate(tokens, now)

    def verdict(self, now: float) -> Verdict:
        """How things stand."""
        self._forget(now)
        return self._verdict(0)

    def empty(self, now: float) -> bool:
        """Whether nothing is counted, so that a new one would be the same."""
        self._forget(now)
        return not self._set_aside and not self._used_by_second

    def _change(self, held: int, tokens: int, now: float) -> Verdict:
        """Set `tokens` aside in place of `held`, if that many there are."""
        self._forget(now)
        over = self._set_aside - held + tokens + self._used - self.limit
        if over > 0 and tokens > held:
            return self._verdict(over)
        self._set_aside += tokens - held
        return self._verdict(0)

    def _settle(self, held: int, used: int, now: float) -> None:
        """What was set aside has become what was used."""
        self._forget(now)
        self._set_aside -= held
        if used:
            second = math.ceil(self._now)
            if self._used_by_second and self._used_by_second[-1][0] == second:
                used_before = self._used_by_second.pop()[1]
            else:
                used_before = 0
            self._used_by_second.append((second, used_before + used))
            self._used += used

    def _forget(self, now: float) -> None:
        self._now = max(self._now, now)
        entries = self._used_by_second
        while entries and entries[0][0] + MINUTE <= self._now:
            self._used -= entries.popleft()[1]

    def _verdict(self, over: int) -> Verdict:
        remaining = max(self.limit - self._set_aside - self._used, 0)
        retry_after = self._retry_after(over) if over > 0 else 1
        return Verdict(over <= 0, self.limit, remaining, self._reset(), retry_after)

    def _reset(self) -> int:
        if self._set_aside:
            return MINUTE
        return self._until(self._used_by_second[-1][0]) if self._used_by_second else 0

    def _retry_after(self, over: int) -> int:
        """When enough of what was used is a minute old.

        What is in flight may end at any time: if that stands in the way, the time in which the limit gives that much.
        """
        left = over
        for second, used in self._used_by_second:
            left -= used
            if left <= 0:
                return self._until(second)
        return min(max(-(-over * MINUTE // self.limit), 1), MINUTE)

    def _until(self, second: int) -> int:
        return max(math.ceil(second + MINUTE - self._now), 1)


class Reservation:
    """Tokens set aside for one request. It ends once, by :meth:`settle`; ending it again changes nothing.

    :ivar tokens: how many.
    """

    __slots__ = ("_minute", "_settled", "tokens")

    def __init__(self, minute: TokenMinute) -> None:
        self._minute = minute
        self._settled = False
        self.tokens = 0

    def restate(self, tokens: int, now: float) -> Verdict:
        """Set `tokens` aside in place of what is; if there are not so many, all stays as it is."""
        verdict = self._minute._change(self.tokens, tokens, now)
        if verdict.admitted:
            self.tokens = tokens
        return verdict

    def settle(self, used: int | None, now: float) -> None:
        """The request has ended.

        :param used: the tokens it took, 0 to give all of them back; None if nobody knows, and then all set aside count.
        """
        if not self._settled:
            self._settled = True
            self._minute._settle(self.tokens, self.tokens if used is None else used, now)


# -- Clients -----------------------------------------------------------------------------------------------------------


class Account:
    """One client: what it may take, and what it has taken.

    :ivar client: as the clients file has it, or None for whoever is not in it.
    """

    __slots__ = ("client", "requests", "tokens", "visitor")

    def __init__(self, client: Client | None, rate: Rate, max_in_flight: int) -> None:
        self.client = client
        self.requests = Bucket(rate)
        self.tokens: TokenMinute | None = None
        self.visitor = Visitor(max_in_flight)

    def idle(self, now: float) -> bool:
        """Whether a new account would be the same."""
        return self.requests.full(now) and self.visitor.idle and (self.tokens is None or self.tokens.empty(now))


class Accounts:
    """The accounts of all clients who came lately.

    An account that is idle may be forgotten, so there are never more than :data:`FEWEST_KEPT`, or twice as many as were
    not idle when they were last looked through.

    :param requests_per_second: of a client that has no rate of its own.
    :param burst: likewise.
    :param max_in_flight: likewise.
    :param named: finds a client as it is written now; what was written anew holds from its next request on.
    """

    def __init__(
        self, requests_per_second: float, burst: int, max_in_flight: int, named: Callable[[str], Client | None]
    ) -> None:
        self._requests_per_second = requests_per_second
        self._burst = burst
        self._rate = Rate(requests_per_second, burst)
        self._max_in_flight = max_in_flight
        self._named = named
        self._accounts: dict[str, Account] = {}
        self._full = FEWEST_KEPT

    def __len__(self) -> int:
        return len(self._accounts)

    def of(self, name: str, now: float) -> Account:
        """The account of the client called `name`; one the clients file does not know has the limits of all."""
        client = self._named(name)
        account = self._accounts.get(name)
        if account is None:
            account = self._open(name, client, now)
        elif account.client is not client:
            self._write_anew(account, client, now)
        return account

    def _open(self, name: str, client: Client | None, now: float) -> Account:
        if len(self._accounts) >= self._full:
            self._accounts = {name: account for name, account in self._accounts.items() if not account.idle(now)}
            self._full = max(FEWEST_KEPT, 2 * len(self._accounts))
        account = self._accounts[name] = Account(client, self._rate, self._max_in_flight)
        self._write_anew(account, client, now)
        return account

    def _write_anew(self, account: Account, client: Client | None, now: float) -> None:
        account.client = client
        account.requests.change(self._rate_of(client), now)
        own_cap = None if client is None else client.max_in_flight
        account.visitor.allow(own_cap or self._max_in_flight)
        limit = None if client is None else client.tokens_per_minute
        if limit is None:
            account.tokens = None
        elif account.tokens is None:
            account.tokens = TokenMinute(limit)
        else:
            account.tokens.limit = limit

    def _rate_of(self, client: Client | None) -> Rate:
        if client is None or (client.requests_per_second is None and client.burst is None):
            return self._rate
        return Rate(client.requests_per_second or self._requests_per_second, client.burst or self._burst)
