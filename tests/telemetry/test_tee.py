"""Answers watched on their way: what is in the record and the meters, and what followers hear, whatever their end."""

from __future__ import annotations

import gc
import json
import time
import weakref
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry
from twisted.logger import ILogObserver, LogEvent, eventAsText, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import provider
from zope.interface.verify import verifyObject

from hadesgw.http.site import Request
from hadesgw.interfaces import IAnswerObserver, IProxyObserver, IRequestLog, Record
from hadesgw.resources.metered import Metered
from hadesgw.resources.models import Catalogue, Models
from hadesgw.resources.proxy import Proxy
from hadesgw.telemetry.followers import Followers
from hadesgw.telemetry.meters import UPSTREAM_ERROR, Meters
from hadesgw.telemetry.tee import Tee
from hadesgw.telemetry.watch_chat import ChatWatch
from hadesgw.telemetry.witness import ProxyWitness
from tests.http.model_server import STREAM, ModelServer, chunk, make_agent, measured
from tests.telemetry.streams import WORDS, Call, Work, sse
from tests.telemetry.test_conveyance import Lines
from tests.telemetry.test_followers import Onlooker
from tests.telemetry.test_watch_chat import chat
from tests.wire.door import Caller, Door, post

CHAT = b"/v1/chat/completions"
END = b"0\r\n\r\n"
WORK = Work(("Hey", "!"), (Call("search_recall", ('{"a":', "1}"), "whole"), Call("x", ("{]",), "broken")), usage=(7, 9))


class _Records(Lines):
    """A log that keeps the record of each request."""

    def __init__(self) -> None:
        Lines.__init__(self)
        self.records: list[Record] = []

    def request(self, request: Any, completed: bool, now: float) -> None:
        self.records.append(request.record)


class Case(SynchronousTestCase):
    """A door with the metered layer and the proxy behind it, and a model server."""

    def setUp(self) -> None:
        self.door = Door()
        self.clock = self.door.reactor
        self.server = ModelServer(self.clock)
        agent = make_agent(self.clock, self.server)
        self.registry = CollectorRegistry()
        meters = self.meters = Meters(self.registry)
        self.followers = Followers()
        self.log = _Records()
        verifyObject(IRequestLog, self.log)
        self.witness = ProxyWitness(meters, self.followers, self.clock, WORDS)
        verifyObject(IProxyObserver, self.witness)
        proxy = Proxy(agent, Catalogue([Models(agent, [], self.clock)]), lambda route: 10_000, 60.0, self.witness)
        self.door.site.resource = Metered(proxy, "/v1", self.clock, meters, self.log, self.followers)

    def call(self, body: bytes = b"{}", path: bytes = CHAT) -> Caller:
        """A client asks."""
        return self.door.call().send(post(body, target=path))

    def stream(self, work: Work, *, pause: float = 0.0, end: bytes = END) -> Caller:
        """A client asks, and this is streamed, each event by itself."""
        caller = self.call()
        self.server.say(STREAM)
        for event in chat(work):
            self.clock.advance(pause)
            self.server.say(chunk(sse([event])))
        if end:
            self.server.say(end)
        return caller

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"hades_codex_{name}", labels)

    @property
    def record(self) -> Record:
        """Of the last request."""
        return self.log.records[-1]


