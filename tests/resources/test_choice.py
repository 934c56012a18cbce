"""Several model servers behind one door: which of them is asked, and what each keeps for itself."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from twisted.internet.error import ConnectError
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.config import parse
from hadesgw.http.client import UpstreamFailure
from hadesgw.http.site import Request
from hadesgw.policy import refusals
from hadesgw.policy.credentials import ClientDirectory, ClientStore, Role, anonymous_client
from hadesgw.resources.choice import model_named
from hadesgw.resources.models import FRESH_SECONDS
from hadesgw.telemetry.followers import Followers
from hadesgw.telemetry.log import Log, Sink
from hadesgw.telemetry.meters import Meters
from hadesgw.tree import Parts, build_tree, check_tree
from tests.http.model_server import ModelServer, make_agent, measured, request_lines
from tests.sessions.stage import Stage
from tests.wire.answers import Answer
from tests.wire.door import Caller, Door, get, post

CHAT = b"/v1/chat/completions"
JSON = b"Content-Type: application/json"
LAYERS = '["metered", "guard", "limiter", "validation", "proxy"]'
LIMITS = "[limits]\nrequests_per_second = 1000\nburst = 1000\nmax_in_flight = 1000\nqueue = 1\n"
SMALL = 'name = "small"\nsocket = "/s"\nmodels = ["s", "org/s-2"]\nmax_in_flight = 1\ncontext_tokens = 3000\n'
SMALL += "output_tokens = 50\n"
BIG = 'name = "big"\nsocket = "/b"\nmodels = ["b"]\nmax_in_flight = 2\n'
ANY = 'name = "any"\nsocket = "/a"\nmodels = ["*"]\n'


def learned(name: str) -> str:
    """An upstream that is asked what it serves."""
    return f'name = "{name}"\nsocket = "/{name}"\n'


def chat(model: object, **fields: Any) -> bytes:
    """A body that asks `model`."""
    return json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}).encode()


def listing(*names: str) -> bytes:
    """What a model server lists."""
    return measured(json.dumps({"data": [{"id": name, "max_model_len": 9} for name in names]}).encode())


class Case(SynchronousTestCase):
    """The layers of `/v1` before several model servers, each of which is the test's."""

    def build(self, *upstreams: str, layers: str = LAYERS) -> None:
        """Begin anew."""
        text = "".join(f"[[upstream]]\n{upstream}" for upstream in upstreams) + f'[tree]\n"/v1" = {layers}\n' + LIMITS
        config = parse(text, "test.toml", Path("/nowhere"))
        check_tree(config)
        self.door = Door()
        self.reactor = self.door.reactor
        self.servers = {upstream.name: ModelServer(self.reactor) for upstream in config.upstream}
        agents = []
        for name, server in self.servers.items():
            agents.append(make_agent(self.reactor, server))
            agents[-1].name = name
        self.registry = CollectorRegistry()
        sessions = Stage(Path(self.mktemp())).registry
        self.parts = Parts(
            config=config,
            clock=self.reactor,
            wall=lambda: 0.0,
            clients=ClientStore(ClientDirectory(()), anonymous_client(Role.USER)),
            upstreams=list(agents),
            meters=Meters(self.registry),
            registry=self.registry,
            log=Log(Sink(2), lambda: 0.0, text=False, level="critical"),
            followers=Followers(),
            sessions=lambda: sessions,
            agents=sessions.tokens,
            entropy=os.urandom,
        )
        self.door.site.resource = build_tree(self.parts)
        self.asked: list[Request] = []
        make_request = self.door.site.make_request

        def remember(*args: Any) -> Any:
            self.asked.append(make_request(*args))
            return self.asked[-1]

        self.door.site.make_request = remember  # type: ignore[method-assign, assignment]

    def ask(self, model: object, **fields: Any) -> Caller:
        """Somebody asks `model`."""
        return self.door.call().send(post(chat(model, **fields), JSON, target=CHAT))

    def refused(self, caller: Caller, refusal: refusals.Refusal) -> None:
        """By this; no model server was asked for an answer."""
        self.assertEqual((caller.answer().status, self.asked[-1].record.reason), (refusal.status, refusal.reason))

    def heard(self, name: str) -> list[bytes]:
        """The models that were asked there since this was asked last; None of other questions."""
        server = self.servers[name]
        said = b"".join(line.heard() for line in server.lines)
        return [model.encode() for model in re.findall(r'"model": "([^"]*)"', said.decode())]


