"""Being found: the registration of the coding sessions with a Hermes service registry, kept alive while we serve.

The registry takes a beat every 30 s for health, and its token for an hour. Whatever it does (answer 401, lose its
memory, be away for days), the gateway serves on; only its own log tells.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NoReturn

import treq
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.web.client import ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IResponse

from hadesgw.http.client import BytesBody
from hadesgw.interfaces import IRequestLog
from hadesgw.policy.service_card import COMPONENT

BEAT_SECONDS = 30.0
"""A component counts as well for 60 s after its last beat."""
TOKEN_SECONDS = 3_000.0
"""After which we register anew; the registry forgets a token after 3,600."""
ANSWER_SECONDS = 10.0
FAREWELL_SECONDS = 3.0
"""The most that stopping waits for the registry."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
_MOST_BYTES = 64 * 1024


class HermesFailure(Exception):
    """The registry did not do what was asked; the text says why, and repeats nothing it said."""


class TokenRefused(HermesFailure):
    """It does not know us, or not any more."""


class HermesClient(Service):
    """Registers, beats, registers again when told to or before the token ends, and signs off.

    :param agent: carries the requests.
    :param url: of the registry, such as `http://localhost:8001`.
    :param card: makes the registration's body, once it is known where we listen.
    :param wall: seconds since the epoch, for the beats' time stamps.
    :param random: a number from 0 to 1, so that many gateways do not come back in step.
    """

    def __init__(
        self,
        clock: IReactorTime,
        agent: IAgent,
        url: str,
        card: Callable[[], dict[str, Any]],
        log: IRequestLog,
        wall: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._clock = clock
        self._agent = agent
        self._url = url.rstrip("/")
        self._card = card
        self._log = log
        self._wall = wall
        self._random = random
        self._token: str | None = None
        self._told = ("", "")
        self._life: Deferred[None] = succeed(None)
        self._pause: Deferred[None] | None = None

    def startService(self) -> None:
        """Begin, without waiting for anything."""
        Service.startService(self)
        self._life = Deferred.fromCoroutine(self._live())

    def stopService(self) -> Deferred[None]:
        """Sign off; a request on its way is let finish first, so that nobody is registered after the farewell."""
        Service.stopService(self)
        if self._pause is not None:
            self._pause.cancel()
        leaving = self._life.addCallback(lambda _: Deferred.fromCoroutine(self._leave()))
        return leaving.addTimeout(FAREWELL_SECONDS, self._clock).addErrback(lambda _: None)

    # -- The life of a registration ------------------------------------------------------------------------------------

    async def _live(self) -> None:
        pause = FIRST_PAUSE
        while self.running:
            try:
                await self._register()
                pause = FIRST_PAUSE
                await self._beat_until_renewal()
            except TokenRefused:
                self._token = None  # at once, but once only: what is refused right after registering has to wait
                if pause > FIRST_PAUSE:
                    await self._rest(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            except HermesFailure as failure:
                self._tell("hermes_absent", str(failure))
                await self._rest(pause * (0.5 + self._random() / 2))
                pause = min(2 * pause, LONGEST_PAUSE)

    async def _register(self) -> None:
        answer = await self._post("/api/register", self._card(), {})
        token = answer.get("token")
        if not isinstance(token, str) or not token or not _fits_a_field(token):
            raise HermesFailure("it gave no token")
        self._token = token
        self._tell("hermes_registered", "")

    async def _beat_until_renewal(self) -> None:
        """Returns when it is time for a new token, or to stop; a beat that is not heard is repeated soon."""
        until = self._clock.seconds() + TOKEN_SECONDS
        while self.running and self._clock.seconds() < until:
            await self._rest(BEAT_SECONDS)
            if self.running:
                await self._beat()

    async def _beat(self) -> None:
        status = {"healthy": True, "timestamp": self._wall()}
        pause = FIRST_PAUSE
        while self.running:
            try:
                await self._post("/api/heartbeat", {"component_id": COMPONENT, "status": status}, self._proof())
            except TokenRefused:
                raise
            except HermesFailure as failure:
                self._tell("hermes_absent", str(failure))
                await self._rest(pause * (0.5 + self._random() / 2))
                pause = min(2 * pause, BEAT_SECONDS / 2)
            else:
                self._tell("hermes_registered", "")
                return

    async def _leave(self) -> None:
        if self._token is None:
            return
        try:
            await self._post(f"/api/unregister?component_id={COMPONENT}", None, self._proof())
        except HermesFailure as failure:
            self._tell("hermes_absent", str(failure))
        else:
            self._log.event("hermes_left")

    def _tell(self, event: str, reason: str) -> None:
        """Once for each change, and not for each try."""
        if (event, reason) != self._told:
            self._told = (event, reason)
            facts = {"reason": reason} if reason else {}
            self._log.event(event, "warn" if reason else "info", url=self._url, **facts)

    async def _rest(self, seconds: float) -> None:
        """Wait, unless we are stopping or are told to meanwhile."""
        if not self.running:
            return
        self._pause = deferLater(self._clock, seconds)
        try:
            await self._pause
        except CancelledError:
            pass
        finally:
            self._pause = None

    # -- One request ---------------------------------------------------------------------------------------------------

    def _proof(self) -> dict[str, str]:
        return {"X-Authentication-Token": self._token or ""}

    async def _post(self, target: str, body: dict[str, Any] | None, headers: dict[str, str]) -> dict[str, Any]:
        fields = {**headers, **({} if body is None else {"Content-Type": "application/json"})}
        asked = self._agent.request(
            b"POST",
            (self._url + target).encode("ascii"),
            Headers({name: [value] for name, value in fields.items()}),
            None if body is None else BytesBody(json.dumps(body).encode()),
        )
        whole = asked.addCallback(_read).addTimeout(ANSWER_SECONDS, self._clock, _too_late)
        try:
            status, text = await whole
        except (ConnectError, ConnectionClosed, ResponseFailed, CancelledError, OSError) as error:
            raise HermesFailure(f"no answer: {type(error).__name__}") from None
        if status == 401:
            raise TokenRefused("it does not know our token")
        if status != 200:
            raise HermesFailure(f"status {status}")
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError):
            raise HermesFailure("an answer that is no JSON") from None
        if not isinstance(answer, dict) or answer.get("success") is False:
            raise HermesFailure("it says it did not succeed")
        return answer


async def _gather(response: IResponse) -> tuple[int, bytes]:
    pieces: list[bytes] = []
    room = _MOST_BYTES

    def take(piece: bytes) -> None:
        nonlocal room
        room -= len(piece)
        if room < 0:
            raise HermesFailure("an answer without an end")
        pieces.append(piece)

    await treq.collect(response, take)
    return response.code, b"".join(pieces)


def _read(response: IResponse) -> Deferred[tuple[int, bytes]]:
    return Deferred.fromCoroutine(_gather(response))


def _too_late(result: object, seconds: float) -> NoReturn:
    raise HermesFailure(f"no answer within {seconds:g} s")


def _fits_a_field(token: str) -> bool:
    """Whether it can stand in a header field: the registry's is JSON, with quotes and spaces in it."""
    return token.isascii() and token.isprintable() and len(token) < 8_192
