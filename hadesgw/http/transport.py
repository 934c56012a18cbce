"""Two short cuts through Twisted's stream transports, each measured to matter on every event of every stream.

Writing: `transport.write` only buffers and asks the reactor to call back when the socket is writable, which it nearly
always is; trying the send in the same turn saves two `epoll_ctl` calls and a turn of the reactor. Reading: a UNIX
transport uses `recvmsg` to be able to receive descriptors; nobody sends us any, and `recv` costs a fraction.

Both apply to Twisted's plain socket transports only. Anything else (TLS, a test's transport) is used as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType

from twisted.internet import tcp, unix
from twisted.internet.interfaces import ITransport


def eager_writer(transport: ITransport) -> Callable[[bytes], None]:
    """A `write` for `transport` that tries to send at once.

    Order is kept: as soon as anything is buffered, everything goes by the buffer. What the socket does not take is
    buffered by the transport, which then pauses its producer as usual. An error is left for the reactor to find.
    """
    if not isinstance(transport, tcp.Connection) or transport.TLS:
        return transport.write

    send = transport.socket.send

    def write(data: bytes) -> None:
        if transport.dataBuffer or transport._tempDataLen or not transport.connected or transport.disconnecting:
            transport.write(data)
            return
        try:
            sent = send(data)
        except OSError:  # full, or broken: the transport's own next try tells which
            sent = 0
        if sent < len(data):
            transport.write(data[sent:] if sent else data)

    return write


def in_turn(transport: ITransport, write: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """`write`, or what calls it at the end of the reactor's turn, together with all that is sent in the turn.

    Only a reactor that has a `gather` does that (see `service/turns.py`), and only for a plain transport.

    :param write: `transport.write`, or its :func:`eager_writer`.
    """
    gather = getattr(getattr(transport, "reactor", None), "gather", None)
    if gather is None or not isinstance(transport, tcp.Connection) or transport.TLS:
        return write

    def write_in_turn(data: bytes) -> None:
        if transport.dataBuffer or transport._tempDataLen:  # it waits anyway, behind what is there
            transport.write(data)
        else:
            gather(write, data)

    return write_in_turn


def read_plainly(transport: ITransport) -> None:
    """Let a UNIX transport read by `recv`."""
    if isinstance(transport, unix._SendmsgMixin) and isinstance(transport, tcp.Connection):
        transport.doRead = MethodType(tcp.Connection.doRead, transport)  # type: ignore[method-assign]
