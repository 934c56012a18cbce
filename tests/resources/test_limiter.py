"""The limiter: what is admitted, what waits and for how long, what is said, and that nothing taken is ever kept."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer
from zope.interface.verify import verifyObject

from hadesgw.http.body import UNASKED_BYTES
from hadesgw.http.site import Request
from hadesgw.interfaces import ILimiterObserver
from hadesgw.policy import refusals
from hadesgw.policy.allowance import Accounts, estimated_tokens
from hadesgw.policy.credentials import Client, Role
from hadesgw.resources.layer import Layer
from hadesgw.resources.limiter import Gate, Limiter
from tests.wire.answers import Answer, read_answers
from tests.wire.door import MEMORY, Caller, Door, post

CHAT = b"/v1/chat/completions"
COUNT = b"/v1/messages/count_tokens"
ROUTES = frozenset((CHAT, COUNT, b"/v1/messages", b"/v1/responses"))
LIFTED = 1_000_000
BODY_CAP = 400_000


class Introduction(Layer):
    """Takes everybody for who they say they are, where a guard would ask for a proof."""

    def render(self, request: Request) -> bytes | int:
        for name in request.head.values(b"x-client"):
            request.record.client = name.decode()
        return self.pass_on(request)


class Model(Resource):
    """Works on what it is given until it is told to answer."""

    isLeaf = True

    def __init__(self) -> None:
        Resource.__init__(self)
        self.working: list[Request] = []
        self.begun: list[str] = []
        self.act: Callable[[Request], bytes | int] = lambda request: NOT_DONE_YET

    def render(self, request: Request) -> bytes | int:
        self.begun.append(request.record.client or "")
        self.working.append(request)
        request.record.bytes_in = 1  # it was sent on
        request.at_end(lambda completed: self.working.remove(request))
        return self.act(request)

    def answer(self, request: Request | None = None) -> None:
        """Answer one request, the first if none is given."""
        request = request or self.working[0]
        request.relayed = [(b"content-length", b"2"), (b"x-ratelimit-limit-requests", b"not ours")]
        request.write(b"ok")
        request.finish()


@implementer(ILimiterObserver)
class Observer:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.depth: dict[str, int] = {}
        self.waits: list[float] = []

    def queue_depth(self, upstream: str, depth: int) -> None:
        self.depth[upstream] = depth

    def queue_waited(self, upstream: str, seconds: float) -> None:
        self.waits.append(seconds)


def retry_after(answer: Answer) -> int:
    """Whole seconds."""
    return int(answer.one(b"retry-after"))


def code(answer: Answer) -> str:
    """The word for programs, in OpenAI's form."""
    word: str = json.loads(answer.body)["error"]["code"]
    return word


def left(answer: Answer, what: bytes = b"requests") -> tuple[bytes, ...]:
    """Limit, what remains, and when it is reset; each is there once."""
    return tuple(answer.one(b"x-ratelimit-%b-%b" % (word, what)) for word in (b"limit", b"remaining", b"reset"))


def asking(name: str, path: bytes = CHAT, body: bytes = b"{}") -> bytes:
    """A request of somebody of that name."""
    return post(body, b"X-Client: %b" % name.encode(), target=path)


class Stage:
    """A door with a limiter behind it, and a model behind that."""

    def __init__(
        self,
        *,
        rate: float = LIFTED,
        burst: int = LIFTED,
        cap: int = LIFTED,
        slots: int = 2,
        places: int = 3,
        seconds: float = 30.0,
        clients: tuple[Client, ...] = (),
    ) -> None:
        self.door = Door(max_connections=1_000)
        self.clock = self.door.reactor
        self.clock.advance(1_000.0)
        self.model = Model()
        self.observer = Observer()
        verifyObject(ILimiterObserver, self.observer)
        self.file = {client.name: client for client in clients}
        self.accounts = Accounts(rate, burst, cap, self.file.get)
        self.gate = Gate(
            "vllm",
            routes=ROUTES,
            slots=slots,
            places=places,
            seconds=seconds,
            cap=lambda path: BODY_CAP,
            estimate=partial(estimated_tokens, output=100, context=1_000),
            observer=self.observer,
        )
        self.size = slots
        self.door.site.resource = Introduction(Limiter(self.model, self.accounts, self.gate, self.clock))

    def ask(self, name: str, path: bytes = CHAT, body: bytes = b"{}") -> Caller:
        """Somebody of that name comes and asks."""
        return self.door.call().send(asking(name, path, body))

    def turned_away(self, name: str, path: bytes = CHAT) -> Answer:
        """What somebody of that name is told at once."""
        return self.ask(name, path).answer()

    def serve(self, request: Request | None = None) -> None:
        """Let the model answer one request."""
        self.model.answer(request)
        self.clock.settle()

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.clock.settle()

    @property
    def held(self) -> tuple[int, int]:
        """Slots that are held, and requests that wait."""
        return self.size - self.gate.slots.free, self.gate.slots.depth


