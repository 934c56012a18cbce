"""Events, and the honest names."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.demo.writing import ENGINE_DEATH, FINGERPRINT, VERSION, event


class EventTests(SynchronousTestCase):
    """The form of an event."""

    def test_an_event_is_one_line_of_data(self) -> None:
        """Compact JSON in raw UTF-8, with its name before it if it has one."""
        self.assertEqual(event({"a": ["ü\n", None]}), 'data: {"a":["ü\\n",null]}\n\n')
        self.assertEqual(event({}, "x.y"), "event: x.y\ndata: {}\n\n")

    def test_names_are_honest(self) -> None:
        """Whoever looks at a version sees a rehearsal."""
        self.assertIn("rehearsal", FINGERPRINT)
        self.assertIn("rehearsal", VERSION)

    def test_the_engine_s_death_is_an_error_object(self) -> None:
        """Written with blanks, as vLLM writes only this one."""
        self.assertEqual(json.loads(ENGINE_DEATH)["error"]["code"], 500)
        self.assertEqual(ENGINE_DEATH, json.dumps(json.loads(ENGINE_DEATH)))
