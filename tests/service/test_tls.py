"""The TLS of a listener: the files it is made of, what it agrees to, and what it asks of clients."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from hadesgw.config import ConfigError, Tls
from hadesgw.policy.certificates import CertificateError, read_authorities, read_chain, read_identity
from hadesgw.service.tls import Credentials, TlsServer, load_credentials
from tests.authority import Authority, Issued

NOW = datetime.now(UTC)
"""OpenSSL asks nobody else for the time."""


def credentials(issued: Issued, *authorities: Authority) -> Credentials:
    """Of a server that shows this certificate, and asks for one of these authorities."""
    identity = read_identity(read_chain(issued.pem, NOW), issued.key_pem)
    vouching: tuple[x509.Certificate, ...] = ()
    if authorities:
        vouching = read_authorities(b"".join(authority.pem for authority in authorities), NOW)
    return Credentials(identity, vouching)


def client_context(authority: Authority, own: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    """What a careful client has: it trusts the authority only, and shows its own certificate if it has one."""
    context = ssl.create_default_context(cadata=authority.pem.decode())
    if own is not None:
        context.load_cert_chain(*own)
    return context


def weak_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 1024)  # noqa: S505 - that is the point


class Handshake:
    """A client of Python's and a server of ours, in memory: bytes are carried until neither has any more.

    :ivar client: the client's side.
    :ivar server: ours.
    :ivar refusal: what the client was told, or None if both agreed.
    """

    def __init__(
        self,
        server: TlsServer,
        context: ssl.SSLContext,
        name: str | None = "localhost",
        session: ssl.SSLSession | None = None,
    ) -> None:
        self._to_client, self._to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = context.wrap_bio(self._to_client, self._to_server, server_hostname=name, session=session)
        self.server = server.serverConnectionForTLS(None)  # type: ignore[arg-type]
        self.server.set_accept_state()
        self.refusal: ssl.SSLError | None = None
        self.fault: SSL.Error | None = None
        for _ in range(6):
            self._step(self.client.do_handshake)
            self._step(self.server.do_handshake)
        if self.refusal is None and self.fault is None:
            self.server.send(b"welcome")  # a client of TLS 1.3 hears only now that its certificate was refused
        self._carry()
        if self.refusal is None:
            self._step(lambda: self.client.read(7))

    def _step(self, act: Callable[[], object]) -> None:
        try:
            act()
        except (ssl.SSLWantReadError, SSL.WantReadError):
            pass
        except ssl.SSLError as error:
            self.refusal = self.refusal or error
        except SSL.Error as error:
            self.fault = self.fault or error
        self._carry()

    def _carry(self) -> None:
        if data := self._to_server.read():
            self.server.bio_write(data)
        try:
            while data := self.server.bio_read(65536):
                self._to_client.write(data)
        except SSL.WantReadError:
            pass

    @property
    def agreed(self) -> bool:
        return self.refusal is None and self.fault is None


class _Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.authority = Authority(NOW)
        self.issued = self.authority.issue("localhost")


class LoadTests(_Case):
    """`load_credentials`: the files of ``[tls]``."""

    def setUp(self) -> None:
        super().setUp()
        self.certificate, self.key = self.issued.write(self.folder, "server")
        self.authorities = self.folder / "clients.pem"
        self.authorities.write_bytes(self.authority.pem)

    def load(self, client_ca: str = "", directory: str | None = None, now: datetime = NOW) -> Credentials | None:
        tls = Tls(certificate=str(self.certificate), private_key=str(self.key), client_ca=client_ca)
        return load_credentials(tls, "hadesgw.toml", directory, now)

    def refused(self, key: str, expected: str, client_ca: str = "", now: datetime = NOW) -> None:
        error = self.assertRaises(ConfigError, self.load, client_ca, None, now)
        self.assertTrue(str(error).startswith(f"hadesgw.toml: {key}: expected "), str(error))
        self.assertIn(expected, str(error))
        self.assertEqual(str(error).count("\n"), 0)

    def test_no_files_no_tls(self) -> None:
        """It is only needed for a listener that is encrypted."""
        self.assertIsNone(load_credentials(Tls(), "hadesgw.toml", None, NOW))

    def test_all_files(self) -> None:
        """Chain, key and authorities, with the moment at which the first of the chain expires."""
        self.certificate.write_bytes(self.issued.pem + self.authority.pem)
        loaded = self.load(str(self.authorities))
        assert loaded is not None
        self.assertEqual(loaded.identity.chain, (self.issued.certificate, self.authority.certificate))
        self.assertEqual(loaded.authorities, (self.authority.certificate,))
        self.assertEqual(loaded.identity.expires, self.issued.certificate.not_valid_after_utc)

    def test_a_key_that_others_can_read(self) -> None:
        """Is refused with the cure, unless it is one of systemd's credentials."""
        self.key.chmod(0o640)
        self.refused("tls.private_key", f"chmod 600 {self.key}")
        self.assertIsNotNone(self.load(directory=str(self.folder)))

    def test_authorities_that_others_can_write(self) -> None:
        """Would let anybody in; to read them is no secret."""
        self.authorities.chmod(0o644)
        self.assertIsNotNone(self.load(str(self.authorities)))
        self.authorities.chmod(0o664)
        self.refused("tls.client_ca", f"chmod go-w {self.authorities}", str(self.authorities))

    def test_each_file_is_blamed_by_its_key(self) -> None:
        """Missing, of another kind, of another certificate, expired."""
        self.refused("tls.client_ca", "a readable file", str(self.folder / "missing"))
        self.refused("tls.client_ca", "certificates of authorities", str(self.certificate))
        self.refused("tls.certificate", "expired", now=NOW + timedelta(days=400))
        self.key.write_bytes(self.authority.issue("localhost").key_pem)
        self.refused("tls.private_key", "the key of the first certificate")
        self.key.unlink()
        self.refused("tls.private_key", "a readable file: No such file")
        self.certificate.write_text("")
        self.refused("tls.certificate", "certificates in PEM form")

    def test_a_key_too_weak(self) -> None:
        """OpenSSL's own word on it is passed on."""
        weak = self.authority.issue("localhost", key=weak_key())
        self.certificate.write_bytes(weak.pem)
        self.key.write_bytes(weak.key_pem)
        self.refused("tls.certificate", "OpenSSL takes: ee key too small")


