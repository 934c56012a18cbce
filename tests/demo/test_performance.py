"""Pace, faults, slow readers."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from hadesgw.demo.performance import Gate
from tests.demo.playing import NOW, Playhouse, Transport, chat, leave, request_bytes, taken_apart

STREAM = "/v1/chat/completions"


def begin(house: Playhouse, prompt: str, **more: Any) -> tuple[Any, Transport]:
    """A chat on a connection of its own, of which no time has passed yet."""
    channel, transport = house.connect()
    body = json.dumps(chat(prompt, **more)).encode()
    channel.dataReceived(request_bytes("POST", STREAM, body, {"connection": "close"}))
    return channel, transport


def times(transport: Transport) -> list[float]:
    """When each write came, in seconds after the request."""
    return [round(when - NOW, 3) for when, _, _ in transport.writes]


class PaceTests(SynchronousTestCase):
    """When tokens come."""

    def test_tokens_come_at_the_pace(self) -> None:
        """The head at once, then a token each tenth of a second, however late the one before was."""
        house = Playhouse(tokens_per_second=10)
        _, transport = begin(house, "x", max_tokens=4, stream=True)
        house.run(transport)
        self.assertEqual(times(transport), [0, 0.1, 0.1, 0.2, 0.3, 0.4, 0.4, 0.4])

    def test_a_late_reactor_catches_up(self) -> None:
        """Time lost is not added to what follows."""
        house = Playhouse(tokens_per_second=10)
        _, transport = begin(house, "x", max_tokens=4, stream=True)
        house.clock.pump([0, 0, 0.35])
        house.run(transport)
        self.assertEqual(times(transport)[1:], [0.35, 0.35, 0.35, 0.35, 0.4, 0.4, 0.4])

    def test_a_whole_answer_takes_as_long(self) -> None:
        """Head and body come when its last token is made."""
        house = Playhouse(tokens_per_second=10)
        _, transport = begin(house, "x", max_tokens=4)
        house.run(transport)
        self.assertEqual(times(transport), [0.4, 0.4])

    def test_without_a_pace_it_is_as_fast_as_the_reader(self) -> None:
        """A turn of the reactor for each token, so that others get theirs."""
        house = Playhouse(tokens_per_second=0)
        _, transport = begin(house, "x", max_tokens=50, stream=True)
        house.clock.pump([0.0] * 10)
        self.assertFalse(transport.disconnecting)
        house.run(transport)
        self.assertEqual(set(times(transport)), {0.0})

    def test_the_answer_can_have_its_own_pace(self) -> None:
        """And a wait before it."""
        house = Playhouse(tokens_per_second=10)
        _, transport = begin(house, "rehearse: long tokens=2 tokens_per_second=1 wait_seconds=3", stream=True)
        house.run(transport)
        self.assertEqual(times(transport), [0, 4, 4, 5, 5, 5, 5])

    def test_responses_open_with_the_head(self) -> None:
        """That protocol says first that it has begun."""
        house = Playhouse(tokens_per_second=10)
        channel, transport = house.connect()
        body = b'{"input":"x","stream":true,"max_output_tokens":1}'
        channel.dataReceived(request_bytes("POST", "/v1/responses", body, {"connection": "close"}))
        house.run(transport)
        self.assertEqual(times(transport)[:4], [0, 0, 0, 0.1])


class FaultTests(SynchronousTestCase):
    """What a script can do to an answer."""

    def test_a_cut_leaves_the_stream_without_an_end(self) -> None:
        """After as many tokens as asked for, no more and no less."""
        answered = Playhouse().chat("rehearse: cut after_tokens=3", stream=True)
        self.assertEqual((len(answered.chunks), answered.ended), (4, False))

    def test_a_cut_before_anything(self) -> None:
        """The head is there, or not even that if nothing is streamed."""
        house = Playhouse()
        self.assertEqual(house.chat("rehearse: cut after_tokens=0", stream=True).chunks, [])
        _, transport = begin(house, "rehearse: cut")
        house.run(transport)
        self.assertEqual((transport.value(), transport.disconnecting), (b"", True))

    def test_an_engine_dies_in_every_way_of_answering(self) -> None:
        """In a stream after its tokens; otherwise with 500."""
        streamed = Playhouse().chat("rehearse: engine-death after_tokens=3", stream=True)
        self.assertEqual((len(streamed.chunks), streamed.ended), (6, True))
        whole = Playhouse().chat("rehearse: engine-death")
        self.assertEqual((whole.status, whole.json()["error"]["type"]), (500, "InternalServerError"))

    def test_a_fault_after_the_answer_s_end_comes_at_its_end(self) -> None:
        """It comes in any case."""
        self.assertFalse(Playhouse().chat("rehearse: cut after_tokens=9999", stream=True).ended)

    def test_a_stall_ends_after_its_time(self) -> None:
        """And the answer goes on at its pace."""
        house = Playhouse(tokens_per_second=10)
        _, transport = begin(house, "rehearse: stall after_tokens=1 stall_seconds=60", max_tokens=2, stream=True)
        house.run(transport)
        self.assertEqual(times(transport), [0, 0.1, 0.1, 60.2, 60.2, 60.2])

    def test_a_stall_for_ever_has_no_end(self) -> None:
        """Streamed or not, nothing more is planned, and the client's leaving ends it."""
        for stream in (True, False):
            house = Playhouse()
            channel, transport = begin(house, "rehearse: stall after_tokens=1", stream=stream)
            house.run(transport)
            self.assertEqual((house.clock.getDelayedCalls(), house.theatre.meters.running), ([], 1))
            leave(channel)
            self.assertEqual(house.theatre.meters.running, 0)

    def test_a_stall_can_have_comments(self) -> None:
        """As often as asked for, and not in the middle of an answer that is not streamed."""
        prompt = "rehearse: stall after_tokens=1 stall_seconds=5 comment_seconds=2"
        house = Playhouse(tokens_per_second=10)
        _, transport = begin(house, prompt, max_tokens=2, stream=True)
        house.run(transport)
        comments = [round(when - NOW, 3) for when, _, data in transport.writes if b": keep-alive\n\n" in data]
        self.assertEqual(comments, [2.1, 4.1, 5.1])
        self.assertEqual(len(Playhouse().chat(prompt, max_tokens=2).json()["choices"]), 1)

    def test_comments_can_go_on_for_ever(self) -> None:
        """A stream that lives and says nothing."""
        house = Playhouse(tokens_per_second=10)
        _, transport = begin(house, "rehearse: stall comment_seconds=1 after_tokens=0", stream=True)
        for _ in range(100):
            house.clock.advance(1)
        self.assertEqual(transport.value().count(b": keep-alive\n\n"), 98)
        self.assertNotIn(b"data: ", transport.value())


