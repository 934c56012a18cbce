"""The layer that lets in whom it knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from twisted.web.resource import IResource

from hadesgw.http.site import Request
from hadesgw.interfaces import IGuardObserver
from hadesgw.policy import refusals
from hadesgw.policy.credentials import Admitted, ClientStore, Role, parse_authorization
from hadesgw.policy.refusals import Refusal
from hadesgw.resources.layer import Layer
from hadesgw.resources.penalties import Penalties

_REFUSALS: Mapping[str, Refusal] = {
    "missing": refusals.NO_CREDENTIAL,
    "malformed": refusals.BAD_CREDENTIAL,
    "expired": refusals.EXPIRED_CREDENTIAL,
    "suspended": refusals.SUSPENDED_CLIENT,
}
_CHALLENGE = [(b"WWW-Authenticate", b'Bearer realm="hadesgw", Basic realm="hadesgw"')]


class Guard(Layer):
    """Admits a request whose credential names a client with the role this path needs.

    :param clients: who may come.
    :param role: the least role that may pass.
    :param wall: seconds since the epoch.
    :param observer: told of every refused credential.
    :param penalties: makes whoever fails again and again wait for the answer.
    """

    def __init__(
        self,
        inner: IResource,
        clients: ClientStore,
        role: Role,
        wall: Callable[[], float],
        observer: IGuardObserver,
        penalties: Penalties,
    ) -> None:
        Layer.__init__(self, inner)
        self._clients = clients
        self._role = role
        self._wall = wall
        self._observer = observer
        self._penalties = penalties

    def render(self, request: Request) -> bytes | int:
        """Admit, or refuse before anything of the body is read."""
        values = request.head.values
        credential = parse_authorization(values(b"authorization"), values(b"x-api-key"))
        verdict = self._clients.identify(credential, datetime.fromtimestamp(self._wall(), UTC), request.certificate)
        if not isinstance(verdict, Admitted):
            self._observer.credential_refused(verdict.reason)
            refusal = _REFUSALS.get(verdict.reason, refusals.WRONG_CREDENTIAL)
            return self._penalties.refuse(request, refusal, _CHALLENGE if refusal.status == 401 else ())
        request.record.client = verdict.client.name
        if not verdict.client.may(self._role):
            self._observer.credential_refused("role")
            return request.refuse(refusals.ROLE_TOO_LOW)
        return self.pass_on(request)
