"""The opening handshake of a WebSocket (RFC 6455 4.2), without a socket: judged, and answered.

What the RFC asks of every request (Host, Origin, framing) has been judged before; here is what it asks of this one.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from typing import NamedTuple

from hadesgw.http.framing import Fields, RequestHead
from hadesgw.policy import refusals
from hadesgw.policy.refusals import Refused
from hadesgw.policy.tickets import PROTOCOL, offers_protocol

VERSION = b"13"
UPGRADE_FIELDS: Fields = [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")]
"""What stands in a 426 (RFC 9110 15.5.22)."""
VERSION_FIELDS: Fields = [*UPGRADE_FIELDS, (b"Sec-WebSocket-Version", VERSION)]
"""Likewise, where the version is at fault (RFC 6455 4.4)."""
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 1.3
_KEY = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")  # 16 bytes in base64, spelled the one way there is


class Handshake(NamedTuple):
    """A handshake that passed every rule.

    :ivar accept: the value of `Sec-WebSocket-Accept`.
    :ivar protocol: the subprotocol we select, or None when ours was not offered.
    """

    accept: bytes
    protocol: bytes | None

    @property
    def fields(self) -> Fields:
        """The fields of the 101, but for `Connection`. No extension is ever agreed to."""
        chosen = [(b"Sec-WebSocket-Protocol", self.protocol)] if self.protocol is not None else []
        return [(b"Upgrade", b"websocket"), (b"Sec-WebSocket-Accept", self.accept), *chosen]


def read_handshake(head: RequestHead) -> Handshake:
    """Judge a GET request that wants to become a WebSocket.

    :raises Refused: UPGRADE_REQUIRED when it does not want that, WEBSOCKET_VERSION, or BAD_UPGRADE.
    """
    values = head.values
    if head.minor == 0 or b"websocket" not in _tokens(values(b"upgrade")):
        raise Refused(refusals.UPGRADE_REQUIRED)
    keys, versions = values(b"sec-websocket-key"), values(b"sec-websocket-version")
    offer = offers_protocol(values(b"sec-websocket-protocol"))
    if b"upgrade" not in _tokens(values(b"connection")) or head.length != 0 or len(versions) != 1 or offer is None:
        raise Refused(refusals.BAD_UPGRADE)
    if versions[0] != VERSION:
        raise Refused(refusals.WEBSOCKET_VERSION)
    if len(keys) != 1 or _KEY.fullmatch(keys[0]) is None:
        raise Refused(refusals.BAD_UPGRADE)
    digest = hashlib.sha1(keys[0] + _GUID, usedforsecurity=False).digest()
    return Handshake(base64.b64encode(digest), PROTOCOL if offer else None)


def _tokens(values: Sequence[bytes]) -> set[bytes]:
    """The members of a list of tokens, which are compared without regard to case (RFC 9110 5.6.1, 7.8)."""
    return {token.strip(b" \t") for value in values for token in value.lower().split(b",")}