class AgreementTests(_Case):
    """What a client and we agree on. `tests/real/sslyze` asks for more of it."""

    def server(self) -> TlsServer:
        server = TlsServer(credentials(self.issued))
        verifyObject(IOpenSSLServerConnectionCreator, server)
        return server

    def test_a_client_as_it_comes(self) -> None:
        """TLS 1.3 with X25519."""
        made = Handshake(self.server(), client_context(self.authority))
        self.assertTrue(made.agreed, made.refusal)
        self.assertEqual(made.client.version(), "TLSv1.3")
        self.assertEqual(made.server.get_group_name(), "x25519")

    def test_no_session_is_resumed(self) -> None:
        """A client that brings what it has kept of an earlier one begins anew all the same."""
        server = self.server()
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = client_context(self.authority)
            context.maximum_version = version
            earlier = Handshake(server, context).client.session
            made = Handshake(server, context, session=earlier)
            self.assertTrue(made.agreed, made.refusal)
            self.assertFalse(made.client.session_reused)

    def test_versions(self) -> None:
        """1.2 and 1.3, and none below."""
        for version, agreed in (
            (ssl.TLSVersion.TLSv1_3, True),
            (ssl.TLSVersion.TLSv1_2, True),
            (ssl.TLSVersion.TLSv1_1, False),
        ):
            context = client_context(self.authority)
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = version
            self.assertEqual(Handshake(self.server(), context).agreed, agreed, version)

    def test_ciphers_of_tls_1_2(self) -> None:
        """With forward secrecy and authenticated encryption only; the client chooses among them."""
        good = ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305")
        bad = ("ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384", "ECDHE-ECDSA-AES128-CCM", "AES128-GCM-SHA256")
        for cipher in (*good, *bad):
            context = client_context(self.authority)
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(f"{cipher}:@SECLEVEL=0")
            self.assertEqual(Handshake(self.server(), context).agreed, cipher in good, cipher)
        context = client_context(self.authority)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(f"{good[2]}:{good[0]}")
        chosen = Handshake(self.server(), context).client.cipher()
        assert chosen is not None
        self.assertEqual(chosen[0], good[2])

    def test_groups(self) -> None:
        """Each of the three alone will do, another will not."""
        for group, agreed in (("prime256v1", True), ("secp384r1", True), ("X25519", True), ("secp521r1", False)):
            context = client_context(self.authority)
            context.set_ecdh_curve(group)
            self.assertEqual(Handshake(self.server(), context).agreed, agreed, group)

    def test_alpn(self) -> None:
        """HTTP/1.1 is chosen where it is offered or nothing is; a client that offers others only is told so."""
        for offered, chosen in ((["h2", "http/1.1"], "http/1.1"), (["http/1.1"], "http/1.1"), ([], None)):
            context = client_context(self.authority)
            if offered:
                context.set_alpn_protocols(offered)
            made = Handshake(self.server(), context)
            self.assertTrue(made.agreed)
            self.assertEqual(made.client.selected_alpn_protocol(), chosen)
        for foreign in (["h2"], ["http/1.0"], ["ftp", "imap"]):
            context = client_context(self.authority)
            context.set_alpn_protocols(foreign)
            made = Handshake(self.server(), context)
            self.assertIn("no application protocol", str(made.refusal).lower().replace("_", " "))

    def test_no_renegotiation(self) -> None:
        """A client of TLS 1.2 that asks to begin anew is told that it cannot."""
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        client, server = SSL.Connection(context, None), self.server().serverConnectionForTLS(None)  # type: ignore[arg-type]
        client.set_connect_state()
        server.set_accept_state()

        def turn(act: Callable[[], object], side: SSL.Connection, other: SSL.Connection) -> None:
            with contextlib.suppress(SSL.WantReadError):
                act()
            with contextlib.suppress(SSL.WantReadError):
                other.bio_write(side.bio_read(65536))

        for _ in range(3):
            turn(client.do_handshake, client, server)
            turn(server.do_handshake, server, client)
        self.assertEqual(client.get_protocol_version_name(), "TLSv1.2")
        self.assertTrue(client.renegotiate())
        turn(client.do_handshake, client, server)
        turn(lambda: server.recv(1), server, client)
        with self.assertRaises(SSL.Error) as caught:
            client.send(b"x")
        self.assertIn("no renegotiation", str(caught.exception))

    def test_the_chain_is_sent(self) -> None:
        """A client that knows the root only can follow it."""
        between = Authority(NOW, self.authority, "between")
        own = between.issue("localhost")
        identity = read_identity(read_chain(own.pem + between.pem, NOW), own.key_pem)
        made = Handshake(TlsServer(Credentials(identity, ())), client_context(self.authority))
        self.assertTrue(made.agreed, made.refusal)

    def test_no_server_name_is_needed(self) -> None:
        """There is one certificate, whoever is asked for."""
        context = client_context(self.authority)
        context.check_hostname = False
        self.assertTrue(Handshake(self.server(), context, None).agreed)

    def test_another_certificate_at_run_time(self) -> None:
        """It is shown from the next connection on; one that cannot be used changes nothing."""
        server = self.server()
        later = self.authority.issue("localhost", ends=NOW + timedelta(days=3))
        server.use(credentials(later))
        made = Handshake(server, client_context(self.authority))
        shown = made.client.getpeercert(binary_form=True)
        assert shown is not None
        self.assertEqual(x509.load_der_x509_certificate(shown), later.certificate)
        self.assertEqual(server.expires, later.certificate.not_valid_after_utc)
        weak = credentials(self.authority.issue("localhost", key=weak_key()))
        self.assertRaises(CertificateError, server.use, weak)
        self.assertTrue(Handshake(server, client_context(self.authority)).agreed)
        self.assertEqual(server.expires, later.certificate.not_valid_after_utc)


