"""Who is admitted by what, what a clients file may say, and what of all that is never shown."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy.credentials import (
    Admitted,
    Client,
    ClientCertificate,
    ClientDirectory,
    ClientsError,
    ClientStore,
    Credential,
    CredentialError,
    DenialReason,
    Denied,
    Role,
    Token,
    anonymous_client,
    entry,
    mint_token,
    parse_authorization,
    parse_clients,
    read_clients,
    token_entry,
)

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
ALICE = "hgw_alice-has-this-one"
BOB = "hgw_bob-has-that-one"
HEX = "0123456789abcdef" * 4
NOTHING = CredentialError(DenialReason.MISSING)


def digest(token: str) -> bytes:
    """What is stored of a token."""
    return hashlib.sha256(token.encode()).digest()


def client(name: str, *tokens: str, expires: datetime | None = None, certificate: str | None = None) -> Client:
    """A user with these tokens."""
    return Client(
        name=name,
        roles=frozenset({Role.USER}),
        tokens=tuple(Token(digest(token), expires) for token in tokens),
        certificate=certificate,
    )


def shown(*names: str, expires: datetime = LATER) -> ClientCertificate:
    """A certificate with these names."""
    return ClientCertificate(frozenset(names), expires)


def bearer(token: str) -> Credential:
    """What a request with that token presents."""
    return presented(b"Bearer " + token.encode())


def basic(name: str, token: str) -> bytes:
    """The Authorization value a browser makes of a name and a password."""
    return b"Basic " + base64.b64encode(f"{name}:{token}".encode())


def presented(*values: bytes, x_api_key: tuple[bytes, ...] = ()) -> Credential:
    """The credential in these fields, which is there."""
    credential = parse_authorization(values, x_api_key)
    assert isinstance(credential, Credential)
    return credential


def store(*clients: Client, anonymous: Client | None = None) -> ClientStore:
    """A store of these clients."""
    return ClientStore(ClientDirectory(clients), anonymous)


class RoleTests(SynchronousTestCase):
    """Roles are a ladder."""

    def test_each_role_may_what_the_ones_below_may(self) -> None:
        """An admin may all, an observer only what is an observer's; of several roles the highest counts."""
        table = [
            ({Role.OBSERVER}, [True, False, False]),
            ({Role.USER}, [True, True, False]),
            ({Role.ADMIN}, [True, True, True]),
            ({Role.ADMIN, Role.OBSERVER}, [True, True, True]),
        ]
        for roles, expected in table:
            holder = Client(name="a", roles=frozenset(roles))
            self.assertEqual([holder.may(role) for role in Role], expected)

    def test_roles_have_the_words_of_the_configuration(self) -> None:
        """The word is the lower-case name."""
        self.assertEqual([role.word for role in Role], ["observer", "user", "admin"])


class ValueTests(SynchronousTestCase):
    """There are no empty identities."""

    def test_a_client_has_a_plain_name(self) -> None:
        """The name is a metric label: short, lower-case, and never empty."""
        for name in ("a", "0", "a.b_c-d", "a" * 64):
            self.assertEqual(Client(name=name, roles=frozenset({Role.USER})).name, name)
        for name in ("", "A", "-a", ".a", "a b", "a\n", "é", "a" * 65):
            self.assertRaises(ValueError, Client, name=name, roles=frozenset({Role.USER}))

    def test_a_client_has_a_role(self) -> None:
        """Without one it could not be told from a mistake."""
        self.assertRaises(ValueError, Client, name="a", roles=frozenset())

    def test_only_a_client_is_admitted(self) -> None:
        """A look-up that found nothing cannot become an admission."""
        for nobody in (None, "", "alice"):
            self.assertRaises(TypeError, Admitted, nobody)

    def test_a_token_is_a_whole_digest_with_an_unambiguous_expiry(self) -> None:
        """A shorter digest or a time without zone is refused where it is made."""
        self.assertRaises(ValueError, Token, b"")
        self.assertRaises(ValueError, Token, bytes(31))
        self.assertRaises(ValueError, Token, bytes(33))
        self.assertRaises(ValueError, Token, bytes(32), NOW.replace(tzinfo=None))

    def test_the_anonymous_client_has_its_own_name_and_no_token(self) -> None:
        """It is a client like others, whom no credential can claim to be."""
        anonymous = anonymous_client(Role.USER)
        self.assertEqual((anonymous.name, anonymous.tokens), ("anonymous", ()))
        self.assertTrue(anonymous.may(Role.USER))
        self.assertFalse(anonymous.may(Role.ADMIN))


