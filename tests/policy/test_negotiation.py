"""What a request for a file wants of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy.negotiation import accepts_gzip, is_fresh, prefers_openmetrics


class CodingTests(SynchronousTestCase):
    """`Accept-Encoding`."""

    def test_what_browsers_send(self) -> None:
        """Each of them takes gzip."""
        for value in (b"gzip", b"gzip, deflate, br, zstd", b"GZIP", b"x-gzip", b"br;q=1.0, gzip;q=0.8, *;q=0.1"):
            self.assertTrue(accepts_gzip([value]), value)

    def test_whoever_does_not_ask_is_not_given_it(self) -> None:
        """Nothing said, something else said, or gzip refused by name or with all the rest."""
        for value in (b"", b"identity", b"br", b"gzip;q=0", b"gzip; q=0.000, *", b"*;q=0", b"gzipped"):
            self.assertFalse(accepts_gzip([value]), value)
        self.assertFalse(accepts_gzip([]))

    def test_the_rest_stands_for_what_is_not_named(self) -> None:
        """`*` admits gzip, a name goes before it, and fields of the same name are one list."""
        self.assertTrue(accepts_gzip([b"br, *"]))
        self.assertTrue(accepts_gzip([b"*;q=0", b"gzip"]))
        self.assertTrue(accepts_gzip([b"br", b"gzip"]))

    def test_what_is_not_well_formed_counts_for_nothing(self) -> None:
        """Beside what is."""
        self.assertFalse(accepts_gzip([b"gzip;q=2"]))
        self.assertFalse(accepts_gzip([b"gzip;q=1;x"]))
        self.assertTrue(accepts_gzip([b";;, gzip , =,"]))

    @given(st.lists(st.binary(max_size=40), max_size=3))
    def test_nothing_breaks_it(self, values: list[bytes]) -> None:
        """Whatever bytes a client sends, there is a verdict."""
        self.assertIn(accepts_gzip(values), (True, False))


class FreshnessTests(SynchronousTestCase):
    """`If-None-Match`."""

    def test_the_tag_alone_or_among_others(self) -> None:
        """Weak or strong, in one field or several."""
        for values in ([b'"a"'], [b'W/"a"'], [b'"b", "a"'], [b'"b","a" '], [b'"b"', b'W/"a"'], [b"*"], [b" * "]):
            self.assertTrue(is_fresh(values, b'"a"'), values)

    def test_anything_else_is_not_it(self) -> None:
        """Another tag, one that only contains it, one without quotes, none."""
        for values in ([], [b""], [b'"b"'], [b'"aa"'], [b"a"], [b'"b*"'], [b'"'], [b'"a']):
            self.assertFalse(is_fresh(values, b'"a"'), values)

    @given(st.lists(st.binary(max_size=40), max_size=3))
    def test_nothing_breaks_it(self, values: list[bytes]) -> None:
        """Whatever bytes a client sends, there is a verdict."""
        self.assertIn(is_fresh(values, b'"a"'), (True, False))


class FormTests(SynchronousTestCase):
    """In which of Prometheus' text forms meters are shown."""

    def test_what_scrapers_send(self) -> None:
        """Prometheus 2 and 3 name OpenMetrics above the older text, in the version that is ours."""
        for accept, openmetrics in (
            (b"application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75", True),
            (b"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;q=0.4", True),
            (b'application/openmetrics-text; version="1.0.0"; charset=utf-8', True),
            (b"Application/OpenMetrics-Text", True),
            (b"text/plain;version=0.0.4;q=1,application/openmetrics-text;version=1.0.0;q=0.2", False),
            (b"*/*", False),
            (b"", False),
        ):
            self.assertEqual(prefers_openmetrics([accept]), openmetrics, accept)

    def test_other_versions_are_not_promised(self) -> None:
        """Nor is what somebody has ruled out."""
        for parameters in (b"version=0.0.1", b"version=2.0.0", b"version=99.0", b"version=x", b"q=0", b"q=x", b"q=-1"):
            self.assertFalse(prefers_openmetrics([b"application/openmetrics-text;" + parameters]), parameters)

    def test_all_fields_count(self) -> None:
        """One list may stand in several fields."""
        self.assertTrue(prefers_openmetrics([b"text/plain;q=0.1", b"application/openmetrics-text"]))
        self.assertFalse(prefers_openmetrics([]))

    @given(st.lists(st.binary(max_size=40) | st.from_regex(rb"[a-z/*;=q.01, ]{0,40}"), max_size=4))
    def test_nothing_breaks_it(self, values: list[bytes]) -> None:
        """Whatever the fields hold."""
        self.assertIn(prefers_openmetrics(values), (True, False))