def user(name: str = "alice", **limits: object) -> Client:
    return Client(name=name, roles=frozenset((Role.USER,)), **limits)  # type: ignore[arg-type]


class RequestRateTests(SynchronousTestCase):
    """Requests a second, and at once."""

    def test_the_burst_is_exact(self) -> None:
        """As many as it says are admitted, one more is told when to come again, and then admitted."""
        stage = Stage(rate=0.5, burst=3, slots=9)
        for _ in range(3):
            stage.ask("alice")
        self.assertEqual(len(stage.model.working), 3)
        refused = stage.turned_away("alice")
        self.assertEqual((refused.status, code(refused), retry_after(refused)), (429, "rate_limit_exceeded", 2))
        self.assertEqual(len(stage.model.working), 3)
        stage.pass_time(1.999)
        self.assertEqual(retry_after(stage.turned_away("alice")), 1)
        stage.pass_time(0.001)
        stage.ask("alice")
        self.assertEqual(len(stage.model.working), 4)

    def test_every_answer_says_how_the_client_stands(self) -> None:
        """Admitted and refused ones, each field once; what an upstream says of its own limits is not passed on."""
        stage = Stage(rate=1, burst=2)
        first, second = stage.ask("alice"), stage.ask("alice")
        stage.serve()
        stage.serve()
        self.assertEqual(left(first.answer()), (b"2", b"1", b"1s"))
        self.assertEqual(left(second.answer()), (b"2", b"0", b"2s"))
        self.assertEqual(left(stage.turned_away("alice")), (b"2", b"0", b"2s"))

    def test_clients_do_not_share(self) -> None:
        """One that has nothing left takes nothing from another; an own limit is an own limit."""
        stage = Stage(rate=1, burst=1, slots=9, clients=(user("bob", burst=2),))
        stage.ask("alice")
        self.assertEqual(stage.turned_away("alice").status, 429)
        stage.ask("bob")
        stage.ask("bob")
        self.assertEqual(left(stage.turned_away("bob"))[0], b"2")
        self.assertEqual(stage.model.begun, ["alice", "bob", "bob"])

    def test_without_a_guard_all_are_one(self) -> None:
        """Whom nobody knows cannot be told from others whom nobody knows."""
        stage = Stage(rate=1, burst=1)
        stage.door.call().send(post(target=CHAT))
        self.assertEqual(stage.door.call().send(post(target=CHAT)).answer().status, 429)

    def test_paths_share(self) -> None:
        """Two limiters over the same accounts do not give anybody a second share."""
        stage = Stage(rate=1, burst=1)
        stage.ask("alice")
        stage.door.site.resource = Introduction(Limiter(Model(), stage.accounts, None, stage.clock))
        self.assertEqual(stage.turned_away("alice", b"/api/codex/start").status, 429)
        self.assertEqual(stage.ask("bob", b"/api/codex/start").answers(), [])

    def test_a_refusal_speaks_the_callers_dialect(self) -> None:
        """Anthropic's clients hear Anthropic's words."""
        stage = Stage(rate=1, burst=1)
        stage.ask("alice")
        refused = stage.turned_away("alice", b"/v1/messages")
        self.assertEqual(json.loads(refused.body)["error"]["type"], "rate_limit_error")
        self.assertEqual(retry_after(refused), 1)

    def test_a_refused_connection_lives_on(self) -> None:
        """The next request may come on it."""
        stage = Stage(rate=1, burst=1)
        caller = stage.ask("alice")
        stage.serve()
        caller.send(asking("alice"))
        stage.pass_time(1)
        caller.send(asking("alice"))
        stage.serve()
        self.assertEqual([answer.status for answer in caller.answers()], [200, 429, 200])