class AuthorizationTests(SynchronousTestCase):
    """`parse_authorization` reads three forms and nothing else."""

    def test_the_three_forms_carry_the_same_token(self) -> None:
        """Bearer, Basic and x-api-key end in the same digest; only Basic has a name. Schemes ignore case."""
        self.assertEqual(presented(b"Bearer abc"), Credential(digest("abc")))
        self.assertEqual(presented(b"bEARER   a.b_c~d+e/f-9=="), Credential(digest("a.b_c~d+e/f-9==")))
        self.assertEqual(presented(basic("alice", "abc")), Credential(digest("abc"), "alice"))
        self.assertEqual(presented(b"basic" + basic("a", "b:c:")[5:]), Credential(digest("b:c:"), "a"))
        self.assertEqual(presented(x_api_key=(b"abc",)), Credential(digest("abc")))

    def test_nothing_is_missing(self) -> None:
        """Without any field the credential is missing, which is not the same as a bad one."""
        self.assertEqual(parse_authorization((), ()), CredentialError(DenialReason.MISSING))

    def test_what_cannot_be_read_is_malformed(self) -> None:
        """Other schemes, other characters, no token, no name, broken base64, and what is too long."""
        values = [
            b"",
            b"Bearer",
            b"Bearer ",
            b"Bearer a b",
            b"Bearer =",
            b"Bearer a=b",
            b"Bearer \xc3\xa9",
            b"Bearer abc\n",
            b"Bearer\tabc",
            b"abc",
            b"Digest username=a",
            b"Basic",
            b"Basic !",
            b"Basic YTpi=",
            b"Basic YTp",
            b"Basic YTpi\n",
            b"Basic " + base64.b64encode(b"alice"),
            b"Basic " + base64.b64encode(b":abc"),
            b"Basic " + base64.b64encode(b"alice:"),
            b"Basic " + base64.b64encode(b"alice:a\x00b"),
            b"Basic " + base64.b64encode(b"\xff:abc"),
            b"Bearer " + b"a" * 1018,
        ]
        malformed = CredentialError(DenialReason.MALFORMED)
        for value in values:
            self.assertEqual(parse_authorization((value,), ()), malformed, value)
        for key in (b"", b"a b", b"\xc3\xa9", b"a\n", b"a" * 1025):
            self.assertEqual(parse_authorization((), (key,)), malformed, key)

    def test_the_longest_credential_still_counts(self) -> None:
        """1024 bytes of a field's value are read."""
        self.assertEqual(presented(b"Bearer " + b"a" * 1017), Credential(digest("a" * 1017)))
        self.assertEqual(presented(x_api_key=(b"a" * 1024,)), Credential(digest("a" * 1024)))

    def test_two_fields_of_a_kind_are_malformed(self) -> None:
        """Even if they agree: somebody behind us might read the other one."""
        malformed = CredentialError(DenialReason.MALFORMED)
        self.assertEqual(parse_authorization((b"Bearer a", b"Bearer a"), ()), malformed)
        self.assertEqual(parse_authorization((), (b"a", b"a")), malformed)

    def test_both_kinds_must_agree(self) -> None:
        """An SDK may send its key twice, a request may not carry two identities."""
        malformed = CredentialError(DenialReason.MALFORMED)
        self.assertEqual(presented(b"Bearer abc", x_api_key=(b"abc",)), Credential(digest("abc")))
        self.assertEqual(presented(basic("a", "abc"), x_api_key=(b"abc",)), Credential(digest("abc"), "a"))
        self.assertEqual(parse_authorization((b"Bearer abc",), (b"abd",)), malformed)
        self.assertEqual(parse_authorization((b"Bearer abc",), (b"",)), malformed)
        self.assertEqual(parse_authorization((b"nonsense",), (b"abc",)), malformed)

    @given(
        st.lists(
            st.binary()
            | st.builds(bytes.__add__, st.sampled_from([b"Bearer ", b"Basic ", b"basic  "]), st.binary())
            | st.builds(lambda pair: b"Basic " + base64.b64encode(pair), st.binary()),
            max_size=3,
        ),
        st.lists(st.binary(), max_size=3),
    )
    def test_no_bytes_make_it_raise(self, values: list[bytes], keys: list[bytes]) -> None:
        """Whatever is sent, the answer is a credential or the reason why there is none."""
        result = parse_authorization(values, keys)
        if isinstance(result, CredentialError):
            self.assertIn(result.reason, (DenialReason.MISSING, DenialReason.MALFORMED))
            self.assertEqual(result.reason is DenialReason.MISSING, not values and not keys)
        else:
            self.assertEqual(len(result.sha256), 32)
            self.assertEqual((len(values) <= 1, len(keys) <= 1), (True, True))

    def test_a_credential_does_not_show_itself(self) -> None:
        """Neither the token nor the name beside it, which could be the token in the wrong place."""
        credential = presented(basic("canary-name", "canary-token"))
        for text in (repr(credential), str(credential), f"{credential}", repr([credential])):
            self.assertNotIn("canary", text)
            self.assertNotIn(repr(credential.sha256), text)


