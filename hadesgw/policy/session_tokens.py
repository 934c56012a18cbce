"""Tokens that admit a coding session's agent as the client whose session it is, for as long as the session lives."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import NamedTuple

from hadesgw.policy.credentials import Admitted, Client, Credential, mint_token


class _Loan(NamedTuple):
    sha256: bytes
    client: str
    session_id: str


class SessionTokens:
    """The tokens that are good now, known by their digests.

    They are no clients' tokens: only who asks here knows them, and that is the guard before the model's routes, for
    requests that come from this machine.

    :param standing: the client of a name, if it may come in at this moment: a suspension holds for its agents too.
    :param entropy: returns that many random bytes, such as `os.urandom`.
    """

    def __init__(self, standing: Callable[[str], Client | None], entropy: Callable[[int], bytes]) -> None:
        self._standing = standing
        self._entropy = entropy
        self._loans: dict[bytes, _Loan] = {}

    def __len__(self) -> int:
        return len(self._loans)

    def issue(self, client: str, session_id: str) -> str:
        """A new token for the session's agent; one that the session had before is no good any more."""
        self.revoke(session_id)
        token = mint_token(self._entropy)
        digest = hashlib.sha256(token.encode()).digest()
        self._loans[digest] = _Loan(digest, client, session_id)
        return token

    def revoke(self, session_id: str) -> None:
        """End the session's token, if it has one."""
        self._loans = {digest: loan for digest, loan in self._loans.items() if loan.session_id != session_id}

    def admit(self, presented: Credential) -> Admitted | None:
        """The verdict on a credential that is such a token; None for any other."""
        loan = self._loans.get(presented.sha256)
        if loan is None or not hmac.compare_digest(loan.sha256, presented.sha256):
            return None
        client = self._standing(loan.client)
        return None if client is None or presented.name not in (None, client.name) else Admitted(client)
