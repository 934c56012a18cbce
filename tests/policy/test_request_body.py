"""What a request asks for: every field we decide on, at its edge and one past it, and nothing else touched."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.config import Config
from hadesgw.policy.dialects import Dialect, error_body
from hadesgw.policy.refusals import Refusal, Refused, catalogue
from hadesgw.policy.request_body import (
    CHAT,
    COMPLETIONS,
    COUNT_TOKENS,
    EMBEDDINGS,
    LONGEST_STOP,
    MESSAGES,
    MOST_FUNCTIONS,
    MOST_LOGPROBS,
    MOST_STOPS,
    RESPONSES,
    ROUTES,
    Asked,
    BodyLimits,
    BodyReader,
    Route,
    is_json,
    with_output,
)
from hadesgw.resources import proxy

CHOICES = 4
LIMITS = BodyLimits(CHOICES, False, frozenset(("cache_salt", "prompt_embeds")))
TALK = [{"role": "user", "content": "hi"}]
REQUIRED: dict[int, dict[str, Any]] = {
    id(CHAT): {"messages": TALK},
    id(COMPLETIONS): {"prompt": "hi"},
    id(RESPONSES): {"input": "hi"},
    id(MESSAGES): {"messages": TALK},
    id(COUNT_TOKENS): {"messages": TALK},
    id(EMBEDDINGS): {"input": "hi"},
}


def refusal(route: Route, body: bytes, limits: BodyLimits = LIMITS) -> Refusal | None:
    """Why `body` is refused there, or None if it is not."""
    try:
        BodyReader(route, limits).read(body)
    except Refused as refused:
        return refused.refusal
    return None


def some(*values: Any) -> tuple[Any, ...]:
    """Values of any kind."""
    return values


def encode(route: Route, fields: dict[str, Any]) -> bytes:
    """A body with these fields and what the route needs."""
    return json.dumps({"model": "m", **REQUIRED[id(route)], **fields}).encode()


def why(route: Route, **fields: Any) -> str:
    """The reason for which a body with these fields is refused, or ""."""
    refused = refusal(route, encode(route, fields))
    return refused.reason if refused else ""


def read(route: Route, **fields: Any) -> Asked:
    """What a body with these fields asks for."""
    return BodyReader(route, LIMITS).read(encode(route, fields))


def spelled(route: Route, field: str, value: str) -> str:
    """The reason for which a field with a value of this spelling is refused, or ""."""
    body = encode(route, {field: "VALUE"}).replace(b'"VALUE"', value.encode())
    refused = refusal(route, body)
    return refused.reason if refused else ""


class RouteTests(SynchronousTestCase):
    """Which bodies are read."""

    def test_every_relayed_route_is_judged(self) -> None:
        """None is relayed unread where there is a rule for it, and there is one for all."""
        self.assertEqual(set(ROUTES), set(proxy.ROUTES))

    def test_a_plain_request_of_each(self) -> None:
        """Is read as it is meant."""
        for route in ROUTES.values():
            asked = read(route)
            self.assertEqual((asked.model, asked.stream, asked.output, asked.choices), ("m", False, None, 1))
            self.assertIs(asked.route, route)
            self.assertEqual(bytes(asked.members["model"]), b'"m"')


class ModelTests(SynchronousTestCase):
    """A request names its model."""

    def test_a_name(self) -> None:
        """Any text, resolved."""
        for name in ("m", "org/model:7b", "Grüße", 'q"'):
            self.assertEqual(read(CHAT, model=name).model, name)
        self.assertEqual(BodyReader(CHAT, LIMITS).read(b'{"model":"\\u006d"}').model, "m")

    def test_no_name(self) -> None:
        """Missing, null and empty are the same: vLLM would serve its default, whoever may use that."""
        for body in (b"{}", b'{"model":null}', b'{"model":""}', b'{"Model":"m"}'):
            found = refusal(CHAT, body)
            assert found is not None
            self.assertEqual((found.reason, found.status, found.param), ("no_model", 400, "model"))

    def test_what_is_no_text(self) -> None:
        """Is no name."""
        for name in (5, ["m"], {"m": 1}, True):
            self.assertEqual(why(CHAT, model=name), "bad_parameter")


class NumberTests(SynchronousTestCase):
    """Whole numbers, as JSON means them."""

    limits = (
        (CHAT, "max_tokens"),
        (CHAT, "max_completion_tokens"),
        (COMPLETIONS, "max_tokens"),
        (RESPONSES, "max_output_tokens"),
        (MESSAGES, "max_tokens"),
    )

    def test_output_limits(self) -> None:
        """At least one token; null is absent. How many there may be is the budget's to say."""
        for route, field in self.limits:
            self.assertEqual(read(route, **{field: 1}).output, 1)
            self.assertEqual(read(route, **{field: 10**15}).output, 10**15)
            self.assertIsNone(read(route, **{field: None}).output)
            for value in some(0, -1, 1.5, "1", True, [1], {}, 10**400):
                self.assertEqual(why(route, **{field: value}), "bad_parameter", (field, value))

    def test_of_two_limits_the_greater_counts(self) -> None:
        """Servers differ in which they take."""
        self.assertEqual(read(CHAT, max_tokens=5, max_completion_tokens=7).output, 7)
        self.assertEqual(read(CHAT, max_tokens=9, max_completion_tokens=7).output, 9)
        self.assertEqual(read(CHAT, max_tokens=None, max_completion_tokens=7).output, 7)

    def test_spellings(self) -> None:
        """A whole number is one however it is written; what is none, or none that can be held, is refused."""
        for spelling, number in {
            "8": 8,
            "8.0": 8,
            "8e0": 8,
            "0.8e1": 8,
            "80E-1": 8,
            "8.000": 8,
            "1e15": 10**15,
        }.items():
            body = b'{"model":"m","max_tokens":' + spelling.encode() + b"}"
            self.assertEqual(BodyReader(CHAT, LIMITS).read(body).output, number, spelling)
        for spelling in ("8.5", "1e400", "-1e400", "1e-400", "9" * 5000, "-8", "-0", "0e5", '"8"', "8.0000001"):
            self.assertIn(spelled(CHAT, "max_tokens", spelling), ("bad_parameter",), spelling[:20])
        for spelling in ("NaN", "Infinity", "0x8", "08", "+8", "8."):
            self.assertEqual(spelled(CHAT, "max_tokens", spelling), "bad_json", spelling)

    def test_a_field_of_another_route_is_not_decided_on(self) -> None:
        """The model server passes over it, and so do we."""
        self.assertIsNone(read(RESPONSES, max_tokens="many").output)
        self.assertIsNone(read(EMBEDDINGS, max_tokens=-1).output)

    def test_choices(self) -> None:
        """From 1 to the configured number."""
        for route in (CHAT, COMPLETIONS):
            for field in ("n", "best_of"):
                self.assertEqual(
                    [read(route, **{field: value}).choices for value in some(1, CHOICES, None)], [1, CHOICES, 1]
                )
                for value in some(0, CHOICES + 1, 16_384, -1, 1.5, "1", False):
                    self.assertEqual(why(route, **{field: value}), "bad_parameter", (field, value))
        self.assertEqual(read(COMPLETIONS, n=2, best_of=3).choices, 3)

    def test_prompts_count_as_choices(self) -> None:
        """Each is answered as often as is asked."""
        self.assertEqual(read(COMPLETIONS, prompt=["a"] * CHOICES).choices, 1)
        self.assertEqual(read(COMPLETIONS, prompt=["a"] * 2, n=CHOICES // 2).choices, CHOICES // 2)
        for prompt, n in ((["a"] * (CHOICES + 1), 1), (["a"] * 2, CHOICES // 2 + 1), ([[1]] * (CHOICES + 1), 1)):
            self.assertEqual(why(COMPLETIONS, prompt=prompt, n=n), "bad_parameter")

    def test_logprobs(self) -> None:
        """So many alternatives; whether there are any is a truth in chats and a number in completions."""
        for route, field in (
            (CHAT, "top_logprobs"),
            (CHAT, "prompt_logprobs"),
            (RESPONSES, "top_logprobs"),
            (COMPLETIONS, "logprobs"),
            (COMPLETIONS, "prompt_logprobs"),
        ):
            for value in some(0, MOST_LOGPROBS, None):
                self.assertEqual(why(route, **{field: value}), "")
            for value in some(-1, MOST_LOGPROBS + 1, True, "5", 0.5):
                self.assertEqual(why(route, **{field: value}), "bad_parameter", (field, value))
        self.assertEqual([why(CHAT, logprobs=value) for value in some(True, False, None)], [""] * 3)
        self.assertEqual(why(CHAT, logprobs=5), "bad_parameter")

    def test_penalties(self) -> None:
        """From -2 to 2."""
        for route in (CHAT, COMPLETIONS, RESPONSES):
            for field in ("frequency_penalty", "presence_penalty"):
                for value in some(-2, 2, 0, -1.5, 2.0, None):
                    self.assertEqual(why(route, **{field: value}), "")
                for value in some(-2.0001, math.nextafter(2, 3), 1e300, "1", True, [0]):
                    self.assertEqual(why(route, **{field: value}), "bad_parameter", (field, value))
                self.assertEqual(spelled(route, field, "1e999"), "bad_parameter")


class FieldTests(SynchronousTestCase):
    """The other fields."""

    def test_stream(self) -> None:
        """True, false, or null."""
        for route in (CHAT, COMPLETIONS, RESPONSES, MESSAGES):
            self.assertEqual(
                [read(route, stream=value).stream for value in some(True, False, None)], [True, False, False]
            )
            for value in some(1, 0, "true", [], {}):
                self.assertEqual(why(route, stream=value), "bad_parameter")

    def test_stop(self) -> None:
        """One text, or so many of so many characters, however they are escaped."""
        for route, field in (
            (CHAT, "stop"),
            (COMPLETIONS, "stop"),
            (RESPONSES, "stop"),
            (MESSAGES, "stop_sequences"),
        ):
            full = ["\u4f60" * LONGEST_STOP] * MOST_STOPS
            for value in some(None, "x", [], ["x"], ["\0" * LONGEST_STOP] * MOST_STOPS, full, full[0]):
                self.assertEqual(why(route, **{field: value}), "", field)
            for value in some(
                ["x"] * (MOST_STOPS + 1), "x" * (LONGEST_STOP + 1), [5], 5, {}, ["x" * (LONGEST_STOP + 1)]
            ):
                self.assertEqual(why(route, **{field: value}), "bad_parameter", field)
            self.assertEqual(why(route, **{field: ["x" * 50_000] * 5}), "bad_parameter")

    def test_functions(self) -> None:
        """The older form of tools: a list of so many, each with its name."""
        function = {"name": "f", "parameters": {"type": "object"}}
        for value in some(None, [], [function], [function] * MOST_FUNCTIONS):
            self.assertEqual(why(CHAT, functions=value), "")
        for value in some([function] * (MOST_FUNCTIONS + 1), {}, "f", [5], [{}], [{"name": 5}]):
            self.assertEqual(why(CHAT, functions=value), "bad_parameter")
        deep: Any = {}
        for _ in range(70):
            deep = {"properties": deep}
        self.assertEqual(why(CHAT, functions=[{"name": "f", "parameters": deep}]), "too_deep")

    def test_refused_fields(self) -> None:
        """What the configuration names may not be there, unless it is null."""
        for route in ROUTES.values():
            found = refusal(route, encode(route, {"cache_salt": "x"}))
            assert found is not None
            self.assertEqual((found.reason, found.param), ("refused_field", "cache_salt"))
            self.assertIn("cache_salt", found.message)
            self.assertEqual(why(route, cache_salt=None, kv_transfer_params={"x": 1}), "")
            self.assertEqual(why(route, prompt_embeds=""), "refused_field")

    def test_what_is_refused_by_default(self) -> None:
        """Another's salt, tensors, and what is between model servers."""
        limits = BodyLimits(CHOICES, False, frozenset(Config().limits.refused_fields))
        for field in ("cache_salt", "prompt_embeds", "kv_transfer_params", "ec_transfer_params"):
            for route in ROUTES.values():
                found = refusal(route, encode(route, {field: "x"}), limits)
                self.assertEqual(found and found.reason, "refused_field")

        for field in ("audio_embeds", "image_embeds", "prompt_embeds", "uuid", "video_embeds"):
            talk = [{"role": "user", "content": [{"text": "x", field: "AAAA"}]}]
            for route in (CHAT, RESPONSES, MESSAGES, COUNT_TOKENS, EMBEDDINGS):
                found = refusal(route, encode(route, {route.talk[-1]: talk}), limits)
                self.assertEqual(found and (found.reason, found.param), ("refused_field", field))

    def test_fields_that_are_refused_have_no_back_door(self) -> None:
        """vLLM takes what is in `vllm_xargs` as if it stood beside it."""
        for route in ROUTES.values():
            for value in some({"cache_salt": "x"}, {"a": 1, "cache_salt": ["x"]}, {"cache_salt": None}):
                self.assertEqual(why(route, vllm_xargs=value), "refused_field")
            for value in some(None, {}, {"a": "cache_salt"}, {"a": ["cache_salt"]}):
                self.assertEqual(why(route, vllm_xargs=value), "")
            for value in some([], "x", 5):
                self.assertEqual(why(route, vllm_xargs=value), "bad_parameter")

    def test_background(self) -> None:
        """No response is made behind the back of the limiter, and its answer could not be had."""
        for value in some(None, False):
            self.assertEqual(why(RESPONSES, background=value), "")
        for value in some(True, 1, "true", []):
            self.assertEqual(why(RESPONSES, background=value), "bad_parameter")
        self.assertEqual(why(CHAT, background=True), "")

    def test_depth_of_what_is_walked(self) -> None:
        """Tools, schemas and whatever else is no conversation."""
        deep: Any = []
        for _ in range(70):
            deep = [deep]
        for field in ("tools", "response_format", "structured_outputs", "chat_template_kwargs", "unheard_of"):
            self.assertEqual(why(CHAT, **{field: deep}), "too_deep", field)
            self.assertEqual(why(CHAT, **{field: deep[0][0][0][0][0][0][0]}), "", field)

    def test_conversations(self) -> None:
        """Are read wherever they are."""
        far = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]
        for route, field in (
            (CHAT, "messages"),
            (RESPONSES, "input"),
            (RESPONSES, "previous_input_messages"),
            (MESSAGES, "messages"),
            (MESSAGES, "system"),
            (COUNT_TOKENS, "messages"),
            (EMBEDDINGS, "messages"),
        ):
            self.assertEqual(why(route, **{field: far}), "remote_media", field)
            self.assertEqual(why(route, **{field: 5}), "bad_conversation", field)
            self.assertIsNone(refusal(route, encode(route, {field: far}), BodyLimits(1, True, frozenset())), field)
        self.assertEqual(read(RESPONSES, instructions="i", input="j").talk, ["i", "j"])

    def test_prompts(self) -> None:
        """A text or several; what is already tokens is counted."""
        table: list[tuple[Any, list[Any]]] = [
            ("text", ["text"]),
            ("", [""]),
            (["a", "b"], ["a", "b"]),
            ([], []),
            (None, []),
            ([1, 2, 3], [3]),
            ([[1, 2], [3]], [2, 1]),
            ([[]], [0]),
        ]
        for prompt, prompts in table:
            self.assertEqual(read(COMPLETIONS, prompt=prompt).prompts, prompts)
        for prompt in (5, {}, [{}], [None], [1, "a"], [[1], "a"], [[1], 2], [["a"]], [1.5], [True]):
            self.assertEqual(why(COMPLETIONS, prompt=prompt), "bad_parameter", prompt)

    def test_texts_to_embed_are_not_looked_into(self) -> None:
        """They may be many and long."""
        self.assertEqual(why(EMBEDDINGS, input=[[1, 2]] * 100_000), "")
        for value in some("{", ["{", "[{}]"], '[{"image_url":"http://x"}]', [1], [], None):
            self.assertEqual(why(EMBEDDINGS, input=value), "")

    def test_conversations_to_embed(self) -> None:
        """vLLM takes one in the place of texts, or several."""
        for part, reason in (
            ({"type": "image_url", "image_url": {"url": "http://x"}}, "remote_media"),
            ({"type": "image_url", "image_url": {"url": "data:x"}}, ""),
            ({"type": "prompt_embeds", "data": "x"}, "refused_field"),
        ):
            talk = [{"role": "user", "content": [part]}]
            for value in some(talk, [talk], [TALK, talk], [[], talk], [*TALK, talk]):
                self.assertEqual(why(EMBEDDINGS, input=value), reason)
        far = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]
        self.assertIsNone(refusal(EMBEDDINGS, encode(EMBEDDINGS, {"input": far}), BodyLimits(1, True, frozenset())))
        for value in some({}, ["x", {}], [1, {}], [[1], [{}, 1]], [[[{}]]]):
            self.assertEqual(why(EMBEDDINGS, input=value), "bad_conversation", value)


class RefusalTests(SynchronousTestCase):
    """How a refusal of a field reads."""

    def test_it_names_the_field_and_the_rule(self) -> None:
        """And nothing that was sent."""
        found = refusal(CHAT, encode(CHAT, {"n": "secret"}))
        assert found is not None
        self.assertEqual(found.message, f"The field n must be a whole number from 1 to {CHOICES}.")
        body = json.loads(error_body(found, Dialect.OPENAI))
        self.assertEqual((body["error"]["param"], body["error"]["code"]), ("n", "invalid_value"))
        self.assertEqual((found.reason, found.status), ("bad_parameter", 400))
        self.assertNotIn("secret", str(body))

    def test_it_is_counted_under_a_reason_of_the_catalogue(self) -> None:
        """Whichever field it was."""
        for fields in ({"n": 0}, {"stop": 5}, {"cache_salt": 1}, {"messages": 5}, {"model": 5}, {"tools": "x"}):
            found = refusal(CHAT, encode(CHAT, fields))
            if found is not None:
                self.assertIn(found.reason, catalogue())


class OutputTests(SynchronousTestCase):
    """`with_output` writes a limit, and nothing else."""

    def written(self, route: Route, body: bytes) -> bytes:
        """The body with a limit of 7."""
        return with_output(BodyReader(route, LIMITS).read(body), body, 7)

    def test_the_field_by_route(self) -> None:
        """Before the last brace; every other byte stays where it is."""
        for route, field in (
            (CHAT, b"max_tokens"),
            (COMPLETIONS, b"max_tokens"),
            (RESPONSES, b"max_output_tokens"),
            (MESSAGES, b"max_tokens"),
        ):
            self.assertEqual(self.written(route, b'{"model":"m"}'), b'{"model":"m","%b":7}' % field)
        spaced = b' {"model" : "}",\r\n "x": {"y":{}} \n}\n '
        self.assertEqual(self.written(CHAT, spaced), spaced[:-3] + b',"max_tokens":7' + spaced[-3:])

    def test_beside_null(self) -> None:
        """In the other field if there is one; else behind the null, where readers take it for the value."""
        body = b'{"model":"m","max_tokens":null}'
        self.assertEqual(
            json.loads(self.written(CHAT, body)), {"model": "m", "max_tokens": None, "max_completion_tokens": 7}
        )
        self.assertEqual(json.loads(self.written(COMPLETIONS, body)), {"model": "m", "max_tokens": 7})
        both = b'{"model":"m","max_completion_tokens":null,"max_tokens":null}'
        self.assertEqual(json.loads(self.written(CHAT, both))["max_tokens"], 7)

    @given(
        st.dictionaries(st.text(max_size=5), st.none() | st.integers() | st.text(max_size=5) | st.just({"a": []})),
        st.sampled_from([None, 1, 3]),
        st.text(alphabet=" \t\r\n", max_size=3),
    )
    def test_only_the_limit_is_added(self, fields: dict[str, Any], indent: int | None, after: str) -> None:
        """Whatever the body, and however it is laid out."""
        document = {"model": "m", **{f"x-{name}": value for name, value in fields.items()}}
        body = (json.dumps(document, indent=indent) + after).encode()
        written = self.written(CHAT, body)
        self.assertEqual(json.loads(written), {**document, "max_tokens": 7})
        self.assertEqual(written.replace(b',"max_tokens":7', b""), body)


class TypeTests(SynchronousTestCase):
    """`is_json`: a request says what it is."""

    def test_json(self) -> None:
        """In any case, with parameters, as long as they do not contradict it."""
        for value in (
            b"application/json",
            b"Application/JSON",
            b"application/json;charset=utf-8",
            b"application/json; charset=UTF-8",
            b'application/json ; charset="utf-8"',
            b"application/json; charset=utf8",
            b"application/json;",
            b"application/json; profile=x; charset=utf-8",
        ):
            self.assertTrue(is_json([value]), value)

    def test_what_is_not(self) -> None:
        """What a page may send anywhere without asking, above all."""
        for values in (
            [],
            [b""],
            [b"text/plain"],
            [b"text/plain; application/json"],
            [b"application/x-www-form-urlencoded"],
            [b"multipart/form-data; boundary=x"],
            [b"application/jsonx"],
            [b"application/json+x"],
            [b"application/json, text/plain"],
            [b"application/json; charset=utf-16"],
            [b"application/json; charset=utf-8; charset=utf-7"],
            [b"application/json charset=utf-8"],
            [b"application/problem+json"],
            [b"application/json", b"application/json"],
            [b"application/json" + b"; " * 50_000 + b"\0"],
        ):
            self.assertFalse(is_json(values), values[:1])


class AnythingTests(SynchronousTestCase):
    """No body raises anything but a refusal."""

    fields = st.dictionaries(
        st.sampled_from(
            [
                "model",
                "messages",
                "prompt",
                "input",
                "system",
                "n",
                "stop",
                "stream",
                "max_tokens",
                "tools",
                "functions",
            ]
        ),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["role", "content", "type", "text", "image_url", "name"]), inner, max_size=3
                )
            ),
            max_leaves=10,
        ),
    )

    def test_what_is_not_in_the_catalogue(self) -> None:
        """Is not told: the reasons are the catalogue's."""
        for body in (b"", b"[]", b"{", b'{"model":1}', b"\xff", b'{"a":1,"a":2}', b'{"x":' + b"[" * 9999):
            found = refusal(CHAT, body)
            assert found is not None
            self.assertIn(found.reason, catalogue())

    @given(fields, st.sampled_from(sorted(ROUTES)))
    def test_documents(self, document: dict[str, Any], path: bytes) -> None:
        """Well-formed, whatever they say."""
        refusal(ROUTES[path], json.dumps(document).encode())

    @given(st.binary(max_size=60), st.sampled_from(sorted(ROUTES)))
    def test_bytes(self, body: bytes, path: bytes) -> None:
        """Of any kind."""
        self.assertIsNotNone(refusal(ROUTES[path], body))