class DirectoryTests(SynchronousTestCase):
    """`ClientDirectory.identify` admits who holds a token, and nobody else."""

    def test_any_token_of_a_client_admits_it(self) -> None:
        """Several are valid at once, so that one can be exchanged for the next."""
        alice, bob = client("alice", ALICE, "older"), client("bob", BOB)
        directory = ClientDirectory([alice, bob])
        self.assertEqual(directory.identify(bearer(ALICE), NOW), Admitted(alice))
        self.assertEqual(directory.identify(bearer("older"), NOW), Admitted(alice))
        self.assertEqual(directory.identify(bearer(BOB), NOW), Admitted(bob))

    def test_a_name_beside_the_token_must_be_its_owner(self) -> None:
        """Basic with another's name, or with no such name, is denied although the token is good."""
        directory = ClientDirectory([client("alice", ALICE), client("bob", BOB)])
        self.assertIsInstance(directory.identify(presented(basic("alice", ALICE)), NOW), Admitted)
        for name in ("bob", "Alice", "nobody"):
            verdict = directory.identify(presented(basic(name, ALICE)), NOW)
            self.assertEqual(verdict, Denied(DenialReason.NAME_MISMATCH, "alice"))

    def test_a_token_counts_until_the_moment_it_expires(self) -> None:
        """A microsecond before it is good, at the moment itself no more, whatever the time zones."""
        directory = ClientDirectory([client("alice", ALICE, expires=NOW)])
        just_before = NOW - timedelta(microseconds=1)
        elsewhere = NOW.astimezone(timezone(timedelta(hours=9)))
        expired = Denied(DenialReason.EXPIRED, "alice")
        self.assertIsInstance(directory.identify(bearer(ALICE), just_before), Admitted)
        self.assertEqual(directory.identify(bearer(ALICE), NOW), expired)
        self.assertEqual(directory.identify(bearer(ALICE), elsewhere), expired)

    def test_what_is_not_a_credential_is_denied_for_its_own_reason(self) -> None:
        """Missing stays missing, malformed stays malformed."""
        directory = ClientDirectory([client("alice", ALICE)])
        for reason in (DenialReason.MISSING, DenialReason.MALFORMED):
            self.assertEqual(directory.identify(CredentialError(reason), NOW), Denied(reason))

    def test_nobody_is_admitted_where_nobody_is_known(self) -> None:
        """An empty directory denies, and knows that it is empty."""
        directory = ClientDirectory([])
        self.assertEqual(len(directory), 0)
        self.assertEqual(directory.identify(bearer(ALICE), NOW), Denied(DenialReason.UNKNOWN))

    @given(st.sets(st.text(min_size=1), max_size=5), st.binary(min_size=1))
    def test_no_other_token_is_ever_admitted(self, stored: set[str], token: bytes) -> None:
        """However near it is: also the digest itself, in binary or hex, is not a token."""
        directory = ClientDirectory([client("alice", *stored)])
        known = {text.encode() for text in stored}
        digests = [hashlib.sha256(one).digest() for one in known]
        tries = {token, *digests, *(one.hex().encode() for one in digests), *(one[:-1] for one in known)}
        for one in tries - known:
            verdict = directory.identify(Credential(hashlib.sha256(one).digest()), NOW)
            self.assertEqual(verdict, Denied(DenialReason.UNKNOWN))

    def test_a_digest_that_differs_in_one_bit_is_unknown(self) -> None:
        """Every bit of the digest counts."""
        directory = ClientDirectory([client("alice", ALICE)])
        for bit in range(256):
            near = (int.from_bytes(digest(ALICE)) ^ 1 << bit).to_bytes(32)
            self.assertEqual(directory.identify(Credential(near), NOW), Denied(DenialReason.UNKNOWN))

    def test_a_certificate_is_as_good_as_a_token(self) -> None:
        """Any one of its names will do, spelled wholly and exactly."""
        alice = client("alice", certificate="CN=alice,O=Hades")
        directory = ClientDirectory([alice, client("bob", BOB)])
        self.assertEqual(directory.recognise(shown("DNS:a.example", "CN=alice,O=Hades"), NOW), Admitted(alice))
        for names in ((), ("",), ("CN=alice",), ("cn=alice,o=hades",), ("DNS:CN=alice,O=Hades",)):
            self.assertEqual(directory.recognise(shown(*names), NOW), Denied(DenialReason.UNKNOWN))

    def test_letter_case_means_nothing_in_a_dns_name(self) -> None:
        """However the clients file writes it; in a URI it does."""
        alice = client("alice", certificate="DNS:Robot.EXAMPLE")
        directory = ClientDirectory([alice, client("bob", certificate="URI:spiffe://Example/bob")])
        self.assertEqual(directory.recognise(shown("DNS:robot.example"), NOW), Admitted(alice))
        for name in ("URI:spiffe://example/bob", "URI:robot.example", "robot.example"):
            self.assertEqual(directory.recognise(shown(name), NOW), Denied(DenialReason.UNKNOWN))

    def test_a_certificate_that_names_two_clients_is_nobodys(self) -> None:
        """The order of its names means nothing, so none of them goes first."""
        directory = ClientDirectory([client("alice", certificate="DNS:a"), client("bob", certificate="DNS:b")])
        self.assertEqual(directory.recognise(shown("DNS:a", "DNS:b"), NOW), Denied(DenialReason.UNKNOWN))

    def test_a_certificate_expires_while_its_connection_is_open(self) -> None:
        """At that moment, not one before; and then it is said whose it was."""
        directory = ClientDirectory([client("alice", certificate="DNS:a")])
        held = shown("DNS:a", expires=LATER)
        self.assertIsInstance(directory.recognise(held, LATER - timedelta(microseconds=1)), Admitted)
        self.assertEqual(directory.recognise(held, LATER), Denied(DenialReason.EXPIRED, "alice"))

    def test_clients_are_found_by_name(self) -> None:
        """Or not, without an error."""
        alice = client("alice", ALICE)
        directory = ClientDirectory([alice])
        self.assertIs(directory.named("alice"), alice)
        self.assertIsNone(directory.named("bob"))

    def test_two_clients_cannot_be_one(self) -> None:
        """A shared name, token or certificate would let the later client be taken for the earlier."""
        for pair in (
            (client("alice", ALICE), client("alice", BOB)),
            (client("alice", ALICE), client("bob", ALICE)),
            (client("alice", certificate="CN=a"), client("bob", certificate="CN=a")),
            (client("alice", certificate="DNS:a"), client("bob", certificate="DNS:A")),
        ):
            self.assertRaises(ValueError, ClientDirectory, pair)
        self.assertRaises(ValueError, ClientDirectory, [client("alice", ALICE, ALICE)])


