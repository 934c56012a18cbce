"""Short cuts through Twisted's stream transports, each measured to matter.

Writing: `transport.write` only buffers and asks the reactor to call back when the socket is writable, which it nearly
always is; trying the send in the same turn saves two `epoll_ctl` calls and a turn of the reactor. Reading: a UNIX
transport uses `recvmsg` to be able to receive descriptors; nobody sends us any, and `recv` costs a fraction. Of a large
body the kernel often holds more than the 64 KiB that a transport takes from it at once; taking all spares the rest of
the way eight turns out of nine.

All apply to Twisted's plain socket transports only. Anything else (TLS, a test's transport) is used as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from fcntl import ioctl
from functools import partial
from struct import unpack
from termios import FIONREAD
from types import MethodType

from twisted.internet import tcp, unix
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import ITransport
from twisted.internet.main import CONNECTION_LOST

MOST_READ_BYTES = 1024 * 1024
"""How much of a body that is waited for is read at once."""


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


def read_up_to(transport: ITransport, count: int) -> None:
    """Let `transport` read as much as `count` bytes at once, within bounds: what is known to come, and is waited for.

    Its `bufferSize` would do that as well, but it also says when a producer has written enough.
    """
    if not isinstance(transport, tcp.Connection) or transport.TLS:
        return
    if count > transport.bufferSize:
        most = min(count, MOST_READ_BYTES)
        transport.doRead = partial(_read_what_is_there, transport, most)  # type: ignore[method-assign]
    else:
        vars(transport).pop("doRead", None)
        read_plainly(transport)


def _read_what_is_there(transport: tcp.Connection, most: int) -> ConnectionLost | ConnectionDone | None:
    """As `tcp.Connection.doRead`, but all that is there, up to `most` bytes.

    How much that is has to be asked before, because room for more than comes is not given back whole: a piece of a few
    bytes would keep a page of memory for itself, and a body may come in as many pieces as its sender likes.
    """
    try:
        data = transport.socket.recv(max(transport.bufferSize, min(most, _readable(transport))))
    except BlockingIOError:
        return None
    except OSError:
        return CONNECTION_LOST
    return transport._dataReceived(data)


def _readable(transport: tcp.Connection) -> int:
    """How many bytes a read would find, by FIONREAD: see tcp(7) and unix(7). 0 where that cannot be told."""
    try:
        (count,) = unpack("i", ioctl(transport.fileno(), FIONREAD, bytes(4)))
    except OSError:
        return 0
    return int(count)