class SlotTests(SynchronousTestCase):
    """Requests at one time: the model server's, and a client's own."""

    def test_slots_and_places_are_exact(self) -> None:
        """So many are worked on, so many wait, one more is sent away with the time to come again."""
        stage = Stage(slots=2, places=3)
        for name in "abcde":
            stage.ask(name)
        self.assertEqual((stage.model.begun, stage.held), (["a", "b"], (2, 3)))
        stage.pass_time(4.2)
        refused = stage.turned_away("f")
        self.assertEqual((refused.status, code(refused), retry_after(refused)), (503, "server_is_overloaded", 5))
        self.assertEqual(stage.held, (2, 3))
        stage.serve()
        self.assertEqual((stage.model.begun, stage.held), (["a", "b", "c"], (2, 2)))

    def test_no_queue_means_that_nobody_waits(self) -> None:
        """Free slots are used, and that is all."""
        stage = Stage(slots=1, places=0)
        stage.ask("a")
        refused = stage.turned_away("b")
        self.assertEqual((refused.status, retry_after(refused)), (503, 1))
        stage.serve()
        stage.ask("b")
        self.assertEqual(stage.model.begun, ["a", "b"])

    def test_the_wait_has_an_exact_end(self) -> None:
        """Until then a turn may come; then it is over, and the place is free."""
        stage = Stage(slots=1, places=1, seconds=30)
        stage.ask("a")
        waiting = stage.ask("b")
        stage.pass_time(29.999)
        self.assertEqual(waiting.answers(), [])
        stage.pass_time(0.001)
        answer = waiting.answer()
        self.assertEqual((answer.status, code(answer), retry_after(answer)), (503, "server_is_overloaded", 1))
        self.assertEqual(stage.held, (1, 0))
        self.assertEqual(len(left(answer)), 3)

    def test_a_served_request_is_not_ended_by_the_waits_limit(self) -> None:
        """Once its turn has come it may take as long as it takes."""
        stage = Stage(slots=1, places=1, seconds=30)
        stage.ask("a")
        waiting = stage.ask("b")
        stage.pass_time(20)
        stage.serve()
        stage.pass_time(300)
        self.assertEqual(waiting.answers(), [])
        stage.serve()
        self.assertEqual(waiting.answer().status, 200)

    def test_a_client_at_its_own_cap_waits(self) -> None:
        """Exactly there; its next goes on when one of its own has ended, and nobody else is held up by it."""
        stage = Stage(slots=9, places=9, cap=2)
        for name in ("alice", "alice", "alice", "bob"):
            stage.ask(name)
        self.assertEqual((stage.model.begun, stage.held), (["alice", "alice", "bob"], (3, 1)))
        stage.serve(stage.model.working[2])
        self.assertEqual(stage.held, (2, 1))
        stage.serve()
        self.assertEqual((stage.model.begun[3:], stage.held), (["alice"], (2, 0)))

    def test_a_client_at_its_own_cap_is_told_so(self) -> None:
        """429 where others would hear 503: without a place to wait, and when none of its own ends in time."""
        stage = Stage(slots=9, places=1, cap=1, seconds=10)
        stage.ask("alice")
        waiting = stage.ask("alice")
        refused = stage.turned_away("alice")
        self.assertEqual((refused.status, code(refused)), (429, "concurrency_limit_exceeded"))
        self.assertGreaterEqual(retry_after(refused), 1)
        stage.pass_time(10)
        late = waiting.answer()
        self.assertEqual((late.status, code(late), retry_after(late)), (429, "concurrency_limit_exceeded", 1))

    def test_who_fills_the_queue_makes_place(self) -> None:
        """The last one of the longest line is sent away, and the newcomer waits."""
        stage = Stage(slots=1, places=3)
        hasty = [stage.ask("hasty") for _ in range(4)]
        stage.pass_time(2.5)
        stage.ask("modest")
        answer = hasty[3].answer()
        self.assertEqual((answer.status, retry_after(answer)), (503, 3))
        self.assertEqual(stage.held, (1, 3))
        stage.serve()
        stage.serve()
        self.assertEqual(stage.model.begun, ["hasty", "modest", "hasty"])

    def test_only_what_goes_to_the_model_needs_a_slot(self) -> None:
        """Lists, unknown paths and other methods do not wait, but they count as requests."""
        stage = Stage(slots=1, places=0, rate=1, burst=4)
        stage.ask("a")
        stage.model.act = lambda request: b"listed"
        caller = stage.door.call()
        for path, method in ((b"/v1/models", b"GET"), (b"/v1/unknown", b"POST"), (CHAT, b"GET")):
            caller.send(b"%b %b HTTP/1.1\r\nHost: localhost\r\nX-Client: a\r\n\r\n" % (method, path))
        answers = caller.answers()
        self.assertEqual([(answer.status, answer.body) for answer in answers], [(200, b"listed")] * 3)
        self.assertEqual(left(answers[-1]), (b"4", b"0", b"4s"))
        self.assertEqual(stage.turned_away("a", b"/v1/models").status, 429)

    def test_the_queue_is_told(self) -> None:
        """Its depth at every change and from the start, and every wait, however it ended."""
        stage = Stage(slots=1, places=3, seconds=10)
        self.assertEqual(stage.observer.depth, {"vllm": 0})
        stage.ask("a")
        stage.ask("b")
        stage.ask("c")
        leaving = stage.ask("d")
        self.assertEqual(stage.observer.depth, {"vllm": 3})
        stage.pass_time(1)
        stage.serve()
        stage.pass_time(2)
        leaving.leave()
        stage.pass_time(7)
        self.assertEqual(stage.observer.depth, {"vllm": 0})
        self.assertEqual(stage.observer.waits, [1.0, 3.0, 10.0])

    def test_a_layer_that_fails_keeps_nothing(self) -> None:
        """At once or after a wait: 500, the slot is free, and the next one's turn has come."""
        stage = Stage(slots=1, places=3)
        first, second, third = stage.ask("a"), stage.ask("b"), stage.ask("c")

        def fail(request: Request) -> int:
            stage.model.act = lambda request: NOT_DONE_YET
            raise ZeroDivisionError

        stage.model.act = fail
        stage.serve()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual([caller.answer().status for caller in (first, second)], [200, 500])
        self.assertEqual((stage.model.begun, stage.held), (["a", "b", "c"], (1, 0)))
        stage.serve()
        self.assertEqual(third.answer().status, 200)
        stage.model.act = fail
        self.assertEqual(stage.turned_away("d").status, 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(stage.held, (0, 0))

    def test_an_answer_of_bytes_is_sent_after_a_wait_too(self) -> None:
        """The inner resource may be any of Twisted's."""
        stage = Stage(slots=1, places=1)
        stage.ask("a")
        waiting = stage.ask("b")
        stage.model.act = lambda request: b"plain"
        stage.serve()
        self.assertEqual(waiting.answer().body, b"plain")
        self.assertEqual(stage.held, (0, 0))

    def test_a_long_queue_of_short_work_does_not_grow_the_stack(self) -> None:
        """Five hundred that wait are answered in one go when the model answers at once."""
        stage = Stage(slots=1, places=500)
        waiting = [stage.ask(f"c{number % 7}") for number in range(501)]
        stage.model.act = lambda request: b"ok"
        stage.serve()
        self.assertEqual([caller.answer().status for caller in waiting], [200] * 501)

    def test_no_timer_is_made_for_waiting(self) -> None:
        """A connection has one timer for all its deadlines; a hundred that wait need no more."""
        stage = Stage(slots=1, places=100)
        stage.ask("a")
        for _ in range(100):
            stage.ask("b")
        self.assertEqual(len(stage.clock.getDelayedCalls()), 101)


class DepartureTests(SynchronousTestCase):
    """Whoever leaves gives back what he took, at once and once."""

    def test_who_waits_and_leaves_is_gone(self) -> None:
        """His place is free, and no turn is spent on him."""
        stage = Stage(slots=1, places=1)
        stage.ask("a")
        stage.ask("b").leave()
        self.assertEqual(stage.held, (1, 0))
        stage.ask("c")
        stage.serve()
        self.assertEqual(stage.model.begun, ["a", "c"])

    def test_who_is_served_and_leaves_frees_his_slot(self) -> None:
        """The next one's turn comes in that moment."""
        stage = Stage(slots=1, places=1)
        served = stage.ask("a")
        stage.ask("b")
        served.leave()
        self.assertEqual((stage.model.begun, stage.held), (["a", "b"], (1, 0)))

    def test_who_waits_with_a_large_body_is_seen_to_leave(self) -> None:
        """Its bytes are taken meanwhile, so that the end behind them is seen."""
        stage = Stage(slots=1, places=1)
        stage.ask("a")
        waiting = stage.ask("b", body=b"x" * (4 * UNASKED_BYTES))
        self.assertEqual(stage.held, (1, 1))
        waiting.leave()
        self.assertEqual(stage.held, (1, 0))
        self.assertEqual(stage.door.memory.held, 2)

    def test_a_body_that_is_coming_is_let_come(self) -> None:
        """Piece by piece while it waits, and it is whole when its turn comes."""
        stage = Stage(slots=1, places=1)
        stage.ask("a")
        body = bytes(range(256)) * 1_200
        stage.door.call().send(asking("b", body=body), step=50_000)
        bodies: list[bytes | None] = []

        def look(request: Request) -> bytes:
            bodies.append(request.body_at_hand(BODY_CAP))
            return b""

        stage.model.act = look
        stage.serve()
        self.assertEqual(bodies, [body])

    def test_bodies_that_wait_leave_half_of_the_memory(self) -> None:
        """When so much is held, reading pauses after the first 64 KiB as it does without a wait."""
        stage = Stage(slots=1, places=9)
        stage.ask("a")
        waiting = [stage.ask("b", body=b"x" * BODY_CAP) for _ in range(4)]
        self.assertEqual([caller.reading for caller in waiting], [True, False, False, False])
        self.assertLess(stage.door.memory.held, MEMORY // 2 + 5 * UNASKED_BYTES)

    def test_a_body_too_large_is_refused_before_its_turn(self) -> None:
        """Announced or found out: 413 at once, and the place is free."""
        stage = Stage(slots=1, places=1)
        stage.ask("a")
        self.assertEqual(stage.ask("b", body=b"x" * (BODY_CAP + 1)).answer().status, 413)
        self.assertEqual(stage.held, (1, 0))
        chunked = stage.door.call()
        chunked.send(b"POST %b HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" % CHAT)
        self.assertEqual(stage.held, (1, 1))
        for _ in range(5):
            chunked.send(b"186a0\r\n%b\r\n" % (b"x" * 100_000))
        self.assertEqual(chunked.answer().status, 413)
        self.assertEqual(stage.held, (1, 0))

    def test_nobody_is_told_to_send_a_body_before_his_turn(self) -> None:
        """`100 Continue` is for those who will be listened to."""
        stage = Stage(slots=1, places=1)
        stage.ask("a")
        waiting = stage.door.call().send(post(b"", b"Expect: 100-continue", target=CHAT, length=2))
        self.assertEqual((waiting.answers(), stage.held), ([], (1, 1)))

    def test_a_drain_that_ends_cuts_who_waits(self) -> None:
        """With the drain's refusal, and everything is given back."""
        stage = Stage(slots=1, places=2)
        served, waiting = stage.ask("a"), stage.ask("b")
        stage.door.site.drain()
        stage.door.site.interrupt(refusals.STREAM_DRAINED)
        stage.clock.settle()
        answers = [served.answer(), waiting.answer()]
        self.assertEqual([(answer.status, retry_after(answer)) for answer in answers], [(503, 1), (503, 1)])
        self.assertEqual(stage.held, (0, 0))

    @settings(max_examples=60)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(("come", "come", "come", "serve", "leave", "time", "fail", "refuse")),
                st.integers(0, 1_000),
            ),
            max_size=60,
        )
    )
    def test_nothing_is_kept_whatever_happens(self, happenings: list[tuple[str, int]]) -> None:
        """Comings, departures, answers, failures, refusals and late turns in any order: slots, places, tokens and body
        memory are back when everybody has gone."""
        stage = Stage(
            slots=2,
            places=3,
            cap=2,
            seconds=5,
            clients=(user("c0", tokens_per_minute=2_000), user("c1", max_in_flight=1)),
        )
        callers: list[Caller] = []
        for what, which in happenings:
            if what == "come":
                callers.append(stage.ask(f"c{which % 4}", body=b"x" * (which * 100)))
            elif what == "leave" and callers:
                callers.pop(which % len(callers)).leave()
            elif what == "time":
                stage.pass_time(which / 100)
            elif what == "fail":
                stage.model.act = self.fail_once(stage)
            elif stage.model.working and what == "serve":
                stage.serve(stage.model.working[which % len(stage.model.working)])
            elif stage.model.working and what == "refuse":
                request = stage.model.working[which % len(stage.model.working)]
                request.record.prompt_tokens = which
                stage.serve(request)
            self.assertEqual(stage.held[0], len(stage.model.working))
            self.assertLessEqual(max(Counter(r.record.client for r in stage.model.working).values(), default=0), 2)
        self.flushLoggedErrors(ZeroDivisionError)
        for caller in callers:
            caller.leave()
        self.assertEqual((stage.held, stage.model.working), ((0, 0), []))
        self.assertEqual(stage.observer.depth["vllm"], 0)
        for number in range(4):
            self.assertTrue(
                stage.accounts.of(f"c{number}", stage.clock.seconds() + 1_000).idle(stage.clock.seconds() + 1_000)
            )
        self.assertEqual(stage.door.left_behind(), [])

    @staticmethod
    def fail_once(stage: Stage) -> Callable[[Request], int]:
        """Let the next request that reaches the model raise."""

        def fail(request: Request) -> int:
            stage.model.act = lambda request: NOT_DONE_YET
            raise ZeroDivisionError

        return fail