class StoreTests(SynchronousTestCase):
    """`ClientStore` is the directory of now."""

    def test_a_new_directory_counts_at_once(self) -> None:
        """The old token is dead and the new one valid with the next request."""
        clients = store(client("alice", ALICE))
        self.assertIsInstance(clients.identify(bearer(ALICE), NOW), Admitted)
        directory = ClientDirectory([client("alice", "newer")])
        clients.replace(directory)
        self.assertIs(clients.directory, directory)
        self.assertEqual(clients.identify(bearer(ALICE), NOW), Denied(DenialReason.UNKNOWN))
        self.assertIsInstance(clients.identify(bearer("newer"), NOW), Admitted)

    def test_a_suspended_client_is_denied_until_it_is_resumed(self) -> None:
        """By token and by certificate; others are not touched."""
        clients = store(client("alice", ALICE, certificate="CN=a"), client("bob", BOB))
        suspended = Denied(DenialReason.SUSPENDED, "alice")
        self.assertTrue(clients.suspend("alice"))
        self.assertEqual(clients.suspended, frozenset({"alice"}))
        self.assertEqual(clients.identify(bearer(ALICE), NOW), suspended)
        self.assertEqual(clients.identify(NOTHING, NOW, shown("CN=a")), suspended)
        self.assertIsInstance(clients.identify(bearer(BOB), NOW), Admitted)
        self.assertTrue(clients.resume("alice"))
        self.assertIsInstance(clients.identify(bearer(ALICE), NOW), Admitted)
        self.assertIsInstance(clients.identify(NOTHING, NOW, shown("CN=a")), Admitted)

    def test_a_certificate_counts_for_who_presents_nothing_else(self) -> None:
        """A token beside it decides alone, also when it is refused; an unknown certificate is not anonymous."""
        clients = ClientStore(
            ClientDirectory([client("alice", certificate="CN=a"), client("bob", BOB)]), anonymous_client(Role.USER)
        )
        known, unknown = shown("CN=a"), shown("CN=z")
        malformed = CredentialError(DenialReason.MALFORMED)
        for credential, certificate, name in (
            (NOTHING, known, "alice"),
            (NOTHING, None, "anonymous"),
            (bearer(BOB), known, "bob"),
            (bearer(BOB), unknown, "bob"),
        ):
            verdict = clients.identify(credential, NOW, certificate)
            assert isinstance(verdict, Admitted)
            self.assertEqual(verdict.client.name, name)
        for credential, certificate, reason in (
            (NOTHING, unknown, DenialReason.UNKNOWN),
            (bearer(ALICE), known, DenialReason.UNKNOWN),
            (malformed, known, DenialReason.MALFORMED),
        ):
            self.assertEqual(clients.identify(credential, NOW, certificate), Denied(reason))

    def test_everybody_is_listed(self) -> None:
        """In the file's order, suspended or not; the anonymous client last."""
        alice, bob, anonymous = client("alice", ALICE), client("bob", BOB), anonymous_client(Role.USER)
        clients = store(alice, bob)
        clients.suspend("alice")
        self.assertEqual(clients.everybody, (alice, bob))
        self.assertEqual(clients.named("bob"), bob)
        self.assertIsNone(clients.named("carol"))
        self.assertEqual(store(alice, anonymous=anonymous).everybody, (alice, anonymous))

    def test_a_name_stands_for_its_client_while_that_may_come_in(self) -> None:
        """Not when it is suspended, unknown, or gone from the file."""
        alice, anonymous = client("alice", ALICE), anonymous_client(Role.USER)
        clients = store(alice, anonymous=anonymous)
        self.assertEqual([clients.standing(name) for name in ("alice", "anonymous", "bob")], [alice, anonymous, None])
        clients.suspend("alice")
        clients.suspend("anonymous")
        self.assertEqual([clients.standing(name) for name in ("alice", "anonymous")], [None, None])
        clients.resume("alice")
        clients.replace(ClientDirectory([]))
        self.assertIsNone(clients.standing("alice"))
        self.assertIsNone(store(alice).standing("anonymous"))

    def test_a_warrant_ends_with_its_credential(self) -> None:
        """When that expires, is taken out or is given to another, and while its client is suspended."""
        moment = NOW
        clients = store(client("alice", ALICE, expires=LATER))
        warrant = clients.warrant("alice", bearer(ALICE), lambda: moment, None)
        self.assertEqual(warrant(), clients.named("alice"))
        clients.suspend("alice")
        self.assertIsNone(warrant())
        clients.resume("alice")
        for others in ((client("alice", "newer"),), (client("bob", ALICE),)):
            clients.replace(ClientDirectory(others))
            self.assertIsNone(warrant())
        alice = client("alice", ALICE, expires=LATER)
        clients.replace(ClientDirectory([alice]))
        self.assertEqual(warrant(), alice)
        moment = LATER
        self.assertIsNone(warrant())

    def test_suspension_is_told_only_to_who_holds_a_good_token(self) -> None:
        """An expired or unknown token is that, and learns nothing of the client's state."""
        clients = store(client("alice", ALICE, expires=NOW))
        clients.suspend("alice")
        self.assertEqual(clients.identify(bearer(ALICE), NOW), Denied(DenialReason.EXPIRED, "alice"))
        self.assertEqual(clients.identify(bearer(BOB), NOW), Denied(DenialReason.UNKNOWN))

    def test_a_suspension_outlasts_reloads(self) -> None:
        """Also one in which the client was missing."""
        alice = ClientDirectory([client("alice", ALICE)])
        clients = ClientStore(alice, None)
        clients.suspend("alice")
        for directory in (ClientDirectory([]), alice):
            clients.replace(directory)
        self.assertEqual(clients.identify(bearer(ALICE), NOW), Denied(DenialReason.SUSPENDED, "alice"))

    def test_nobody_unknown_is_suspended_or_resumed(self) -> None:
        """The answer says that there was nothing to do."""
        clients = store(client("alice", ALICE))
        self.assertFalse(clients.suspend("bob"))
        self.assertFalse(clients.suspend("anonymous"))
        self.assertFalse(clients.resume("alice"))
        self.assertEqual(clients.suspended, frozenset())

    def test_anonymous_is_who_presents_nothing(self) -> None:
        """A credential that fails in any way does not fall back to the anonymous client."""
        anonymous = anonymous_client(Role.USER)
        clients = store(client("alice", ALICE, expires=NOW), anonymous=anonymous)
        self.assertEqual(clients.identify(parse_authorization((), ()), NOW), Admitted(anonymous))
        for values in ((b"nonsense",), (b"Bearer wrong",), (b"Bearer " + ALICE.encode(),), (b"",)):
            self.assertIsInstance(clients.identify(parse_authorization(values, ()), NOW), Denied)

    def test_without_an_anonymous_client_nothing_is_denied(self) -> None:
        """Who presents nothing is refused for that reason."""
        verdict = store(client("alice", ALICE)).identify(parse_authorization((), ()), NOW)
        self.assertEqual(verdict, Denied(DenialReason.MISSING))

    def test_the_anonymous_client_can_be_suspended(self) -> None:
        """As any other."""
        clients = store(anonymous=anonymous_client(Role.USER))
        self.assertTrue(clients.suspend("anonymous"))
        verdict = clients.identify(parse_authorization((), ()), NOW)
        self.assertEqual(verdict, Denied(DenialReason.SUSPENDED, "anonymous"))


