"""WebSocket frames as bytes: a client's are made, the server's are read (RFC 6455 5.2)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

MASK = b"\x37\xfa\x21\x3d"
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nX-Request-ID: mine\r\n\r\n"
)
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def frame(opcode: int, payload: bytes = b"", fin: bool = True, masked: bool = True, length: int | None = None) -> bytes:
    """A client's frame; `length` claims another length than the payload's."""
    claimed = len(payload) if length is None else length
    bit = 0x80 if masked else 0
    if claimed < 126:
        size = bytes([bit | claimed])
    elif claimed < 1 << 16:
        size = bytes([bit | 126]) + struct.pack("!H", claimed)
    else:
        size = bytes([bit | 127]) + struct.pack("!Q", claimed)
    body = bytes(byte ^ MASK[at % 4] for at, byte in enumerate(payload)) if masked else payload
    return bytes([(0x80 if fin else 0) | opcode]) + size + (MASK if masked else b"") + body


class Frame(NamedTuple):
    """A frame of the server's."""

    opcode: int
    payload: bytes

    @property
    def code(self) -> int:
        """Of a close frame."""
        assert self.opcode == CLOSE, self
        return int(struct.unpack("!H", self.payload[:2])[0])


def frames(data: bytes) -> Iterator[Frame]:
    """The server's frames, which are whole, not masked, and not fragmented."""
    while data:
        assert data[0] & 0xF0 == 0x80, data[:2]
        size, at = data[1], 2
        assert size < 128, "a server does not mask"
        if size == 126:
            size, at = struct.unpack("!H", data[2:4])[0], 4
        elif size == 127:
            size, at = struct.unpack("!Q", data[2:10])[0], 10
        assert len(data) >= at + size, "a frame that is not whole"
        yield Frame(data[0] & 0x0F, data[at : at + size])
        data = data[at + size :]