class RoutingTests(Case):
    """A request goes to the upstream that has its model."""

    def test_by_name(self) -> None:
        """Each to its own, on every route that names a model; the answer comes from there, and the record says so."""
        self.build(SMALL, BIG)
        for model, there, other in (("s", "small", "big"), ("b", "big", "small"), ("org/s-2", "small", "big")):
            caller = self.ask(model)
            self.assertEqual((self.heard(there), self.heard(other)), ([model.encode()], []))
            self.servers[there].say(measured(b'{"it":"%b"}' % there.encode()))
            self.assertEqual(caller.answer().body, b'{"it":"%b"}' % there.encode())
            record = self.asked[-1].record
            self.assertEqual((record.upstream, record.model, record.route), (there, model, CHAT.decode()))

    def test_a_body_that_comes_later(self) -> None:
        """Is waited for, and the choice is made when it is there; its memory is given back at the end."""
        self.build(SMALL, BIG)
        caller = self.door.call().send(post(chat("b"), JSON, target=CHAT), step=40)
        self.assertEqual(self.heard("big"), [b"b"])
        self.servers["big"].say(measured(b"{}"))
        self.assertEqual((caller.answer().status, self.door.memory.held), (200, 0))

    def test_a_body_that_does_not_come(self) -> None:
        """Is no request of anybody's; one too large is refused before there is a choice."""
        self.build(SMALL, BIG)
        caller = self.door.call().send(post(b"{", JSON, target=CHAT, length=50))
        caller.leave()
        self.assertEqual(self.asked[-1].record.upstream, None)
        self.refused(self.door.call().send(post(b"{", JSON, target=CHAT, length=70_000)), refusals.BODY_TOO_LARGE)
        self.assertEqual([server.attempts for server in self.servers.values()], [0, 0])

    def test_what_nobody_has(self) -> None:
        """Does not exist, and takes nobody's slot."""
        self.build(SMALL, BIG)
        self.ask("s")
        self.ask("s")  # no place is left to wait there
        self.refused(self.ask("x"), refusals.MODEL_NOT_FOUND)
        self.assertEqual(self.servers["big"].attempts, 0)

    def test_no_model(self) -> None:
        """Is refused as by one upstream alone, however it is not named; so is a body that is none."""
        self.build(SMALL, BIG)
        for body, refusal in (
            (b'{"messages":[]}', refusals.NO_MODEL),
            (chat(""), refusals.NO_MODEL),
            (chat(None), refusals.NO_MODEL),
            (b"{", refusals.BAD_JSON),
            (b'{"model":"b","model":"s"}', refusals.DUPLICATE_FIELD),
        ):
            self.refused(self.door.call().send(post(body, JSON, target=CHAT)), refusal)
        self.assertEqual(self.ask(7).answer().status, 400)
        self.assertEqual([server.attempts for server in self.servers.values()], [0, 0])

    def test_other_paths(self) -> None:
        """Are what they are with one upstream."""
        self.build(SMALL, BIG)
        self.refused(self.door.call().send(get(CHAT)), refusals.METHOD_NOT_ALLOWED)
        self.refused(self.door.call().send(post(b"{}", target=b"/v1/other")), refusals.NOT_FOUND)

    def test_without_layers(self) -> None:
        """The choice is the proxy's, not the limiter's or the validation's: it is made where neither stands."""
        for layers in (
            '["proxy"]',
            '["limiter", "proxy"]',
            '["validation", "proxy"]',
            '["limiter", "metered", "proxy"]',
        ):
            self.build(SMALL, BIG, layers=layers)
            self.ask("b")
            self.assertEqual((self.heard("big"), self.heard("small")), ([b"b"], []), layers)

    def test_any_name(self) -> None:
        """An upstream that takes any has those that no other names, wherever it stands."""
        self.build(ANY, SMALL)
        for model, there in (("s", "small"), ("x", "any")):
            self.ask(model)
            self.assertEqual(self.heard(there), [model.encode()])

    def test_the_model_is_what_validation_reads(self) -> None:
        """Escapes are resolved, and what stands deeper is not looked at."""
        self.assertEqual(model_named(rb'{"mod\u0065l":"\u0062"}'), "b")
        self.assertEqual(model_named(b'{"x":{"model":"s"},"model":"b"}'), "b")
        for body in (b"", b"[]", b'{"model":5}', b'{"model":"\xff"}', b'{"x":' + b"[" * 100_000, b"\xff"):
            self.assertEqual(model_named(body), "")


