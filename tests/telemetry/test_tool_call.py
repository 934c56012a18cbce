"""One tool call: what its arguments are."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.telemetry.tool_call import Call

OBJECTS = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=5,
    ),
    max_size=3,
)


def state(*pieces: str, whole: bool = True) -> str:
    """The state of a call whose arguments come in these pieces."""
    call = Call("id")
    for piece in pieces:
        call.add(piece)
    return call.state(whole)


class StateTests(SynchronousTestCase):
    """Whole, partial, broken."""

    @given(OBJECTS, st.booleans(), st.data())
    def test_every_beginning_of_an_object_is_partial(
        self, value: dict[str, object], escape: bool, data: st.DataObject
    ) -> None:
        """And the object is whole."""
        text = json.dumps(value, ensure_ascii=escape)
        at = data.draw(st.integers(1, len(text) - 1))
        self.assertEqual(state(text[:at], text[at:]), "whole")
        self.assertEqual(state(text[:at]), "partial")

    def test_nothing(self) -> None:
        """A tool that takes nothing may be called with nothing; in an answer that broke off more could have come."""
        self.assertEqual((state(), state(" "), state(whole=False)), ("whole", "whole", "partial"))

    def test_silence(self) -> None:
        """Until something of its arguments has come, or they were too long to be kept."""
        call = Call(None)
        self.assertTrue(call.silent)
        call.add("")
        self.assertFalse(call.silent)
        call.give_up()
        self.assertFalse(call.silent)

    def test_what_can_not_become_an_object(self) -> None:
        """Other values, other notations, and too much."""
        for text in ("[]", '"x"', "null", "{'a':1}", '{"a":1}}', '{"a":1,}', '{"a":01', '{"a":"\\x', "{]", "{\ud800"):
            self.assertEqual(state(text), "broken", text)
        self.assertEqual(state('{"a":' * 100_000), "broken")

    def test_a_number_that_no_machine_holds(self) -> None:
        """It is well formed all the same."""
        self.assertEqual(state('{"a": 1e999}'), "whole")

    def test_what_is_too_long_is_not_judged(self) -> None:
        """Nor kept."""
        call = Call(None)
        call.add("{")
        call.give_up()
        call.add("}")
        self.assertEqual(call.state(True), "unjudged")

    def test_identity(self) -> None:
        """Two that both have one, and not the same, are two."""
        self.assertTrue(Call("a").is_other("b"))
        for one, other in (("a", "a"), ("a", None), (None, "b"), (None, None), ("a", 1)):
            self.assertFalse(Call(one).is_other(other))
