"""Whole streams through the whole road, channel, site, proxy and agent: the body's bytes are what the model server
sent, whatever they are and however they were cut, on either side.
"""

from __future__ import annotations

from itertools import pairwise

import h11
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.resources.models import Catalogue, Models
from hadesgw.resources.proxy import Proxy
from tests.http.model_server import ModelServer, ProxyNotes, make_agent
from tests.wire.door import Caller, Door, post

STREAMS = 10 * settings().max_examples
"""A thousand in a usual run."""
CHAT = b"/v1/chat/completions"

texts = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(
    ["é", "日本語", "👩‍💻", "\u2028", "\r\n", "0\r\n\r\n"]
)
events = st.one_of(
    texts.map(lambda text: b"data: " + text.encode() + b"\n\n"),
    texts.map(lambda text: b"event: x\r\ndata: " + text.encode() + b"\r\n\r\n"),
    st.sampled_from(
        [b": keep-alive\n\n", b"data: [DONE]\n\n", b"\n", b'data: {"error":{"code":500}}\n\n', b"id: 1\nretry: 5\n\n"]
    ),
    st.binary(min_size=1, max_size=30),
)
bodies = st.lists(events, max_size=12).map(b"".join)
cuts = st.lists(st.integers(0, 2000), max_size=12)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """`data` in pieces that end at these places, as far as it reaches."""
    borders = sorted({0, len(data), *(place for place in places if place < len(data))})
    return [data[start:end] for start, end in pairwise(borders)]


@st.composite
def chunked(draw: st.DrawFn, body: bytes) -> bytes:
    """`body` in chunks of any size, with heads in any spelling there is (RFC 9112 7.1)."""
    heads = st.sampled_from([b"%x", b"%X", b"%04x", b"%x;name=value", b'%x;a="b;c"'])
    chunks = [draw(heads) % len(piece) + b"\r\n" + piece + b"\r\n" for piece in cut(body, draw(cuts))]
    return b"".join(chunks) + draw(st.sampled_from([b"0\r\n\r\n", b"000\r\n\r\n", b"0;x\r\nx-trailer: 1\r\n\r\n"]))


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, bytes, bool]:
    """An answer of the model server: its body, its bytes on the wire, and whether its close ends it."""
    body = draw(bodies)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\n" % draw(st.sampled_from([b"text/event-stream", b"text/plain"]))
    framing = draw(st.sampled_from(["chunked", "chunked", "length", "close"]))
    if framing == "chunked":
        return body, head + b"transfer-encoding: chunked\r\n\r\n" + draw(chunked(body)), False
    if framing == "length":
        return body, head + b"content-length: %d\r\n\r\n" % len(body) + body, False
    return body, head + b"\r\n" + body, True


def next_event(client: h11.Connection) -> object | None:
    """The next thing `client` can make out; None when there is nothing more, or what there is broke off."""
    try:
        event = client.next_event()
    except h11.RemoteProtocolError as error:
        if "without sending complete message" not in str(error):
            raise
        return None
    return None if event in (h11.NEED_DATA, h11.PAUSED) else event


def read_by_another(data: bytes, closed: bool) -> list[tuple[int, bytes]]:
    """What an independent client makes of what the door sent: (status, body) of the answers that came to their end."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="POST", target="/", headers=[("Host", "x"), ("Content-Length", "0")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    if closed:
        client.receive_data(b"")
    whole: list[tuple[int, bytes]] = []
    status, body = 0, b""
    while (event := next_event(client)) is not None:
        if isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            whole.append((status, body))
            break
    return whole


class StreamTests(SynchronousTestCase):
    """Properties of the road."""

    def open(self) -> None:
        """A fresh door and model server."""
        self.door = Door()
        self.reactor = self.door.reactor
        self.server = ModelServer(self.reactor)
        agent = make_agent(self.reactor, self.server)
        self.notes = ProxyNotes()
        self.door.site.resource = Proxy(
            agent, Catalogue([Models(agent, [], self.reactor)]), lambda route: 1 << 20, 60.0, self.notes
        )

    def ask(self, version: bytes, room: int | None) -> Caller:
        """A client asks."""
        request = post(b"{}", b"X-Request-ID: req-1", target=CHAT).replace(b"HTTP/1.1", b"HTTP/" + version)
        return self.door.call(room).send(request)

    def play(self, caller: Caller, pieces: list[bytes], closes: bool) -> None:
        """The model server says these; a client that was given little room takes it bit by bit."""
        for piece in pieces:
            self.server.line.socket.arrive(piece)
            if caller.socket.room is not None:
                caller.take(len(piece) // 2)
            self.reactor.settle()
        if closes:
            self.server.line.socket.end()
        caller.take()

    @settings(max_examples=STREAMS, suppress_health_check=[HealthCheck.too_slow])
    @given(
        answers(),
        st.lists(st.integers(0, 3000), max_size=30),
        st.sampled_from([b"1.1", b"1.1", b"1.0"]),
        st.sampled_from([None, None, 0, 300]),
    )
    def test_the_body_is_the_model_servers(
        self, answer: tuple[bytes, bytes, bool], places: list[int], version: bytes, room: int | None
    ) -> None:
        """To the byte, on a thousand streams, cut inside characters, events, chunk heads, wherever; however read."""
        body, wire, closes = answer
        self.open()
        caller = self.ask(version, room)
        self.play(caller, cut(wire, places), closes)
        self.assertEqual(read_by_another(caller.received, caller.ended), [(200, body)])
        self.assertEqual(caller.answer().one(b"x-request-id"), b"req-1")
        self.assertEqual((self.notes.abandoned, len(self.server.open)), (0, 0 if closes else 1))

    @given(
        answers(),
        st.lists(st.integers(0, 3000), max_size=5),
        st.integers(0, 3000),
        st.sampled_from(["end", "break_off"]),
    )
    def test_what_breaks_off_never_looks_whole(
        self, answer: tuple[bytes, bytes, bool], places: list[int], end: int, how: str
    ) -> None:
        """Cut off anywhere: no client takes it for an answer, though an error of ours may take its place."""
        _, wire, closes = answer
        if closes and how == "end":
            return  # there it is the end
        self.open()
        caller = self.ask(b"1.1", None)
        self.play(caller, cut(wire[: min(end, len(wire) - 1)] if wire else b"", places), False)
        getattr(self.server.line.socket, how)()
        self.reactor.settle()
        whole = read_by_another(caller.received, caller.ended)
        self.assertEqual([status for status, _ in whole if status < 500], [])
        if not whole:
            self.assertTrue(caller.ended)