class OwnTests(Case):
    """What each upstream has for itself."""

    def test_slots_and_queue(self) -> None:
        """One that is busy keeps nobody from the other."""
        self.build(SMALL, BIG)
        self.ask("s")
        waiting = self.ask("s")
        self.refused(self.ask("s"), refusals.QUEUE_FULL)
        self.ask("b")
        self.ask("b")
        self.assertEqual((self.heard("small"), self.heard("big")), ([b"s"], [b"b", b"b"]))
        depth = self.registry.get_sample_value
        self.assertEqual(depth("hades_codex_queue_depth", {"upstream": "small"}), 1)
        self.assertEqual(depth("hades_codex_queue_depth", {"upstream": "big"}), 0)
        self.servers["small"].say(measured(b"{}"))
        self.assertEqual(self.heard("small"), [b"s"])
        self.servers["small"].say(measured(b"{}"))
        self.assertEqual(waiting.answer().status, 200)

    def test_budget(self) -> None:
        """What is too much for one is not for the other."""
        self.build(SMALL, BIG)
        self.refused(self.ask("s", max_tokens=51), refusals.TOKEN_BUDGET)
        self.ask("b", max_tokens=51)
        self.assertEqual(self.heard("big"), [b"b"])

    def test_the_rate_is_the_clients(self) -> None:
        """It is counted once, whichever way is gone."""
        self.build(SMALL, BIG)
        caller = self.ask("b")
        self.servers["big"].say(measured(b"{}"))
        self.assertEqual(caller.answer().one(b"x-ratelimit-remaining-requests"), b"999")


