"""The catalogue of refusals: complete, consistent, and silent about the client."""

from __future__ import annotations

import re
from http import HTTPStatus

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy import refusals
from hadesgw.policy.refusals import Refusal, Refused, catalogue

AFTER_THE_HEAD = {"upstream_truncated", "upstream_idle", "client_stalled"}
"""Reasons that end an answer which has begun."""


class CatalogueTests(SynchronousTestCase):
    """What holds of every entry."""

    def test_every_refusal_is_in_it_under_its_reason(self) -> None:
        """And nothing else is."""
        named = [value for value in vars(refusals).values() if isinstance(value, Refusal)]
        self.assertEqual(sorted(catalogue()), sorted(entry.reason for entry in named))
        for reason, entry in catalogue().items():
            self.assertEqual(entry.reason, reason)

    def test_two_refusals_never_share_a_reason(self) -> None:
        """A metric could not tell them apart: the catalogue is refused."""
        twin = Refusal(status=418, reason="bad_host", code="teapot", message="I am not that one.")
        vars(refusals)["TWIN"] = twin
        self.addCleanup(vars(refusals).pop, "TWIN")
        self.assertRaises(RuntimeError, catalogue)

    def test_words_are_plain_and_statuses_known(self) -> None:
        """Slugs for programs, one sentence for people, a status of RFC 9110's that says error."""
        for entry in catalogue().values():
            self.assertRegex(entry.reason, r"\A[a-z][a-z_]{2,30}\Z")
            self.assertRegex(entry.code, r"\A(?:[a-z][a-z_]{2,30}|[A-Z][A-Z_]{2,30})\Z")
            self.assertRegex(entry.message, re.compile(r"\A[A-Z][ -~]{10,120}\.\Z"))
            self.assertGreaterEqual(HTTPStatus(entry.status), 400)

    def test_who_may_try_again_is_told_when(self) -> None:
        """Every 503 that can begin an answer has whole seconds to wait; what waiting does not cure has none."""
        for entry in catalogue().values():
            if entry.status in (429, 503) and entry.reason not in AFTER_THE_HEAD:
                self.assertIsInstance(entry.retry_after, int, entry.reason)
                self.assertGreaterEqual(entry.retry_after or 0, 1, entry.reason)
            else:
                self.assertIsNone(entry.retry_after, entry.reason)

    def test_a_fault_of_framing_closes_the_connection(self) -> None:
        """Where the next request would begin is not known then; nor may a body nobody read be taken for one."""
        closing = {reason for reason, entry in catalogue().items() if entry.close}
        framing = {
            "bad_request_line",
            "bad_target",
            "bad_field",
            "bad_host",
            "bad_length",
            "bad_chunk",
            "bad_trailer",
            "bad_version",
            "unknown_coding",
            "unknown_method",
            "target_too_long",
            "head_too_large",
            "head_timeout",
            "misdirected",
            "encoded_body",
            "bad_expectation",
            "body_too_large",
            "body_timeout",
            "body_memory",
            "too_many_connections",
        }
        self.assertEqual(framing - closing, set())

    def test_it_is_raised_where_it_is_found(self) -> None:
        """`Refused` carries it, and says no more than its reason."""
        refused = Refused(refusals.BAD_HOST)
        self.assertIs(refused.refusal, refusals.BAD_HOST)
        self.assertEqual(str(refused), "bad_host")

    def test_a_field_at_fault_is_named(self) -> None:
        """With the rule it breaks; the reason, by which it is counted, stays the catalogue's."""
        bad = refusals.bad_parameter("n", "a whole number")
        self.assertEqual((bad.message, bad.param), ("The field n must be a whole number.", "n"))
        refused = refusals.refused_field("cache_salt")
        self.assertEqual((refused.message, refused.param), ("Clients may not set the field cache_salt.", "cache_salt"))
        for named, entry in ((bad, refusals.BAD_PARAMETER), (refused, refusals.REFUSED_FIELD)):
            self.assertEqual((named.reason, named.status, named.code), (entry.reason, entry.status, entry.code))
