"""Tokens of agents: whose they are, and for how long."""

from __future__ import annotations

import hashlib
import random

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy.credentials import Admitted, Client, Credential, Role
from hadesgw.policy.session_tokens import SessionTokens

ALICE = Client(name="alice", roles=frozenset((Role.USER,)))


def shown(token: str, name: str | None = None) -> Credential:
    """The credential of a request that shows the token."""
    return Credential(hashlib.sha256(token.encode()).digest(), name)


class SessionTokensTests(SynchronousTestCase):
    """From issue to the session's end."""

    def setUp(self) -> None:
        self.clients = {"alice": ALICE}
        self.tokens = SessionTokens(self.clients.get, random.Random(3).randbytes)

    def test_admits_as_the_sessions_client(self) -> None:
        """The token stands for the client, by itself or with the client's name; with another name for nobody."""
        token = self.tokens.issue("alice", "s1")
        self.assertEqual(self.tokens.admit(shown(token)), Admitted(ALICE))
        self.assertEqual(self.tokens.admit(shown(token, "alice")), Admitted(ALICE))
        self.assertIsNone(self.tokens.admit(shown(token, "bob")))

    def test_nothing_else_admits(self) -> None:
        """A token that was not issued here is nobody's."""
        self.tokens.issue("alice", "s1")
        self.assertIsNone(self.tokens.admit(shown("hgw_" + "x" * 43)))

    def test_ends_with_the_session(self) -> None:
        """A revoked token is no good, and those of other sessions still are."""
        first, second = self.tokens.issue("alice", "s1"), self.tokens.issue("alice", "s2")
        self.tokens.revoke("s1")
        self.assertIsNone(self.tokens.admit(shown(first)))
        self.assertEqual(self.tokens.admit(shown(second)), Admitted(ALICE))
        self.assertEqual(len(self.tokens), 1)

    def test_a_session_has_one_token(self) -> None:
        """The next agent's token is the end of the last one's."""
        first, second = self.tokens.issue("alice", "s1"), self.tokens.issue("alice", "s1")
        self.assertNotEqual(first, second)
        self.assertIsNone(self.tokens.admit(shown(first)))
        self.assertEqual(self.tokens.admit(shown(second)), Admitted(ALICE))

    def test_a_client_that_may_not_come_has_no_agents(self) -> None:
        """Suspended or gone, its tokens admit nobody, and do again when it is back."""
        token = self.tokens.issue("alice", "s1")
        del self.clients["alice"]
        self.assertIsNone(self.tokens.admit(shown(token)))
        self.clients["alice"] = ALICE
        self.assertEqual(self.tokens.admit(shown(token)), Admitted(ALICE))