class MintTests(SynchronousTestCase):
    """New tokens and what is written of them."""

    def test_a_token_is_256_random_bits_behind_a_prefix(self) -> None:
        """In base64url, so that all three forms can carry it as it is."""
        token = mint_token(lambda count: bytes(range(count)))
        self.assertEqual(token, "hgw_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8")
        forms = [
            presented(b"Bearer " + token.encode()),
            presented(x_api_key=(token.encode(),)),
            presented(basic("a", token)),
        ]
        self.assertEqual({form.sha256 for form in forms}, {digest(token)})

    def test_entropy_that_falls_short_makes_no_token(self) -> None:
        """A broken source of randomness is an error, not a weak token."""
        self.assertRaises(ValueError, mint_token, lambda count: b"")
        self.assertRaises(ValueError, mint_token, lambda count: bytes(count - 1))

    def test_the_entry_holds_the_digest_and_not_the_token(self) -> None:
        """It is the text to paste, to the letter."""
        text = entry("alice", ALICE, [Role.USER, Role.OBSERVER], datetime(2027, 1, 1, tzinfo=UTC))
        self.assertEqual(
            text,
            f'[[client]]\nname = "alice"\nroles = ["observer", "user"]\n'
            f'tokens = [{{ sha256 = "{digest(ALICE).hex()}", expires = 2027-01-01T00:00:00Z }}]\n',
        )

    def test_an_expiry_is_written_in_utc(self) -> None:
        """To the second, whatever zone it came in, with a year of four digits."""
        elsewhere = datetime(987, 1, 1, 2, 3, 4, 567, tzinfo=timezone(timedelta(hours=2)))
        self.assertTrue(token_entry(ALICE, elsewhere).endswith("expires = 0987-01-01T00:03:04Z }"))

    def test_an_entry_for_nobody_is_refused(self) -> None:
        """The reserved name, no name, no role, and an expiry in an unknown zone."""
        self.assertRaises(ValueError, entry, "anonymous", ALICE, [Role.USER], None)
        self.assertRaises(ValueError, entry, 'a"', ALICE, [Role.USER], None)
        self.assertRaises(ValueError, entry, "alice", ALICE, [], None)
        self.assertRaises(ValueError, entry, "alice", ALICE, [Role.USER], NOW.replace(tzinfo=None))

    @given(
        st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True).filter(lambda name: name != "anonymous"),
        st.binary(min_size=32, max_size=32),
        st.sets(st.sampled_from(Role), min_size=1),
        st.none() | st.timedeltas(timedelta(days=-700_000), timedelta(days=2_900_000)).map(lambda age: NOW + age),
    )
    def test_an_entry_is_read_back_as_it_was_meant(
        self, name: str, random: bytes, roles: set[Role], expires: datetime | None
    ) -> None:
        """Name, roles and expiry come back from the file, and the token is admitted."""
        token = mint_token(lambda count: random)
        directory = parse_clients(entry(name, token, roles, expires), "test")
        (read,) = directory.clients
        self.assertEqual((read.name, read.roles), (name, roles))
        self.assertEqual(read.tokens[0].expires, expires and expires.replace(microsecond=0))
        self.assertIsInstance(directory.identify(bearer(token), datetime(1, 1, 1, tzinfo=UTC)), Admitted)


