"""Certificates as values: what a file of them says, what is wrong with it, whom one names, and a new one of our own.

Reading raises :class:`CertificateError`, whose text says what was expected, as configuration errors do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import NamedTuple, TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hadesgw.policy.credentials import ClientCertificate

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class CertificateError(Exception):
    """PEM text that cannot be used; the text says what was expected."""


# -- What a server shows ---------------------------------------------------------------------------------------------


class Identity(NamedTuple):
    """A server's certificate with what belongs to it.

    :ivar chain: its own first, then those of the authorities that lead to the root.
    :ivar expires: the first moment at which one of them no longer counts.
    """

    chain: tuple[x509.Certificate, ...]
    key: PrivateKey
    expires: datetime


def read_chain(pem: bytes, now: datetime) -> tuple[x509.Certificate, ...]:
    """The certificates in `pem`, all of which count now.

    :raises CertificateError: if there are none, or one has expired or does not count yet.
    """
    chain = _certificates(pem)
    for certificate in chain:
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if now >= ends:
            raise CertificateError(f"a certificate that counts, got one that expired {_told(ends)}")
        if now < begins:
            raise CertificateError(f"a certificate that counts, got one from {_told(begins)} on; is the clock right?")
    return chain


def read_identity(chain: tuple[x509.Certificate, ...], key_pem: bytes) -> Identity:
    """The identity of a certificate and its private key.

    :param key_pem: PKCS #8 or the older forms, not encrypted: nobody is there to type a passphrase.
    :raises CertificateError: if there is no such key, or it is another one's.
    """
    key = _key(key_pem)
    try:
        belongs = key.public_key() == chain[0].public_key()
    except (UnsupportedAlgorithm, ValueError):
        belongs = False
    if not belongs:
        raise CertificateError("the key of the first certificate in tls.certificate, got another's")
    return Identity(chain, key, min(certificate.not_valid_after_utc for certificate in chain))


def _key(pem: bytes) -> PrivateKey:
    try:
        key = load_pem_private_key(pem, None)
    except TypeError:
        raise CertificateError("a private key that is not encrypted") from None
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateError("a private key in PEM form") from None
    if not isinstance(key, PrivateKey):
        raise CertificateError("a private key of RSA, ECDSA or Ed25519")
    return key


def read_authorities(pem: bytes, now: datetime) -> tuple[x509.Certificate, ...]:
    """The authorities in `pem` that may vouch for clients now; those that have expired are left out.

    :raises CertificateError: if none is left, or one is no authority's.
    """
    authorities = _certificates(pem)
    for authority in authorities:
        if not _is_authority(authority):
            raise CertificateError("certificates of authorities, got one that may sign none (basic constraints)")
    current = tuple(authority for authority in authorities if now < authority.not_valid_after_utc)
    if not current:
        raise CertificateError("an authority that has not expired")
    return current


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def _certificates(pem: bytes) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except ValueError:
        raise CertificateError("certificates in PEM form") from None


def _told(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


# -- Whom a client's certificate names -------------------------------------------------------------------------------


def client_certificate(certificate: x509.Certificate) -> ClientCertificate:
    """What a certificate that TLS has verified says of its holder.

    Alternative names are of a kind that says what they mean (RFC 9525 section 6.2); of the subject only the whole
    counts, never a common name taken out of it. A name that is not as its kind demands is no name: wild cards in DNS
    names, for one, would be several clients.
    """
    names = {certificate.subject.rfc4514_string()} - {""}
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        pass
    else:
        hosts = map(str.lower, alternatives.get_values_for_type(x509.DNSName))
        names |= {f"DNS:{host}" for host in hosts if _HOST.fullmatch(host)}
        uris = alternatives.get_values_for_type(x509.UniformResourceIdentifier)
        names |= {f"URI:{uri}" for uri in uris if _URI.fullmatch(uri)}
    return ClientCertificate(frozenset(names), certificate.not_valid_after_utc)


_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")


# -- A certificate of our own ----------------------------------------------------------------------------------------


class SelfSigned(NamedTuple):
    """A new certificate that vouches for itself, and its key, both in PEM form."""

    certificate: bytes
    key: bytes
    expires: datetime
    fingerprint: str
    """Of the certificate by SHA-256, as browsers show it."""


def require_name(name: str) -> str:
    """`name` as a certificate spells it: a host name in lower case, its first label perhaps ``*``, or an IP address.

    :raises CertificateError: if it is neither.
    """
    host = name.lower()
    if not (_is_address(host) or _HOST.fullmatch(host.removeprefix("*."))):
        raise CertificateError("a host name or an IP address")
    return host


def self_sign(names: Sequence[str], now: datetime, days: int, serial: Callable[[], int]) -> SelfSigned:
    """Make a certificate for `names` with a new key (ECDSA on P-256) that counts for `days`.

    It counts from an hour ago, for clients whose clocks are late. It is a server's only, and no authority: whoever
    trusts it trusts nothing else by that.

    :param names: as :func:`require_name` gives them; at least one.
    :param serial: draws a serial number, such as :func:`cryptography.x509.random_serial_number`.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hadesgw, self-signed")])
    expires = now.replace(microsecond=0) + timedelta(days=days)
    builder = (
        x509.CertificateBuilder(subject, subject, key.public_key(), serial())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(expires)
    )
    for extension, critical in _extensions(names, key.public_key()):
        builder = builder.add_extension(extension, critical)
    certificate = builder.sign(key, hashes.SHA256())
    return SelfSigned(
        certificate.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        expires,
        certificate.fingerprint(hashes.SHA256()).hex(":").upper(),
    )


def _extensions(names: Sequence[str], key: ec.EllipticCurvePublicKey) -> Iterable[tuple[x509.ExtensionType, bool]]:
    usages = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    yield x509.SubjectAlternativeName([_general_name(name) for name in names]), False
    yield x509.BasicConstraints(ca=False, path_length=None), True
    yield x509.KeyUsage(digital_signature=True, **usages), True
    yield x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False
    yield x509.SubjectKeyIdentifier.from_public_key(key), False


def _general_name(name: str) -> x509.GeneralName:
    return x509.IPAddress(ip_address(name)) if _is_address(name) else x509.DNSName(name)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
