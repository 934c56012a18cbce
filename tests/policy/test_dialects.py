"""How a refusal is said: in the form the caller's library understands."""

from __future__ import annotations

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy import refusals
from hadesgw.policy.dialects import Dialect, dialect_of, error_body, error_event
from hadesgw.policy.refusals import Refusal
from hadesgw.policy.response_trail import ResponseTrail

FIXED = Refusal(status=400, reason="fixed", code="fixed", message="Fixed by a contract.", body=b'{"error": "FIXED"}')


def refusal(status: int) -> Refusal:
    """A refusal with this status."""
    return Refusal(status=status, reason="a_reason", code="a_code", message="A sentence.")


class DialectTests(SynchronousTestCase):
    """`dialect_of` tells the protocol by the path."""

    def test_paths_of_the_newer_protocols_are_theirs(self) -> None:
        """And whatever is below them; everything else speaks OpenAI's chat form."""
        table = {
            b"/v1/responses": Dialect.RESPONSES,
            b"/v1/responses/resp_1/cancel": Dialect.RESPONSES,
            b"/v1/messages": Dialect.ANTHROPIC,
            b"/v1/messages/count_tokens": Dialect.ANTHROPIC,
            b"/v1/chat/completions": Dialect.OPENAI,
            b"/v1/responsesx": Dialect.OPENAI,
            b"/v1/messagesx": Dialect.OPENAI,
            b"/V1/messages": Dialect.OPENAI,
            b"/v1/%6dessages": Dialect.OPENAI,
            b"/api/codex": Dialect.SESSIONS,
            b"/api/codex/input": Dialect.SESSIONS,
            b"/ws/codex": Dialect.SESSIONS,
            b"/ws/codex/": Dialect.SESSIONS,
            b"/api/codexx": Dialect.OPENAI,
            b"/api/ticket": Dialect.OPENAI,
            b"/": Dialect.OPENAI,
            b"": Dialect.OPENAI,
        }
        for path, dialect in table.items():
            self.assertIs(dialect_of(path), dialect, path)


class BodyTests(SynchronousTestCase):
    """`error_body` writes the answer's body."""

    def test_openai_and_responses_share_a_form(self) -> None:
        """The error with message, type, param and code."""
        expected = {"message": "A sentence.", "type": "not_found_error", "param": None, "code": "a_code"}
        for dialect in (Dialect.OPENAI, Dialect.RESPONSES):
            self.assertEqual(msgspec.json.decode(error_body(refusal(404), dialect)), {"error": expected})

    def test_anthropic_has_its_own(self) -> None:
        """A typed object around the error, which has no code."""
        expected = {"type": "error", "error": {"type": "not_found_error", "message": "A sentence."}}
        self.assertEqual(msgspec.json.decode(error_body(refusal(404), Dialect.ANTHROPIC)), expected)

    def test_sessions_say_it_as_they_say_everything(self) -> None:
        """With `status` and `message`, as the integration guide's clients read them, and the code."""
        expected = {"status": "error", "message": "A sentence.", "code": "a_code"}
        self.assertEqual(msgspec.json.decode(error_body(refusal(404), Dialect.SESSIONS)), expected)

    def test_the_type_follows_the_status(self) -> None:
        """By each vendor's table; an unlisted client error is an invalid request, an unlisted fault the server's."""
        table = {
            400: ("invalid_request_error", "invalid_request_error"),
            401: ("authentication_error", "authentication_error"),
            403: ("permission_error", "permission_error"),
            404: ("not_found_error", "not_found_error"),
            408: ("invalid_request_error", "invalid_request_error"),
            413: ("invalid_request_error", "request_too_large"),
            421: ("invalid_request_error", "invalid_request_error"),
            429: ("rate_limit_error", "rate_limit_error"),
            500: ("server_error", "api_error"),
            502: ("server_error", "api_error"),
            503: ("server_error", "overloaded_error"),
            504: ("server_error", "timeout_error"),
        }
        for status, (openai, anthropic) in table.items():
            said = msgspec.json.decode(error_body(refusal(status), Dialect.OPENAI))
            self.assertEqual(said["error"]["type"], openai, status)
            said = msgspec.json.decode(error_body(refusal(status), Dialect.ANTHROPIC))
            self.assertEqual(said["error"]["type"], anthropic, status)

    def test_a_body_that_a_contract_fixes_is_the_same_for_all(self) -> None:
        """To the byte."""
        for dialect in Dialect:
            self.assertEqual(error_body(FIXED, dialect), FIXED.body)

    def test_every_refusal_can_be_said_in_every_dialect(self) -> None:
        """As JSON in which its message stands, unless a contract fixes the body."""
        for entry in refusals.catalogue().values():
            for dialect in Dialect:
                said = msgspec.json.decode(error_body(entry, dialect))
                if entry.body is None:
                    error = said if dialect is Dialect.SESSIONS else said["error"]
                    self.assertEqual(error["message"], entry.message)


class EventTests(SynchronousTestCase):
    """`error_event` writes the end of a stream that broke."""

    def test_each_dialect_has_its_own_event(self) -> None:
        """Named as its client libraries expect it, with the error in its data."""
        error = {"message": "A sentence.", "type": "server_error", "param": None, "code": "a_code"}
        failed = {"code": "a_code", "message": "A sentence."}
        response = {"object": "response", "status": "failed", "error": failed}
        typed = {"type": "error", "error": {"type": "api_error", "message": "A sentence."}}
        table: dict[Dialect, tuple[bytes | None, object]] = {
            Dialect.OPENAI: (None, {"error": error}),
            Dialect.RESPONSES: (b"response.failed", {"type": "response.failed", "response": response}),
            Dialect.ANTHROPIC: (b"error", typed),
            Dialect.SESSIONS: (None, {"type": "error", "content": "A sentence."}),
        }
        for dialect, (name, data) in table.items():
            lines = error_event(refusal(502), dialect).split(b"\n")
            if name is not None:
                self.assertEqual(lines.pop(0), b"event: " + name)
            self.assertTrue(lines[0].startswith(b"data: "), dialect)
            self.assertEqual(msgspec.json.decode(lines[0][6:]), data, dialect)
            self.assertEqual(lines[1:], [b"", b""], dialect)

    def test_a_failed_response_is_the_one_that_had_begun(self) -> None:
        """By its id and the next number of its events, by which libraries tell one response from another."""
        trail = ResponseTrail()
        trail.feed(b'data: {"response":{"id":"resp_1"},"sequence_number":6}\n\n')
        _, _, data = error_event(refusal(502), Dialect.RESPONSES, trail).partition(b"\ndata: ")
        said = msgspec.json.decode(data)
        self.assertEqual((said["response"]["id"], said["sequence_number"]), ("resp_1", 7))

    def test_a_broken_stream_never_looks_complete(self) -> None:
        """One event, whole, and none of the words that end a stream well."""
        for entry in refusals.catalogue().values():
            for dialect in Dialect:
                event = error_event(entry, dialect)
                self.assertEqual(event.count(b"\n\n"), 1)
                self.assertTrue(event.endswith(b"\n\n"))
                for word in (b"[DONE]", b"message_stop", b"response.completed"):
                    self.assertNotIn(word, event)