class StreamTests(Case):
    """Streams that come to their end."""

    def test_what_is_learned(self) -> None:
        """The client gets every byte; the record and the meters say what was in them."""
        caller = self.stream(WORK)
        self.assertEqual(caller.answer().body, sse(chat(WORK)))
        record = self.record
        self.assertEqual((record.response_id, record.tool_calls, record.memory_events), ("answer-1", 2, 1))
        self.assertEqual((record.prompt_tokens, record.completion_tokens, record.tokens_from), (7, 9, "upstream"))
        self.assertEqual((record.reason, record.stream, record.settle), (None, True, None))
        self.assertEqual(self.value("tool_calls_total", tool="search_recall"), 1)
        self.assertEqual(self.value("tool_calls_total", tool="other"), 1)
        self.assertEqual(self.value("tool_call_faults_total", fault="broken"), 1)
        self.assertEqual(self.value("memory_events_total", kind="tool_call"), 1)
        self.assertEqual(
            (self.value("tokens_total", kind="prompt"), self.value("tokens_total", kind="completion")), (7, 9)
        )
        self.assertIsNone(self.value("tokens_total", kind="completion_counted"))
        self.assertEqual(self.value("unreadable_events_total"), 0)

    def test_times(self) -> None:
        """The first event's, not the head's; and the gaps between reads that brought events."""
        caller = self.call()
        self.clock.advance(1.0)
        self.server.say(STREAM, chunk(b": keep-alive\n\n"))
        self.clock.advance(1.0)
        event = chunk(sse([("", "{}")]))
        self.server.say(event)
        for pause in (0.02, 0.3):
            self.clock.advance(pause)
            self.server.say(chunk(b": c\n\n"), event)
        self.server.say(END)
        self.assertEqual(caller.answer().status, 200)
        assert self.record.first_byte is not None
        self.assertAlmostEqual(self.record.first_byte - self.record.started, 2.0)
        self.assertEqual(self.value("chunk_gap_ms_count"), 2)
        self.assertAlmostEqual(self.value("chunk_gap_ms_sum") or 0, 320.0)

    def test_a_stream_that_never_begins(self) -> None:
        """Its head and comments are no first byte of the model's: the wait for one was as long as the request."""
        caller = self.call()
        self.server.say(STREAM, chunk(b": keep-alive\n\n"))
        self.clock.advance(46.0)
        caller.leave()
        self.assertIsNone(self.record.first_byte)
        self.assertEqual(self.value("slow_responses_total"), 1)
        self.assertIsNone(self.value("first_byte_ms_count", route="/v1/chat/completions"))
        self.assertEqual(self.value("stream_bytes_total", route="/v1/chat/completions"), len(b": keep-alive\n\n"))

    def test_without_usage(self) -> None:
        """What was seen is counted, and called so."""
        self.stream(Work(("a", "b", "c")))
        self.assertEqual((self.record.completion_tokens, self.record.tokens_from), (3, "count"))
        self.assertEqual(self.value("tokens_total", kind="completion_counted"), 3)

    def test_an_error_after_a_good_status(self) -> None:
        """It has a reason and is counted, although an end mark follows; the client gets what was said."""
        for end in ("error", "error, done"):
            caller = self.stream(Work(("a",), end=end))
            self.assertEqual(caller.answer().status, 200)
            self.assertEqual((self.record.reason, self.record.code), (UPSTREAM_ERROR, UPSTREAM_ERROR))
        self.assertEqual(self.value("errors_total", code=UPSTREAM_ERROR), 2)
        self.assertIsNone(self.value("refusals_total", reason=UPSTREAM_ERROR))

    def test_events_that_mean_nothing(self) -> None:
        """They pass and are counted."""
        caller = self.call()
        self.server.say(STREAM, chunk(b"data: {]\n\n"), END)
        self.assertEqual(caller.answer().body, b"data: {]\n\n")
        self.assertEqual(self.value("unreadable_events_total"), 1)

    def test_nothing_is_left_behind(self) -> None:
        """No cycle keeps an answer, its watch or its request."""
        watch: list[weakref.ref[Tee]] = []
        begun = self.witness.answer_begun

        def remember(request: Request, code: int, events: bool) -> Tee | None:
            tee = begun(request, code, events)
            assert tee is not None
            verifyObject(IAnswerObserver, tee)
            watch.append(weakref.ref(tee))
            return tee

        self.witness.answer_begun = remember  # type: ignore[method-assign]
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        self.stream(WORK)
        self.log.records.clear()
        self.assertIsNone(watch[0]())


