"""The TLS of our listeners: whose certificate, which ciphers, what is asked of clients.

What is offered is Mozilla's "intermediate" (version 5.7), without its finite-field key exchanges, which cost a server
much and which no client needs that can do the rest. `tests/real/sslyze` holds us to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple

from cryptography import x509
from OpenSSL import SSL
from OpenSSL.crypto import X509, X509StoreFlags
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from hadesgw.config import ConfigError, Tls
from hadesgw.http.site import Site
from hadesgw.http.tls import TlsFactory
from hadesgw.policy.certificates import CertificateError, Identity, read_authorities, read_chain, read_identity
from hadesgw.policy.guarded_file import SECRET, UNFORGEABLE, Unfit, read_guarded

TLS_1_3_SUITES = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
TLS_1_2_CIPHERS = b":".join(
    [
        b"ECDHE-ECDSA-AES128-GCM-SHA256",
        b"ECDHE-RSA-AES128-GCM-SHA256",
        b"ECDHE-ECDSA-AES256-GCM-SHA384",
        b"ECDHE-RSA-AES256-GCM-SHA384",
        b"ECDHE-ECDSA-CHACHA20-POLY1305",
        b"ECDHE-RSA-CHACHA20-POLY1305",
    ]
)
GROUPS = b"X25519:P-256:P-384"
ALPN = b"http/1.1"
_LARGEST = 4 << 20  # bytes of a file: a bundle of all public authorities has less than 1


class Credentials(NamedTuple):
    """What the files of ``[tls]`` say.

    :ivar authorities: who may vouch for clients; empty if clients are not asked.
    """

    identity: Identity
    authorities: tuple[x509.Certificate, ...]


def load_credentials(tls: Tls, source: str, credentials_directory: str | None, now: datetime) -> Credentials | None:
    """Read the files of ``[tls]``; None if it names none.

    :param source: the configuration's name, for errors.
    :param credentials_directory: the value of `$CREDENTIALS_DIRECTORY`, or None.
    :param now: the time, with its time zone.
    :raises ConfigError: for a file that cannot be used, with its key.
    """
    if not tls.certificate:
        return None
    with _blaming(source, "tls.certificate"):
        chain = read_chain(read_guarded(tls.certificate, 0, _LARGEST, None), now)
    with _blaming(source, "tls.private_key"):
        key = read_guarded(tls.private_key, SECRET, _LARGEST, credentials_directory)
        identity = read_identity(chain, key)
    authorities: tuple[x509.Certificate, ...] = ()
    if tls.client_ca:
        with _blaming(source, "tls.client_ca"):
            pem = read_guarded(tls.client_ca, UNFORGEABLE, _LARGEST, credentials_directory)
            authorities = read_authorities(pem, now)
    credentials = Credentials(identity, authorities)
    with _blaming(source, "tls.certificate"):
        make_context(credentials)
    return credentials


@contextmanager
def _blaming(source: str, key: str) -> Iterator[None]:
    try:
        yield
    except (Unfit, CertificateError) as error:
        raise ConfigError(source, key, str(error)) from None


def make_context(credentials: Credentials) -> SSL.Context:
    """OpenSSL's settings for a server with these credentials.

    Sessions cannot be resumed. A ticket would let a client in again whose certificate has expired since or whose
    authority has been taken out, and its key would undo the forward secrecy of TLS 1.2 for as long as we run.

    :raises CertificateError: if OpenSSL does not take the certificate or its key, because it is too weak for instance.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_session_id(b"hadesgw")  # OpenSSL wants one wherever clients have certificates
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # an idle connection holds no record buffers
    context.set_cipher_list(TLS_1_2_CIPHERS)
    context.set_tls13_ciphersuites(TLS_1_3_SUITES)
    _set_groups(context)
    _set_alpn(context)
    _show(context, credentials.identity)
    _ask(context, credentials.authorities)
    return context


def _set_groups(context: SSL.Context) -> None:
    # pyOpenSSL has a method for a single curve only; its binding has what we need under its older name.
    if SSL._lib.SSL_CTX_set1_curves_list(context._context, GROUPS) != 1:  # type: ignore[attr-defined]
        raise CertificateError(f"an OpenSSL that knows {GROUPS.decode()}")


def _set_alpn(context: SSL.Context) -> None:
    try:
        context.set_alpn_select_callback(_select_protocol)
    except MemoryError:
        # Where memory may not become executable (systemd's MemoryDenyWriteExecute), cffi cannot make a callback. A
        # server that answers no ALPN speaks HTTP/1.1 all the same: clients take it for one that never heard of it.
        pass


def _select_protocol(connection: SSL.Connection, offered: Sequence[bytes]) -> bytes:
    """RFC 7301 section 3.2: whoever does not speak HTTP/1.1 is told so, and not taken for somebody who does."""
    if ALPN not in offered:
        raise SSL.Error([("SSL routines", "", "no application protocol")])
    return ALPN


def _show(context: SSL.Context, identity: Identity) -> None:
    try:
        context.use_certificate(identity.chain[0])
        for certificate in identity.chain[1:]:
            context.add_extra_chain_cert(certificate)
        context.use_privatekey(identity.key)
        context.check_privatekey()
    except SSL.Error as error:
        raise CertificateError(f"a certificate that OpenSSL takes: {_reason(error)}") from None


def _reason(error: SSL.Error) -> str:
    queue = error.args[0] if error.args else ()
    return "; ".join(reason for _, _, reason in queue) or "it does not say why"


def _ask(context: SSL.Context, authorities: Sequence[x509.Certificate]) -> None:
    """Ask clients for a certificate of these authorities. Who has none may show a token instead: the guard decides."""
    if not authorities:
        return
    store = context.get_cert_store()
    assert store is not None
    store.set_flags(X509StoreFlags.PARTIAL_CHAIN)  # an authority in between is as good as a root
    for authority in authorities:
        store.add_cert(X509.from_cryptography(authority))
        context.add_client_ca(authority)
    context.set_verify(SSL.VERIFY_PEER)


@implementer(IOpenSSLServerConnectionCreator)
class TlsServer:
    """The TLS of all our listeners. Its certificate can be exchanged while connections are open.

    :ivar expires: when the certificate in use, or one of its chain, ceases to count.
    """

    def __init__(self, credentials: Credentials) -> None:
        self.use(credentials)

    def use(self, credentials: Credentials) -> None:
        """Show this certificate to clients, and take theirs from these authorities, from the next connection on.

        :raises CertificateError: as :func:`make_context`; then nothing has changed.
        """
        self._context = make_context(credentials)
        self.expires = credentials.identity.expires

    def under(self, site: Site, clock: IReactorTime) -> TlsFactory:
        """The factory of a listener whose connections are TLS and then the site's."""
        return TlsFactory(self, False, site, clock)

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:  # noqa: N802
        """The TLS side of a new connection."""
        return SSL.Connection(self._context, None)