def toml(*lines: str, name: str = '"alice"', roles: str = '["user"]', tokens: str = "") -> str:
    """One `[[client]]` of a clients file with these further lines."""
    tokens = tokens or f'[{{ sha256 = "{HEX}" }}]'
    return "\n".join(["[[client]]", f"name = {name}", f"roles = {roles}", f"tokens = {tokens}", *lines, ""])


class ParseTests(SynchronousTestCase):
    """`parse_clients` takes what is documented and nothing else."""

    def refused(self, text: str, key_path: str, expected: str = "") -> ClientsError:
        """That the text is refused at that place, in one line."""
        error = self.assertRaises(ClientsError, parse_clients, text, "clients.toml")
        assert isinstance(error, ClientsError)
        self.assertEqual(error.key_path, key_path, str(error))
        self.assertIn(expected, error.expected)
        self.assertTrue(str(error).startswith("clients.toml: "))
        self.assertTrue(str(error).isprintable())
        return error

    def test_every_key_is_read(self) -> None:
        """All that a client can have, in one entry."""
        text = toml(
            'models = ["m1", "m2"]',
            "requests_per_second = 0.5",
            "burst = 3",
            "max_in_flight = 2",
            "tokens_per_minute = 1000",
            'certificate = "CN=alice"',
            roles='["user", "admin"]',
            tokens=f'[{{ sha256 = "{HEX}", expires = 2027-01-01T00:00:00Z }}, {{ sha256 = "{HEX[::-1].upper()}" }}]',
        )
        expected = Client(
            name="alice",
            roles=frozenset({Role.USER, Role.ADMIN}),
            tokens=(
                Token(bytes.fromhex(HEX), datetime(2027, 1, 1, tzinfo=UTC)),
                Token(bytes.fromhex(HEX[::-1])),
            ),
            models=("m1", "m2"),
            requests_per_second=0.5,
            burst=3,
            max_in_flight=2,
            tokens_per_minute=1000,
            certificate="CN=alice",
        )
        self.assertEqual(parse_clients(text, "test").clients, (expected,))

    def test_what_is_left_out_is_the_gateways_own(self) -> None:
        """Limits and models are None then, not zero or empty."""
        (read,) = parse_clients(toml(), "test").clients
        limits = (read.requests_per_second, read.burst, read.max_in_flight, read.tokens_per_minute)
        self.assertEqual((*limits, read.models, read.certificate), (None,) * 6)

    def test_a_text_without_clients_is_an_empty_directory(self) -> None:
        """Whether the gateway may start without clients is not decided here."""
        for text in ("", "# nobody yet\n", "client = []"):
            self.assertEqual(len(parse_clients(text, "test")), 0)

    def test_a_client_without_a_way_in_is_refused(self) -> None:
        """No tokens and no certificate is a mistake; a certificate alone is enough."""
        self.refused(toml(tokens="[]"), "client[0].tokens", "at least one token")
        self.refused('[[client]]\nname = "a"\nroles = ["user"]\n', "client[0].tokens")
        alone = parse_clients('[[client]]\nname = "a"\nroles = ["user"]\ncertificate = "CN=a"\n', "test")
        self.assertIsInstance(alone.recognise(shown("CN=a"), NOW), Admitted)

    def test_values_outside_their_bounds_are_refused_where_they_stand(self) -> None:
        """At the edge and one past it, and of other types."""
        good = {
            "name": ['"a"', '"' + "a" * 64 + '"'],
            "roles": ['["observer"]'],
            "models": ['["m"]', '["' + "m" * 256 + '"]'],
            "requests_per_second": ["0.001", "1", "1000000"],
            "burst": ["1", "1000000"],
            "max_in_flight": ["1", "1000000"],
            "tokens_per_minute": ["1", "1000000000"],
            "certificate": ['"CN=a, b,O=c"', '"2.5.4.3=a"', '"DNS:a"', '"URI:a:b"', '"DNS:' + "c" * 251 + '"'],
        }
        bad = {
            "name": ['""', '"A"', '"a b"', '"anonymous"', '"' + "a" * 65 + '"', "1", '"a\\n"'],
            "roles": ["[]", '"user"', "{}"],
            "models": ["[]", '"m"', "{}"],
            "requests_per_second": ["0", "-1", "1000000.5", "nan", "inf", "true", '"1"', "1" * 400],
            "burst": ["0", "1000001", "1.5", "true", '"1"', "1" * 400],
            "max_in_flight": ["0", "1000001", "1.5", "true"],
            "tokens_per_minute": ["0", "1000000001", "1.5", "true"],
            "certificate": [
                '""',
                '"a"',
                '"DNS:"',
                '"DNS:a b"',
                '"DNS:*.a"',
                '"CN="',
                '"CN=a "',
                '"CN=a\\nb"',
                '"CN=ä"',
                "1",
                '"DNS:' + "c" * 252 + '"',
            ],
        }
        for key, values in good.items():
            for value in values:
                self.assertEqual(len(parse_clients(self.with_value(key, value), "test")), 1, (key, value))
        for key, values in bad.items():
            for value in values:
                self.refused(self.with_value(key, value), f"client[0].{key}")

    def with_value(self, key: str, value: str) -> str:
        """A good entry but for that value."""
        if key in ("name", "roles"):
            return toml(**{key: value})
        return toml(f"{key} = {value}")

    def test_items_of_lists_are_refused_where_they_stand(self) -> None:
        """A role that does not exist, a model that is not a name."""
        self.refused(toml(roles='["user", "root"]'), "client[0].roles[1]", "observer")
        self.refused(toml(roles='["User"]'), "client[0].roles[0]")
        self.refused(toml('models = ["m", 1]'), "client[0].models[1]")
        self.refused(toml('models = [""]'), "client[0].models[0]")

    def test_digests_are_64_hex_digits(self) -> None:
        """Not one fewer, not one more, no spaces, no token in its place; the value is not repeated."""
        for value in (
            HEX[:-1],
            HEX + "0",
            HEX[:-1] + "g",
            HEX[:-1] + "\\n",
            " " + HEX[1:],
            "canary",
            "hgw_canary",
        ):
            error = self.refused(
                toml(tokens=f'[{{ sha256 = "{value}" }}]'),
                "client[0].tokens[0].sha256",
                "never the token itself",
            )
            self.assertNotIn("canary", str(error))
        self.refused(toml(tokens="[{ sha256 = 1 }]"), "client[0].tokens[0].sha256")
        self.refused(toml(tokens="[{}]"), "client[0].tokens[0].sha256", "cannot be left out")
        self.refused(toml(tokens=f'["{HEX}"]'), "client[0].tokens[0]")

    def test_an_expiry_has_its_offset(self) -> None:
        """A local time or a mere date would mean another moment elsewhere."""
        for value in ("2027-01-01", "2027-01-01T00:00:00", '"tomorrow"', "1"):
            text = toml(tokens=f'[{{ sha256 = "{HEX}", expires = {value} }}]')
            self.refused(text, "client[0].tokens[0].expires", "offset")

    def test_an_expired_token_may_stay(self) -> None:
        """A file does not become invalid by the passing of time."""
        text = toml(tokens=f'[{{ sha256 = "{HEX}", expires = 1999-01-01T00:00:00+02:00 }}]')
        self.assertEqual(len(parse_clients(text, "test")), 1)

    def test_unknown_keys_are_errors(self) -> None:
        """At every level; a likely misspelling is named."""
        self.refused("clients = []", "clients", "client")
        self.refused(toml("bursts = 1"), "client[0].bursts", "burst")
        self.refused(
            toml(tokens=f'[{{ sha256 = "{HEX}", expire = 2027-01-01T00:00:00Z }}]'),
            "client[0].tokens[0].expire",
        )

    def test_required_keys_cannot_be_left_out(self) -> None:
        """A client has a name and roles."""
        self.refused('[[client]]\nroles = ["user"]\n', "client[0].name", "cannot be left out")
        self.refused('[[client]]\nname = "a"\n', "client[0].roles", "cannot be left out")

    def test_what_is_not_a_list_of_tables_is_refused(self) -> None:
        """The commonest slip is `[client]` for `[[client]]`."""
        self.refused('[client]\nname = "a"\n', "client", "[[client]]")
        self.refused("client = 1", "client")
        self.refused(toml(tokens=f'{{ sha256 = "{HEX}" }}'), "client[0].tokens")

    def test_what_only_one_may_have_is_refused_twice(self) -> None:
        """Names, certificates and digests, also in another spelling; the error says where it was first."""
        other = HEX[::-1]
        second = toml(name='"bob"', tokens=f'[{{ sha256 = "{other}" }}]')
        self.assertEqual(len(parse_clients(toml() + second, "test")), 2)
        self.refused(toml() + second.replace("bob", "alice"), "client[1].name", "client[0].name")
        self.refused(
            toml() + second.replace(other, HEX.upper()),
            "client[1].tokens[0].sha256",
            "client[0].tokens[0].sha256",
        )
        twice = f'[{{ sha256 = "{HEX}" }}, {{ sha256 = "{HEX}", expires = 2027-01-01T00:00:00Z }}]'
        self.refused(toml(tokens=twice), "client[0].tokens[1].sha256", "client[0].tokens[0].sha256")
        certificate = 'certificate = "CN=a"\n'
        self.refused(toml() + certificate + second + certificate, "client[1].certificate", "client[0].certificate")

    def test_a_guessable_token_refuses_the_file(self) -> None:
        """Well-known and short ones are told by their digests, and so is a client's name; none is named."""
        guesses: Iterable[str] = (
            *("", "a", "~", "zZ", " ", "007", "0000", "1234", "12345678", "changeme", "CHANGEME", "Secret"),
            *(
                "password",
                "sk-1234",
                "hadesgw",
                "test",
                "admin",
                "token",
                "EMPTY",
                "none",
                "None",
                "alice",
                "bob",
            ),
        )
        second = toml(name='"bob"', tokens=f'[{{ sha256 = "{HEX}" }}]')
        for guess in guesses:
            text = second + toml(tokens=f'[{{ sha256 = "{HEX[::-1]}" }}, {{ sha256 = "{digest(guess).hex()}" }}]')
            self.refused(text, "client[1].tokens[1].sha256", "hadesgw token new")

    def test_what_is_not_toml_is_refused_with_its_line(self) -> None:
        """And with nothing of what stands there, if it looks like a secret."""
        error = self.refused('[[client]]\nname = "alice"\nkey = hgw_canary0123456789abcdef\n', "line 3")
        self.assertNotIn("canary", str(error))
        self.refused("a = " + "[" * 5000, "")
        self.refused("a = " + "1" * 5000, "")

    @given(st.text() | st.text(alphabet='[]{}="\n#client.namers').map(lambda text: f"[[client]]\n{text}"))
    def test_any_text_is_clients_or_one_line(self, text: str) -> None:
        """No text makes it fail in another way."""
        try:
            parse_clients(text, "test")
        except ClientsError as error:
            self.assertTrue(str(error).isprintable())