class CostTests(Case):
    """What all this costs."""

    def test_an_event_costs_no_more_than_reading_its_json(self) -> None:
        """Twice, by the standard library; some 3 us on a machine of today. Measured beside it, for machines differ."""
        data = chunk_of_vllm()
        frame = b"data: %b\n\n" % data
        self.call()
        self.server.say(STREAM, chunk(frame))
        (request,) = [channel._request for channel in self.door.site.channels]
        assert request is not None
        tee = self.witness.answer_begun(request, 200, True)
        assert tee is not None
        ours, theirs = (
            min(self._seconds(act, given) for _ in range(7))
            for act, given in (
                (tee.passed, frame),
                (json.loads, data),
            )
        )
        self.assertLess(ours, 2 * theirs)

    def _seconds(self, act: Callable[[bytes], object], given: bytes) -> float:
        begun = time.process_time()
        for _ in range(2_000):
            act(given)
        return time.process_time() - begun


def chunk_of_vllm() -> bytes:
    """One token, as vLLM 0.32 sends it."""
    choice = {"index": 0, "delta": {"content": " finally"}, "logprobs": None, "finish_reason": None, "token_ids": None}
    names = {"id": "chatcmpl-9b3d32f37ac62b6a", "object": "chat.completion.chunk", "created": 1795257790}
    document = {**names, "model": "qwen3-coder-30b-a3b-instruct", "choices": [choice]}
    return json.dumps(document, separators=(",", ":")).encode()