class TokenTests(SynchronousTestCase):
    """Tokens a minute, for clients that have such a limit."""

    def stage(self, limit: int = 1_000) -> Stage:
        return Stage(slots=99, places=9, clients=(user(tokens_per_minute=limit),))

    def test_only_who_has_such_a_limit_is_told_of_it(self) -> None:
        """Three more fields for that client, none for others."""
        stage = self.stage()
        alice, bob = stage.ask("alice", body=b"x" * 300), stage.ask("bob")
        stage.serve()
        stage.serve()
        self.assertEqual(left(alice.answer(), b"tokens"), (b"1000", b"800", b"60s"))
        self.assertEqual(bob.answer().all(b"x-ratelimit-limit-tokens"), [])

    def test_the_limit_is_exact(self) -> None:
        """Five times two hundred are set aside, and not one token more."""
        stage = self.stage()
        for _ in range(5):
            stage.ask("alice", body=b"x" * 300)
        refused = stage.turned_away("alice")
        self.assertEqual((refused.status, code(refused)), (429, "rate_limit_exceeded"))
        self.assertEqual(left(refused, b"tokens"), (b"1000", b"0", b"60s"))
        self.assertEqual(retry_after(refused), 7)  # 101 of 1,000 come back in as many seconds
        self.assertEqual(len(stage.model.working), 5)

    def test_what_was_used_takes_the_place_of_what_was_set_aside(self) -> None:
        """As soon as the request has ended."""
        stage = self.stage()
        stage.ask("alice", body=b"x" * 300)
        record = stage.model.working[0].record
        record.prompt_tokens, record.completion_tokens = 90, 5
        stage.serve()
        self.assertEqual(self.remaining(stage), 905)

    def test_who_hides_his_usage_pays_what_he_asked(self) -> None:
        """Without usage, and for who leaves in the middle, the reservation counts."""
        stage = self.stage()
        stage.ask("alice", body=b"x" * 300)
        stage.serve()
        self.assertEqual(self.remaining(stage), 800)
        stage.ask("alice", body=b"x" * 300).leave()
        self.assertEqual(self.remaining(stage), 600)

    def test_a_prompt_that_was_counted_is_not_yet_usage(self) -> None:
        """Without the model's own word on what it wrote the reservation counts; refused, the request cost nothing."""
        stage = self.stage()
        stage.ask("alice", body=b"x" * 300)
        stage.model.working[0].record.prompt_tokens = 90
        stage.serve()
        self.assertEqual(self.remaining(stage), 800)

        def refuse(request: Request) -> int:
            request.record.prompt_tokens = 90
            return request.refuse(refusals.UPSTREAM_BUSY)

        stage.model.act = refuse
        stage.ask("alice", body=b"x" * 300)
        self.assertEqual(self.remaining(stage), 800)

    def test_refused_requests_cost_no_tokens(self) -> None:
        """Neither by the model, nor by the queue, nor by leaving it."""
        stage = self.stage()
        stage.model.act = lambda request: request.refuse(refusals.UPSTREAM_BUSY)
        stage.ask("alice", body=b"x" * 300)
        self.assertEqual(self.remaining(stage), 1_000)
        waiting = Stage(slots=1, places=1, clients=(user(tokens_per_minute=1_000),))
        waiting.ask("bob")
        leaving = waiting.ask("alice", body=b"x" * 300)
        self.assertEqual(self.remaining(waiting), 800)
        self.assertEqual(waiting.turned_away("alice").status, 503)
        self.assertEqual(self.remaining(waiting), 800)
        leaving.leave()
        self.assertEqual(self.remaining(waiting), 1_000)

    def test_counting_tokens_costs_none(self) -> None:
        """The model makes none for it."""
        stage = self.stage()
        stage.ask("alice", COUNT, b"x" * 300)
        self.assertEqual(self.remaining(stage), 1_000)

    def test_an_exact_count_takes_the_place_of_the_estimate(self) -> None:
        """Whoever has counted says so before the request is sent on, and is told whether it may be."""
        stage = self.stage()
        counts = iter((400, 600, 1))
        admitted: list[bool] = []

        def count(request: Request) -> int:
            assert request.on_tokens is not None
            admitted.append(request.on_tokens(next(counts)))
            return NOT_DONE_YET

        stage.model.act = count
        first = stage.ask("alice")
        self.assertEqual(self.remaining(stage), 600)
        stage.ask("alice")
        self.assertEqual((admitted, self.remaining(stage)), ([True, True], 0))
        self.assertEqual(stage.turned_away("alice").status, 429)
        stage.serve()
        self.assertEqual(left(first.answer(), b"tokens"), (b"1000", b"600", b"60s"))

    def test_an_exact_count_may_be_too_many(self) -> None:
        """For now: 429 and when to come again. For good: 400, because waiting cannot help. Both leave no trace."""
        stage = self.stage()
        stage.ask("alice", body=b"x" * 1_200)
        verdicts: list[bool] = []
        for tokens, status in ((501, 429), (1_001, 400), (1_000, 429), (500, None)):

            def count(request: Request, tokens: int = tokens) -> int:
                assert request.on_tokens is not None
                verdicts.append(request.on_tokens(tokens))
                return NOT_DONE_YET

            stage.model.act = count
            caller = stage.ask("alice")
            if status is not None:
                answer = caller.answer()
                self.assertEqual(answer.status, status)
                self.assertEqual(bool(answer.all(b"retry-after")), status == 429)
                self.assertEqual(self.remaining(stage), 500)
        self.assertEqual((verdicts, self.remaining(stage)), ([False, False, False, True], 0))

    def test_an_estimate_never_refuses_for_good(self) -> None:
        """A body that looks like more than a whole minute's is admitted when the minute is untouched."""
        stage = self.stage(limit=150)
        stage.ask("alice", body=b"x" * 3_000)
        self.assertEqual((len(stage.model.working), self.remaining(stage)), (1, 0))
        self.assertEqual(stage.turned_away("alice").status, 429)

    def test_a_hundred_at_once_do_not_overshoot(self) -> None:
        """Of a hundred that are in flight together, those admitted ask for no more than the limit."""
        stage = Stage(slots=100, places=9, clients=(user(tokens_per_minute=10_000),))
        dice = Random(5)
        for _ in range(100):
            stage.ask("alice", body=b"x" * dice.randrange(1, 2_000))
        asked = [estimated_tokens(request.head.length, 100, 1_000) for request in stage.model.working]
        self.assertLessEqual(sum(asked), 10_000)
        self.assertGreater(sum(asked), 9_000)

    @staticmethod
    def remaining(stage: Stage) -> int:
        """What alice has left."""
        tokens = stage.accounts.of("alice", stage.clock.seconds()).tokens
        assert tokens is not None
        return tokens.verdict(stage.clock.seconds()).remaining