class ReaderTests(SynchronousTestCase):
    """Readers that are slow, and readers that leave."""

    def test_nothing_is_made_that_nobody_reads(self) -> None:
        """A full connection stops the tokens, a drained one lets them go on to the same end."""
        house = Playhouse(tokens_per_second=10)
        channel, transport = begin(house, "x", max_tokens=30, stream=True)
        house.clock.pump([0.1] * 10)
        channel.pauseProducing()
        house.clock.pump([0.1] * 5)
        written, made = len(transport.writes), house.theatre.meters.generated_tokens
        house.clock.pump([1.0] * 20)
        self.assertEqual((len(transport.writes), house.theatre.meters.generated_tokens), (written, made))
        channel.resumeProducing()
        house.run(transport)
        answered = taken_apart(transport.value())
        self.assertEqual((answered.ended, house.theatre.meters.generated_tokens), (True, 30))

    def test_a_reader_that_leaves_ends_the_work(self) -> None:
        """In mid-stream, while waiting, while paused: nothing is left to come."""
        for prompt, more, seconds, paused in (
            ("x", {"stream": True}, 0.5, False),
            ("x", {"stream": True}, 0.5, True),
            ("x", {}, 0.5, False),
            ("rehearse: slow-start", {"stream": True}, 1, False),
            ("x", {}, 0, False),
        ):
            house = Playhouse(tokens_per_second=10)
            channel, _ = begin(house, prompt, **more)
            house.clock.pump([0, 0, seconds])
            if paused:
                channel.pauseProducing()
                house.clock.pump([0.1] * 3)
            leave(channel)
            self.assertEqual((house.theatre.meters.running, house.clock.getDelayedCalls()), (0, []))


class GateTests(SynchronousTestCase):
    """The gate itself."""

    def test_a_gate_is_a_push_producer(self) -> None:
        """And may be told the same thing twice."""
        gate = Gate()
        self.assertTrue(verifyObject(IPushProducer, gate))
        for tell in (gate.resumeProducing, gate.pauseProducing, gate.pauseProducing, gate.resumeProducing):
            tell()
        gate.stopProducing()
        self.assertRaises(StopIteration, gate.passed().send, None)
