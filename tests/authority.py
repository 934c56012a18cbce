"""An authority of our own for tests: it signs whatever is asked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

Key: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

DAYS = 90

_USES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)
_SIGNS_CERTIFICATES = x509.KeyUsage(**{use: use in ("key_cert_sign", "crl_sign") for use in _USES})


class Issued(NamedTuple):
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Key

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def write(self, folder: Path, name: str, chain: bytes = b"") -> tuple[Path, Path]:
        """Write `name.pem`, with `chain` behind it, and `name.key` for us alone; their paths."""
        pem, key = folder / f"{name}.pem", folder / f"{name}.key"
        pem.write_bytes(self.pem + chain)
        key.touch(0o600)
        key.write_bytes(self.key_pem)
        return pem, key


def curve() -> ec.EllipticCurvePrivateKey:
    """A key that is made in no time."""
    return ec.generate_private_key(ec.SECP256R1())


class Authority:
    """Signs certificates.

    :param now: when the tests take place.
    :param parent: who signs its own; None for a root.
    """

    def __init__(self, now: datetime, parent: Authority | None = None, name: str = "test authority") -> None:
        self.now = now
        self.key = curve()
        self.certificate = (parent or self)._sign(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
            self.key.public_key(),
            [],
            now - timedelta(days=1),
            now + timedelta(days=DAYS),
            authority=True,
        )

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def issue(
        self,
        *names: str,
        subject: Sequence[tuple[x509.ObjectIdentifier, str]] = (),
        begins: datetime | None = None,
        ends: datetime | None = None,
        key: Key | None = None,
    ) -> Issued:
        """A certificate for `names`: those with a scheme are URIs, those that read as one are addresses, others DNS.

        :param subject: its attributes, the widest first.
        """
        own = key or curve()
        begins, ends = begins or self.now - timedelta(days=1), ends or self.now + timedelta(days=DAYS - 1)
        attributes = x509.Name([x509.NameAttribute(kind, value) for kind, value in subject])
        return Issued(self._sign(attributes, own.public_key(), names, begins, ends, authority=False), own)

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
        names: Sequence[str],
        begins: datetime,
        ends: datetime,
        *,
        authority: bool,
    ) -> x509.Certificate:
        issuer = self.certificate.subject if hasattr(self, "certificate") else subject
        serial = x509.random_serial_number()
        builder = x509.CertificateBuilder(issuer, subject, key, serial, begins, ends)
        builder = builder.add_extension(x509.BasicConstraints(authority, None), critical=True)
        if authority:
            builder = builder.add_extension(_SIGNS_CERTIFICATES, critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        from_issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = builder.add_extension(from_issuer, critical=False)
        if names:
            alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
            builder = builder.add_extension(alternatives, critical=not subject.rdns)  # RFC 5280 4.2.1.6
        return builder.sign(self.key, hashes.SHA256())


def _general_name(name: str) -> x509.GeneralName:
    if ":" in name and "/" in name:
        return x509.UniformResourceIdentifier(name)
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