class ClientTests(_Case):
    """Certificates of clients."""

    def setUp(self) -> None:
        super().setUp()
        self.vouching = Authority(NOW, name="of clients")
        self.server = TlsServer(credentials(self.issued, self.vouching))

    def shake(self, issued: Issued | None, server: TlsServer | None = None, *, old: bool = False) -> Handshake:
        context = client_context(self.authority, None if issued is None else issued.write(self.folder, "client"))
        if old:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        return Handshake(server or self.server, context)

    def test_a_good_one_is_seen(self) -> None:
        """By both versions of TLS."""
        robot = self.vouching.issue("robot.example")
        for old in (False, True):
            made = self.shake(robot, old=old)
            self.assertTrue(made.agreed, made.refusal)
            self.assertEqual(made.server.get_peer_certificate(as_cryptography=True), robot.certificate)

    def test_nobody_has_to_show_one(self) -> None:
        """There are tokens as well."""
        made = self.shake(None)
        self.assertTrue(made.agreed, made.refusal)
        self.assertIsNone(made.server.get_peer_certificate())

    def test_a_bad_one_ends_the_handshake(self) -> None:
        """Of another authority, expired, not begun, of our own server's authority."""
        for bad in (
            Authority(NOW, name="of clients").issue("robot.example"),
            self.vouching.issue("robot.example", ends=NOW - timedelta(minutes=1)),
            self.vouching.issue("robot.example", begins=NOW + timedelta(hours=1)),
            self.authority.issue("robot.example"),
        ):
            for old in (False, True):
                made = self.shake(bad, old=old)
                self.assertFalse(made.agreed)
                self.assertIsNotNone(made.refusal)

    def test_an_authority_in_between_is_enough(self) -> None:
        """It may be named without its root: then its siblings are nobody."""
        between, sibling = Authority(NOW, self.vouching, "between"), Authority(NOW, self.vouching, "sibling")
        server = TlsServer(credentials(self.issued, between))
        self.assertTrue(self.shake(between.issue("robot.example"), server).agreed)
        self.assertFalse(self.shake(sibling.issue("robot.example"), server).agreed)

    def test_clients_are_told_which_authorities(self) -> None:
        """So that a browser knows which of its certificates to offer."""
        made = self.shake(None)
        self.assertEqual([name.CN for name in made.server.get_client_ca_list()], ["of clients"])

    def test_without_authorities_nobody_is_asked(self) -> None:
        """A certificate that a client would have is not shown."""
        made = self.shake(self.vouching.issue("robot.example"), TlsServer(credentials(self.issued)))
        self.assertTrue(made.agreed)
        self.assertIsNone(made.server.get_peer_certificate())
