"""The opening handshake: whom it lets through, and the fields that answer it."""

from __future__ import annotations

from base64 import b64encode

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from wsproto.utilities import generate_accept_token

from hadesgw.http.framing import HeadLimits, read_head
from hadesgw.http.handshake import Handshake, read_handshake
from hadesgw.policy.refusals import Refused

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # both are RFC 6455 1.3's example

FIELDS = {
    b"Upgrade": b"websocket",
    b"Connection": b"Upgrade",
    b"Sec-WebSocket-Key": KEY,
    b"Sec-WebSocket-Version": b"13",
}


def judge(changes: dict[bytes, bytes | None] | None = None, extra: bytes = b"", version: bytes = b"1.1") -> Handshake:
    """Judge the usual handshake with some fields changed, or taken out by None, and with further lines."""
    fields = {**FIELDS, **(changes or {})}
    lines = b"".join(b"%b: %b\r\n" % (name, value) for name, value in fields.items() if value is not None)
    head = b"GET /ws/codex HTTP/%b\r\nHost: localhost\r\n%b%b\r\n" % (version, lines, extra)
    return read_handshake(read_head(head, HeadLimits()))


class HandshakeTests(SynchronousTestCase):
    """RFC 6455 4.2, rule by rule."""

    def assert_refused(self, reason: str, changes: dict[bytes, bytes | None], extra: bytes = b"") -> None:
        """Such a handshake is refused for that reason."""
        with self.assertRaises(Refused) as raised:
            judge(changes, extra)
        self.assertEqual(raised.exception.refusal.reason, reason, (changes, extra))

    def test_good(self) -> None:
        """The RFC's own example is answered as it says; no subprotocol and no extension are ever made up."""
        for changes, extra in (
            ({}, b""),
            ({b"Upgrade": b"WebSocket"}, b""),
            ({b"Upgrade": b"h2c, websocket"}, b""),
            ({b"Connection": b"keep-alive, upgrade"}, b""),
            ({b"Connection": b"keep-alive"}, b"Connection: Upgrade\r\n"),
            ({}, b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"),
            ({}, b"Sec-WebSocket-Protocol: graphql-ws\r\n"),
            ({}, b"Content-Length: 0\r\n"),
        ):
            handshake = judge(dict(changes), extra)
            self.assertEqual(handshake.fields, [(b"Upgrade", b"websocket"), (b"Sec-WebSocket-Accept", ACCEPT)], extra)

    def test_our_protocol_is_selected_and_no_ticket_repeated(self) -> None:
        """Where it is offered, beside whatever else."""
        for offer in (b"hades.v1", b"hades.v1, hades.ticket.abc", b"x, hades.ticket.abc ,hades.v1"):
            handshake = judge({}, b"Sec-WebSocket-Protocol: %b\r\n" % offer)
            self.assertEqual(handshake.fields[2:], [(b"Sec-WebSocket-Protocol", b"hades.v1")])

    def test_no_wish_for_a_websocket(self) -> None:
        """An ordinary request is told what is spoken here; so is one by HTTP/1.0, which knows no upgrade."""
        for upgrade in (None, b"h2c", b"websockets", b"web socket"):
            self.assert_refused("upgrade_required", {b"Upgrade": upgrade})
        with self.assertRaises(Refused) as raised:
            judge(version=b"1.0")
        self.assertEqual(raised.exception.refusal.status, 426)

    def test_other_versions(self) -> None:
        """The drafts' numbers, and what is no number."""
        for version in (b"8", b"0", b"14", b"013", b"13, 8", b"xiii"):
            self.assert_refused("websocket_version", {b"Sec-WebSocket-Version": version})

    def test_not_well_formed(self) -> None:
        """A field that is missing, doubled or spelled otherwise; a body; a list of protocols that is none."""
        cases: list[tuple[dict[bytes, bytes | None], bytes]] = [
            ({b"Connection": None}, b""),
            ({b"Connection": b"keep-alive"}, b""),
            ({b"Sec-WebSocket-Version": None}, b""),
            ({}, b"Sec-WebSocket-Version: 13\r\n"),
            ({b"Sec-WebSocket-Key": None}, b""),
            ({}, b"Sec-WebSocket-Key: %b\r\n" % KEY),
            ({b"Sec-WebSocket-Key": b""}, b""),
            ({b"Sec-WebSocket-Key": b64encode(bytes(15))}, b""),
            ({b"Sec-WebSocket-Key": b64encode(bytes(17))}, b""),
            ({b"Sec-WebSocket-Key": KEY[:-2]}, b""),
            ({b"Sec-WebSocket-Key": KEY[:-3] + b"R=="}, b""),  # another spelling of the same bytes
            ({b"Sec-WebSocket-Key": KEY[:-4] + b"!Q=="}, b""),
            ({}, b"Content-Length: 1\r\n"),
            ({}, b"Transfer-Encoding: chunked\r\n"),
            ({}, b"Sec-WebSocket-Protocol: hades v1\r\n"),
            ({}, b"Sec-WebSocket-Protocol: hades.v1,\r\n"),
            ({}, b"Sec-WebSocket-Protocol:\r\n"),
        ]
        for changes, extra in cases:
            self.assert_refused("bad_upgrade", changes, extra)

    @given(st.binary(min_size=16, max_size=16))
    def test_any_key(self, key: bytes) -> None:
        """Any 16 bytes are a key, answered as another implementation answers them."""
        handshake = judge({b"Sec-WebSocket-Key": b64encode(key)})
        self.assertEqual(handshake.accept, generate_accept_token(b64encode(key)))