class LearnedTests(Case):
    """Upstreams that are asked what they serve."""

    def lists(self, name: str, *models: str) -> None:
        """It is asked what it serves, and says so."""
        self.assertEqual(request_lines(self.servers[name].heard()), [b"GET /v1/models HTTP/1.1"])
        self.servers[name].say(listing(*models))

    def test_all_are_asked_once(self) -> None:
        """Whoever lists it is asked for the answer; of two that list it, the first."""
        self.build(learned("one"), learned("two"))
        self.ask("m")
        self.ask("n")
        self.lists("one", "l", "n")
        self.lists("two", "m", "n")
        self.assertEqual((self.heard("two"), self.heard("one")), ([b"m"], [b"n"]))

    def test_names_of_the_configuration_go_before(self) -> None:
        """Nobody is asked for what is written."""
        self.build(learned("one"), BIG)
        self.ask("b")
        self.assertEqual((self.heard("big"), self.servers["one"].attempts), ([b"b"], 0))

    def test_what_nobody_lists(self) -> None:
        """Does not exist, or is for whoever takes any name; the lists are not asked for again at once."""
        self.build(learned("one"), BIG)
        caller = self.ask("x")
        self.lists("one", "m")
        self.refused(caller, refusals.MODEL_NOT_FOUND)
        self.refused(self.ask("x"), refusals.MODEL_NOT_FOUND)
        self.build(learned("one"), ANY)
        self.ask("x")
        self.lists("one", "m")
        self.ask("x")
        self.assertEqual((self.heard("any"), self.servers["one"].attempts), ([b"x", b"x"], 1))

    def test_who_cannot_be_asked(self) -> None:
        """Might have had it, so that is the answer; the others' models are not lost for it."""
        self.build(learned("one"), learned("two"))
        self.servers["one"].failures = [ConnectError(2, "No such file or directory")] * 9
        caller = self.ask("m")
        self.lists("two", "m")
        self.assertEqual(self.heard("two"), [b"m"])
        self.servers["two"].say(measured(b"{}"))
        self.assertEqual(caller.answer().status, 200)
        self.refused(self.ask("x"), refusals.UPSTREAM_MISSING)
        self.assertEqual(self.flushLoggedErrors(UpstreamFailure), [])

    def test_a_list_that_has_grown_old(self) -> None:
        """Is gone by, and made new: a model that has moved is found the next time, without validation too."""
        self.build(learned("one"), learned("two"), layers='["proxy"]')
        self.ask("m")
        self.lists("one", "m")
        self.lists("two")
        self.assertEqual(self.heard("one"), [b"m"])
        self.servers["one"].say(measured(b"{}"))
        self.reactor.pass_time(FRESH_SECONDS)
        self.ask("m")
        lines = b"".join(line.heard() for line in self.servers["one"].lines)
        self.assertEqual(
            sorted(request_lines(lines)), [b"GET /v1/models HTTP/1.1", b"POST /v1/chat/completions HTTP/1.1"]
        )

    def test_an_old_list_that_cannot_be_made_new(self) -> None:
        """Is gone by all the same: whoever is there says what is wrong."""
        self.build(learned("one"), BIG, layers='["proxy"]')
        caller = self.ask("m")
        self.lists("one", "m")
        self.servers["one"].say(measured(b"{}"))
        self.assertEqual(caller.answer().status, 200)
        self.reactor.pass_time(FRESH_SECONDS)
        for line in self.servers["one"].lines:
            line.close()
        self.servers["one"].failures = [ConnectError(2, "No such file or directory")] * 9
        self.refused(self.ask("m"), refusals.UPSTREAM_MISSING)
        self.assertEqual(self.flushLoggedErrors(UpstreamFailure), [])

    def test_a_defect_of_ours_is_logged_and_told(self) -> None:
        """Nobody waits for ever because of it."""
        self.build(learned("one"), BIG)

        def defective(*asked: object) -> None:
            raise ZeroDivisionError

        self.parts.servers[0].models.knows = defective  # type: ignore[assignment, method-assign]
        self.assertEqual(self.ask("m").answer().status, 500)
        late = self.door.call().send(post(chat("m"), JSON, target=CHAT), step=40)
        self.assertEqual(late.answer().status, 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_who_leaves_meanwhile(self) -> None:
        """Is asked for nothing more."""
        self.build(learned("one"), learned("two"))
        caller = self.ask("m")
        caller.leave()
        self.lists("one", "m")
        self.lists("two")
        self.assertEqual((self.heard("one"), self.door.memory.held), ([], 0))


class CatalogueTests(Case):
    """`GET /v1/models` tells of all."""

    def names(self, answer: Answer) -> list[tuple[str, int | None]]:
        """What is listed, with its length."""
        return [(model["id"], model.get("max_model_len")) for model in json.loads(answer.body)["data"]]

    def test_the_union(self) -> None:
        """Each name once, and as the upstream has it that requests for it go to."""
        self.build(learned("one"), BIG)
        caller = self.door.call().send(get(b"/v1/models"))
        self.servers["one"].say(listing("m", "b"))
        self.servers["big"].say(measured(b'{"data":[{"id":"b","max_model_len":7},{"id":"hidden"}]}'))
        self.assertEqual(self.names(caller.answer()), [("b", 7), ("m", 9)])

    def test_one_that_is_away(self) -> None:
        """Hides nothing of the others'; if all are, that is said."""
        gone = ConnectError(2, "No such file or directory")
        self.build(learned("one"), learned("two"))
        self.servers["one"].failures = [gone] * 2
        caller = self.door.call().send(get(b"/v1/models"))
        self.servers["two"].say(listing("m"))
        self.assertEqual(self.names(caller.answer()), [("m", 9)])
        self.reactor.pass_time(FRESH_SECONDS)
        self.servers["two"].line.close()
        self.servers["two"].failures = [gone] * 2
        self.refused(self.door.call().send(get(b"/v1/models")), refusals.UPSTREAM_MISSING)
