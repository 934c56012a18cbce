"""Certificates: what is taken, what is refused with which words, whom one names, and our own."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy.certificates import (
    CertificateError,
    client_certificate,
    read_authorities,
    read_chain,
    read_identity,
    require_name,
    self_sign,
)
from tests.authority import DAYS, Authority, Issued

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class _Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.authority = Authority(NOW)

    def refused(self, expected: str, read: object, *arguments: object) -> None:
        """That it is refused with these words, in one line that shows no key."""
        assert callable(read)
        error = self.assertRaises(CertificateError, read, *arguments)
        self.assertIn(expected, str(error))
        self.assertTrue(str(error).isprintable())


class ChainTests(_Case):
    """`read_chain`."""

    def test_a_chain_is_read_in_its_order(self) -> None:
        """Our own first, as the file has it."""
        between = Authority(NOW, self.authority, "between")
        own = between.issue("localhost")
        chain = read_chain(own.pem + b"a remark\n" + between.pem, NOW)
        self.assertEqual(chain, (own.certificate, between.certificate))

    def test_all_of_it_must_count_now(self) -> None:
        """From the first moment of each to the one before its end."""
        own = self.authority.issue("localhost", begins=NOW, ends=NOW + 10 * SECOND)
        for moment in (NOW, NOW + 9 * SECOND):
            self.assertEqual(len(read_chain(own.pem, moment)), 1)
        self.refused("expired 2026-06-01T12:00:10Z", read_chain, own.pem, NOW + 10 * SECOND)
        self.refused("from 2026-06-01T12:00:00Z on; is the clock right?", read_chain, own.pem, NOW - SECOND)
        other = self.authority.issue("localhost")
        self.refused("expired", read_chain, other.pem + own.pem, NOW + 10 * SECOND)

    def test_what_is_no_certificate_is_refused(self) -> None:
        """Nothing, a key, a cut one, and anything else."""
        own = self.authority.issue("localhost")
        for pem in (b"", b"x", own.key_pem, own.pem[:-40], own.pem.replace(b"M", b"N", 1)):
            self.refused("certificates in PEM form", read_chain, pem, NOW)

    @given(st.binary())
    def test_any_bytes_are_certificates_or_one_line(self, pem: bytes) -> None:
        """No file makes it fail in another way."""
        self.assertRaises(CertificateError, read_chain, b"-----BEGIN CERTIFICATE-----\n" + pem, NOW)


class IdentityTests(_Case):
    """`read_identity`."""

    def identity(self, issued: Issued) -> tuple[tuple[x509.Certificate, ...], bytes]:
        return read_chain(issued.pem, NOW), issued.key_pem

    def test_a_key_is_known_by_its_certificate(self) -> None:
        """Of each kind that we take, in any PEM form."""
        for key in (ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)):
            issued = self.authority.issue("localhost", key=key)
            chain = read_chain(issued.pem, NOW)
            old = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
            for pem in (issued.key_pem, old):
                identity = read_identity(chain, pem)
                self.assertEqual(identity.key.private_numbers(), key.private_numbers())  # type: ignore[union-attr]

    def test_it_lasts_as_long_as_the_shortest_of_its_chain(self) -> None:
        """A chain with a gap is no chain."""
        own = self.authority.issue("localhost", ends=NOW + timedelta(days=5))
        longer = self.authority.issue("localhost")
        for chain in (own.pem + longer.pem, own.pem):
            self.assertEqual(read_identity(read_chain(chain, NOW), own.key_pem).expires, NOW + timedelta(days=5))

    def test_another_ones_key_is_refused(self) -> None:
        """Of the same kind, of another kind, or of the second in the chain."""
        chain, key = self.identity(self.authority.issue("localhost"))
        other = self.authority.issue("localhost")
        ed = ed25519.Ed25519PrivateKey.generate()
        ed_pem = ed.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        for wrong in (other.key_pem, ed_pem):
            self.refused("the key of the first certificate", read_identity, chain, wrong)
        self.refused("the key of the first", read_identity, (other.certificate, *chain), key)

    def test_a_certificate_with_a_key_nobody_knows_has_none_that_fits(self) -> None:
        """Its kind is unknown to the library, or it is not what its kind demands."""
        issued = self.authority.issue("localhost")
        der = issued.certificate.public_bytes(Encoding.DER)
        for known, unknown in (("06072a8648ce3d0201", "06072a8648ce3d0207"), ("03420004", "03420009")):
            strange = x509.load_der_x509_certificate(der.replace(bytes.fromhex(known), bytes.fromhex(unknown), 1))
            self.refused("the key of the first certificate", read_identity, (strange,), issued.key_pem)

    def test_what_is_no_usable_key_is_refused(self) -> None:
        """No key, an encrypted one (nobody could type the passphrase), and one of a kind that TLS makes no use of."""
        issued = self.authority.issue("localhost")
        chain, _ = self.identity(issued)
        sealed = issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
        public = issued.key.public_key().public_bytes(Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        strange = ed448.Ed448PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.refused("not encrypted", read_identity, chain, sealed)
        self.refused("RSA, ECDSA or Ed25519", read_identity, chain, strange)
        for pem in (b"", issued.pem, public, issued.key_pem[:-40]):
            self.refused("a private key in PEM form", read_identity, chain, pem)


class AuthoritiesTests(_Case):
    """`read_authorities`."""

    def test_authorities_of_all_ranks_are_taken(self) -> None:
        """Roots, and those between."""
        between = Authority(NOW, self.authority, "between")
        found = read_authorities(between.pem + self.authority.pem, NOW)
        self.assertEqual(found, (between.certificate, self.authority.certificate))

    def test_expired_ones_are_left_out(self) -> None:
        """In a bundle one may expire; when all have, nobody could come in."""
        old = Authority(NOW - timedelta(days=DAYS))
        self.assertEqual(read_authorities(old.pem + self.authority.pem, NOW), (self.authority.certificate,))
        self.refused("has not expired", read_authorities, old.pem, NOW)

    def test_who_may_sign_nothing_is_refused(self) -> None:
        """It would be taken for its own holder only, which is not what the key says."""
        client = self.authority.issue("robot.example")
        self.refused("certificates of authorities", read_authorities, client.pem, NOW)
        key, nobody = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
        bare = x509.CertificateBuilder(nobody, nobody, key.public_key(), 1, NOW, NOW + SECOND)
        pem = bare.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
        self.refused("certificates of authorities", read_authorities, pem, NOW)

    def test_what_is_no_certificate_is_refused(self) -> None:
        """As in a chain."""
        self.refused("PEM", read_authorities, b"", NOW)


class ClientCertificateTests(_Case):
    """`client_certificate`."""

    def names(self, issued: Issued) -> set[str]:
        return set(client_certificate(issued.certificate).names)

    def test_alternative_names_say_their_kind(self) -> None:
        """DNS names in lower case, URIs as they are; addresses are no names of a client."""
        issued = self.authority.issue("Robot.Example", "a_b.example", "spiffe://example/Robot", "127.0.0.1")
        expected = {"DNS:robot.example", "DNS:a_b.example", "URI:spiffe://example/Robot"}
        self.assertEqual(self.names(issued), expected)
        self.assertEqual(client_certificate(issued.certificate).expires, issued.certificate.not_valid_after_utc)

    def test_the_subject_counts_as_a_whole(self) -> None:
        """As `openssl x509 -noout -subject -nameopt RFC2253` prints it; its common name alone is nobody."""
        subject = [(NameOID.ORGANIZATION_NAME, "Hades, Inc."), (NameOID.COMMON_NAME, "robot")]
        self.assertEqual(self.names(self.authority.issue(subject=subject)), {"CN=robot,O=Hades\\, Inc."})

    def test_a_name_of_the_wrong_form_is_none(self) -> None:
        """Wild cards, spaces, empty labels: whatever an authority was talked into."""
        wrong = ["*.example", "a b", "a..b", "-a.example", "a-.example", "x" * 64, "a." * 126 + "ab", "DNS:a", ""]
        self.assertEqual(self.names(self.authority.issue(*wrong)), set())
        self.assertEqual(self.names(self.authority.issue("1a:b/c", "a:/ b", "a:/\n")), set())

    def test_no_kind_can_pose_as_another(self) -> None:
        """A DNS name that reads like a subject or a URI is dropped, a subject keeps the sign that makes it one."""
        subject = [(NameOID.COMMON_NAME, "DNS:admin.example")]
        issued = self.authority.issue("CN=admin", subject=subject)
        self.assertEqual(self.names(issued), {"CN=DNS:admin.example"})

    def test_a_certificate_without_any_name_is_nobodys(self) -> None:
        """Neither subject nor alternative names, or alternatives that cannot be read."""
        bare = self.authority.issue()
        self.assertEqual(self.names(bare), set())
        key, nobody = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
        broken = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x02\x02\x00")
        builder = x509.CertificateBuilder(nobody, nobody, key.public_key(), 1, NOW, NOW + SECOND)
        signed = builder.add_extension(broken, critical=False).sign(key, hashes.SHA256())
        self.assertEqual(client_certificate(signed).names, frozenset())


class SelfSignTests(_Case):
    """`self_sign` and `require_name`."""

    def test_names_are_hosts_and_addresses(self) -> None:
        """In one spelling; what is neither is refused."""
        for name, expected in {
            "LocalHost": "localhost",
            "a.example": "a.example",
            "*.Example": "*.example",
            "127.0.0.1": "127.0.0.1",
            "::1": "::1",
        }.items():
            self.assertEqual(require_name(name), expected)
        for name in ("", "a b", "http://a", "a:80", "*", "a.*", "[::1]", "x" * 64):
            self.refused("a host name or an IP address", require_name, name)

    def test_what_it_says(self) -> None:
        """The names, the time from an hour ago to the last day, and that it is a server's and no authority."""
        made = self_sign(["localhost", "*.example", "127.0.0.1", "::1"], NOW, 30, lambda: 7)
        certificate = x509.load_pem_x509_certificate(made.certificate)
        self.assertEqual(certificate.serial_number, 7)
        self.assertEqual(certificate.not_valid_before_utc, NOW - timedelta(hours=1))
        self.assertEqual((certificate.not_valid_after_utc, made.expires), (NOW + timedelta(days=30),) * 2)
        extensions = certificate.extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(names.get_values_for_type(x509.DNSName), ["localhost", "*.example"])
        self.assertEqual([str(ip) for ip in names.get_values_for_type(x509.IPAddress)], ["127.0.0.1", "::1"])
        self.assertFalse(extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
        purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        self.assertEqual(list(purposes), [ExtendedKeyUsageOID.SERVER_AUTH])
        self.assertRegex(made.fingerprint, r"\A(?:[0-9A-F]{2}:){31}[0-9A-F]{2}\Z")

    def test_we_take_it_ourselves(self) -> None:
        """Its key fits it, and no two have the same."""
        first, second = (self_sign(["localhost"], NOW, 1, x509.random_serial_number) for _ in range(2))
        chain = read_chain(first.certificate, NOW)
        self.assertEqual(read_identity(chain, first.key).expires, first.expires)
        self.refused("the key of the first", read_identity, chain, second.key)

    def test_others_take_it_for_an_anchor(self) -> None:
        """A client that is told to trust it does."""
        made = self_sign(["localhost"], NOW, 1, x509.random_serial_number)
        context = ssl.create_default_context(cadata=made.certificate.decode())
        self.assertEqual(context.cert_store_stats()["x509"], 1)