class Customer:
    """A client that asks again as soon as it is answered, and comes again when it is sent away.

    :param patience: seconds until then, by the Retry-After it was told.
    """

    def __init__(self, stage: Stage, name: str, patience: Callable[[int], float]) -> None:
        self._stage = stage
        self._request = asking(name)
        self._caller = stage.door.call()
        self._patience = patience
        self.served = 0

    def ask(self) -> None:
        self._caller.send(self._request)

    def look(self) -> None:
        """See whether an answer has come."""
        sent = self._caller.socket.sent
        if not sent:
            return
        (answer,) = read_answers(bytes(sent))
        sent.clear()
        if answer.status == 200:
            self.served += 1
            self.ask()
        else:
            self._stage.clock.callLater(self._patience(retry_after(answer)), self.ask)


class FairnessTests(SynchronousTestCase):
    """Many clients at one model server of 16 slots and 200 ms service time, with the queue of the defaults."""

    SERVICE = 0.2

    def setUp(self) -> None:
        self.stage = Stage(slots=16, places=64)
        self.stage.model.act = self.work
        self.customers: list[Customer] = []

    def work(self, request: Request) -> int:
        """Answer after the service time."""
        self.stage.clock.callLater(self.SERVICE, self.stage.model.answer, request)
        return NOT_DONE_YET

    def come(self, name: str, patience: Callable[[int], float]) -> Customer:
        """One more who never stops asking."""
        customer = Customer(self.stage, name, patience)
        self.customers.append(customer)
        customer.ask()
        return customer

    def run_for(self, seconds: float, enough: Callable[[], bool] = lambda: False) -> None:
        """Let time pass from one happening to the next, at most so long."""
        clock = self.stage.clock
        end = clock.seconds() + seconds
        for customer in self.customers:
            customer.look()
        while not enough() and clock.calls[0].getTime() < end:
            clock.advance(clock.calls[0].getTime() - clock.seconds())
            for customer in self.customers:
                customer.look()
        if not enough():
            clock.advance(end - clock.seconds())

    def jain(self, patience: Callable[[int], float], connections: int) -> float:
        """Jain's index of what 100 clients were served in 12 s, once the queue has filled.

        :param connections: of every tenth client; the others have one.
        """
        clients = [
            [self.come(f"c{number}", patience) for _ in range(1 if number % 10 else connections)]
            for number in range(100)
        ]
        self.run_for(2)
        before = [sum(customer.served for customer in customers) for customers in clients]
        self.run_for(12)
        after = [sum(customer.served for customer in customers) for customers in clients]
        shares = [now - then for now, then in zip(after, before, strict=True)]
        self.assertGreaterEqual(sum(shares), 0.99 * 12 * 16 / self.SERVICE)
        return sum(shares) ** 2 / (100 * sum(share**2 for share in shares))

    def test_shares_are_equal_for_those_who_do_as_told(self) -> None:
        """100 clients that come again after Retry-After: Jain's index of what they were served is at least 0.98."""
        self.assertGreaterEqual(self.jain(float, 1), 0.98)

    def test_shares_are_equal_for_those_who_hammer(self) -> None:
        """Nor does it help to try again every 200 ms, or on five connections at once."""
        self.assertGreaterEqual(self.jain(lambda told: 0.2, 5), 0.98)

    def test_a_light_client_beside_a_flood(self) -> None:
        """With all slots and places taken by one client without a cap, another's p95 wait is at most 250 ms."""
        for _ in range(100):
            self.come("flood", lambda told: 0.25)
        self.run_for(1)
        light = self.stage.door.call()
        begun = self.stage.model.begun
        dice = Random(7)
        waits: list[float] = []
        for _ in range(100):
            asked_at = self.stage.clock.seconds()
            begun.clear()
            light.send(asking("light"))
            self.run_for(30, lambda: "light" in begun)
            waits.append(self.stage.clock.seconds() - asked_at)
            self.assertGreaterEqual(self.stage.held[1], 60)
            self.run_for(self.SERVICE + dice.random() / 5)
        self.assertEqual([answer.status for answer in light.answers()], [200] * 100)
        self.assertLessEqual(sorted(waits)[94], 0.25)
        self.assertGreater(max(waits), 0.0)