class ReadTests(SynchronousTestCase):
    """`read_clients` reads a file that is its owner's alone."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.path = self.folder / "clients.toml"
        self.path.write_text(toml())
        self.path.chmod(0o600)

    def refused(self, path: Path, expected: str) -> None:
        """That the file is refused with that hint."""
        error = self.assertRaises(ClientsError, read_clients, str(path), None)
        self.assertIn(expected, str(error))
        self.assertTrue(str(error).startswith(f"{path}: expected "))

    def test_an_owners_file_is_read(self) -> None:
        """Writable or not."""
        for mode in (0o600, 0o400):
            self.path.chmod(mode)
            self.assertEqual([client.name for client in read_clients(str(self.path), None).clients], ["alice"])

    def test_errors_name_the_file(self) -> None:
        """As the operator named it."""
        self.path.write_text("x = 1")
        error = self.assertRaises(ClientsError, read_clients, str(self.path), None)
        self.assertTrue(str(error).startswith(f"{self.path}: x: "))

    def test_a_file_that_others_may_touch_is_refused_with_the_cure(self) -> None:
        """`tests/policy/test_guarded_file.py` has the rest of what may be wrong with it."""
        self.path.chmod(0o640)
        self.refused(self.path, f"run: chmod 600 {self.path}")

    def test_systemd_credentials_are_exempt(self) -> None:
        """What lies in $CREDENTIALS_DIRECTORY is guarded by it."""
        self.path.chmod(0o440)
        self.assertEqual(len(read_clients(str(self.path), str(self.folder))), 1)

    def test_what_is_no_text_is_refused(self) -> None:
        """Bytes that are not UTF-8."""
        self.path.write_bytes(b"\xff")
        self.refused(self.path, "UTF-8")

    def test_a_file_has_at_most_4_mib(self) -> None:
        """At the limit it is read, one byte past it is refused."""
        text = toml().encode()
        self.path.write_bytes(text + b"\n" * ((4 << 20) - len(text)))
        self.assertEqual(len(read_clients(str(self.path), None)), 1)
        with self.path.open("ab") as file:
            file.write(b"\n")
        self.refused(self.path, "4 MiB")