class EndTests(Case):
    """Other ends."""

    def test_a_client_that_leaves(self) -> None:
        """Its tokens are booked as far as they came; its calls are partial where they broke off."""
        caller = self.stream(Work(("a", "b"), (Call("get_weather", ('{"city"',), "partial"),), end="cut"), end=b"")
        caller.leave()
        self.assertEqual((self.record.reason, self.record.completion_tokens), ("client_left", 4))
        self.assertEqual((self.record.tokens_from, self.record.response_id), ("count", "answer-1"))
        self.assertEqual(self.value("tool_call_faults_total", fault="partial"), 1)

    def test_a_client_that_leaves_over_an_error(self) -> None:
        """Why it left is the better reason."""
        self.stream(Work(end="error"), end=b"").leave()
        self.assertEqual(self.record.reason, UPSTREAM_ERROR)

    def test_a_model_server_that_breaks_off(self) -> None:
        """The reason is the relay's."""
        self.stream(Work(("a",), end="cut"), end=b"")
        self.server.reset()
        self.assertEqual((self.record.reason, self.record.completion_tokens), ("upstream_truncated", 1))

    def test_usage_that_is_told_on_the_way(self) -> None:
        """Of two counts of an unfinished answer the higher one is nearer the truth."""
        for stated, booked, source in ((5, 5, "upstream"), (1, 2, "count")):
            caller = self.call()
            usage = {"prompt_tokens": 3, "completion_tokens": stated}
            delta = {"choices": [{"index": 0, "delta": {"content": "x"}}]}
            self.server.say(STREAM, chunk(sse([("", json.dumps(delta)), ("", json.dumps({**delta, "usage": usage}))])))
            caller.leave()
            record = self.record
            self.assertEqual((record.prompt_tokens, record.completion_tokens, record.tokens_from), (3, booked, source))

    def test_an_answer_in_one_piece(self) -> None:
        """Read when it is whole."""
        body = json.dumps(
            {"id": "answer-2", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}
        ).encode()
        self.call()
        self.server.say(measured(body[:9], b"x: y").replace(b"content-length: 9", b"content-length: %d" % len(body)))
        self.server.say(body[9:])
        self.assertEqual((self.record.response_id, self.record.completion_tokens), ("answer-2", 2))
        self.assertFalse(self.record.stream)

    def test_what_is_not_watched(self) -> None:
        """A refusal of the model server's, and routes whose answers say nothing that is counted."""
        caller = self.call()
        self.server.say(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 12\r\n\r\n" + b'{"error":"x"}'[:12])
        self.assertEqual((caller.answer().status, self.record.reason), (400, None))
        caller = self.call(path=b"/v1/messages/count_tokens")
        self.server.say(measured(b'{"id":"answer-3"}'))
        self.assertEqual((caller.answer().status, self.record.response_id), (200, None))

    def test_a_defect_of_the_watch(self) -> None:
        """The stream goes on as if nothing had been; it is logged once, without a word of what was said."""

        class Defective(ChatWatch):
            def _event(self, data: bytes) -> None:
                raise ValueError("what the model said")

        class DefectiveAtItsEnd(ChatWatch):
            def end(self, whole: bool) -> None:
                raise ValueError("what the model said")

        told: list[str] = []

        @provider(ILogObserver)
        def hear(event: LogEvent) -> None:
            told.append(eventAsText(event))

        globalLogPublisher.addObserver(hear)
        self.addCleanup(globalLogPublisher.removeObserver, hear)
        for number, kind in enumerate((Defective, DefectiveAtItsEnd)):
            self.witness.answer_begun = self._watching(kind)  # type: ignore[method-assign]
            caller = self.stream(WORK)
            self.assertEqual(caller.answer().body, sse(chat(WORK)))
            self.assertEqual(self.record.reason, None)
            failed = [line for line in told if "failed: ValueError at test_tee.py:" in line]
            self.assertEqual(len(failed), number + 1)
        self.assertNotIn("what the model said", "".join(told))

    def _watching(self, kind: type[ChatWatch]) -> Any:
        def begun(request: Request, code: int, events: bool) -> Tee:
            return Tee(request, kind, events, WORDS, self.clock.seconds, self.meters, self.followers)

        return begun


class FollowerTests(Case):
    """What those who look on hear."""

    def test_in_order(self) -> None:
        """Each fact when it becomes known, in configured words."""
        follower = Onlooker()
        self.followers.add(follower)
        self.stream(WORK)
        heard = ["begun", "first_byte", "tool_call search_recall", "memory_event tool_call", "tool_call other"]
        self.assertEqual(follower.heard[:5], heard)
        self.assertEqual(follower.heard[5:], ["finish stop", "ended"])

    def test_a_first_event_with_news_in_it(self) -> None:
        """It has come before what it says; others of its read make no gap, and an answer in one piece is no event."""
        follower = Onlooker()
        self.followers.add(follower)
        call = {"index": 0, "id": "a", "function": {"name": "search_recall", "arguments": "{}"}}
        event = b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}).encode() + b"\n\n"
        for first in (event, event * 3):
            follower.heard.clear()
            self.call()
            self.server.say(STREAM, chunk(first), END)
            self.assertEqual(follower.heard[:3], ["begun", "first_byte", "tool_call search_recall"])
            self.assertEqual(self.value("chunk_gap_ms_count"), 0)
        self.call()
        message = {"message": {"tool_calls": [call]}}
        self.server.say(measured(json.dumps({"choices": [message]}).encode()))
        self.assertEqual(follower.heard.count("first_byte"), 1)

    def test_what_the_conversation_brings(self) -> None:
        """A warning of memory pressure is in the request; it is counted before the model is asked."""
        follower = Onlooker()
        self.followers.add(follower)
        warning = json.dumps({"type": "warning", "agent_id": "a"})
        self.call(json.dumps({"messages": [{"role": "system", "content": warning}]}).encode())
        self.assertEqual(follower.heard, ["begun", "memory_event warning"])
        self.assertEqual(self.value("memory_events_total", kind="warning"), 1)
        self.followers.remove(follower)
        self.call(json.dumps({"messages": [{"role": "system", "content": warning}]}).encode())
        self.assertEqual(self.value("memory_events_total", kind="warning"), 2)


class EchoTests(Case):
    """A model server's echoes of the ids."""

    def test_one_that_stops_echoing_is_counted_once(self) -> None:
        """It need not echo, but what it did and does no more has been lost on the way."""
        for echoed, lost in (
            ((), 0),
            ((b"a", b"b"), 0),
            ((b"a", b"b"), 0),
            ((b"b",), 1),
            ((b"b",), 1),
            ((), 2),
            ((), 2),
        ):
            self.witness.ids_echoed(echoed)
            found = [self.value("correlation_mismatches_total", header=name) or 0 for name in ("a", "b")]
            self.assertEqual(sum(found), lost, echoed)
