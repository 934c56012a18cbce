"""TLS under a channel, with the ends of a connection meaning what they mean without it.

Twisted's TLS transport writes what the channel writes, record by record; here each record is tried at once, as it is
without TLS, and a handshake of more than 32 KiB is sent to its end. Three things it does at the end of a connection are
not what a server of many clients wants, and are done otherwise:

- It closes only when the client has said goodbye too. A client that keeps the connection in a pool does not look at it
  until it needs it again, and would hold up a drain. TLS does not ask for that (RFC 8446 section 6.1).
- It has no closing of only our half, which lets a client that is still sending read our refusal.
- When the client says goodbye while an answer is held back because it does not read, nobody is told.
"""

from __future__ import annotations

from functools import cached_property

from OpenSSL.SSL import Connection, WantReadError
from twisted.internet.interfaces import ITCPTransport
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure

from hadesgw.http.channel import Channel
from hadesgw.http.transport import eager_writer
from hadesgw.policy.certificates import client_certificate
from hadesgw.policy.credentials import ClientCertificate

_PIECE = 1 << 15
"""Bytes to take from OpenSSL at a time: more than a record of 16 KiB of text. A handshake may have more to send."""


class TlsTransport(TLSMemoryBIOProtocol):
    """One TLS connection: a protocol to the TCP transport, a transport to the channel."""

    transport: ITCPTransport
    wrappedProtocol: Channel  # noqa: N815 - Twisted's names, here and below
    _tlsConnection: Connection  # noqa: N815
    _closing = False

    def makeConnection(self, transport: ITCPTransport) -> None:
        """TCP is there: begin the handshake."""
        self._send = eager_writer(transport)
        TLSMemoryBIOProtocol.makeConnection(self, transport)

    def _flushSendBIO(self) -> None:  # noqa: N802
        """Send what OpenSSL has for the client, at once if that can be; nothing on a connection that is dropped."""
        if self._aborted:
            return
        try:
            while len(data := self._tlsConnection.bio_read(_PIECE)) == _PIECE:
                self._send(data)
        except WantReadError:
            return
        self._send(data)

    @cached_property
    def client_certificate(self) -> ClientCertificate | None:
        """What the client has proved to be, once the handshake is done; None if it has shown no certificate."""
        certificate = self._tlsConnection.get_peer_certificate(as_cryptography=True)
        return None if certificate is None else client_certificate(certificate)

    # -- Ends ----------------------------------------------------------------------------------------------------------

    def loseWriteConnection(self) -> None:
        """Send no more, and say so; read on."""
        TLSMemoryBIOProtocol.loseConnection(self)

    def loseConnection(self) -> None:
        """Close once everything is written, without waiting for the client to agree."""
        self._closing = True
        if self.disconnecting:
            self.transport.loseConnection()
        else:
            TLSMemoryBIOProtocol.loseConnection(self)

    def _shutdownTLS(self) -> None:  # noqa: N802
        """Our goodbye is written."""
        TLSMemoryBIOProtocol._shutdownTLS(self)
        if self._closing:
            self.transport.loseConnection()

    def _tlsShutdownFinished(self, reason: Failure | None) -> None:  # noqa: N802
        """The client said goodbye, or something that is not TLS: nothing written from here on is sent."""
        TLSMemoryBIOProtocol._tlsShutdownFinished(self, reason)
        self.wrappedProtocol.client_closed()


class TlsFactory(TLSMemoryBIOFactory):
    """Puts TLS under the channels of a site; :class:`hadesgw.service.tls.TlsServer` makes one for a listener."""

    protocol = TlsTransport
