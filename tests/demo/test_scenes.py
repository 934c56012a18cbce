"""The named rehearsals."""

from __future__ import annotations

import json
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.demo.answer import Answer, perform
from hadesgw.demo.conversation import Conversation, Message, Tool
from hadesgw.demo.scenes import MEMORY_TOOLS, SCENES, Stage, scene, summary

PAGE = Path(__file__).resolve().parents[2] / "docs" / "rehearsal.md"
LOOK = Tool("look", "", {"properties": {"where": {"enum": ["up"]}}})
LEAP = Tool("leap", "", {})


def play(name: str, prompt: str = "Good morning", *tools: Tool) -> Answer:
    found = scene(name)
    assert found is not None, name
    return found(Stage(Conversation((Message("user", prompt),), tools), 100, 200))


class SceneTests(SynchronousTestCase):
    """What each scene plays."""

    def test_every_scene_can_be_played(self) -> None:
        """With the same answer each time."""
        for name in (*SCENES, *MEMORY_TOOLS):
            self.assertEqual(play(name), play(name))
            perform(play(name), limit=5000)

    def test_texts_are_honest(self) -> None:
        """An answer in words says that it is a rehearsal."""
        for name in ("plain", "help", "long", "reason", "cut", "slow-start"):
            self.assertIn("rehearsal model", play(name).text, name)
        self.assertIn("I am a rehearsal", play("reason").reasoning)

    def test_plain_repeats_how_the_prompt_began(self) -> None:
        """Twelve words at most, in Markdown with a block of code."""
        text = play("plain", " ".join(map(str, range(100, 130)))).text
        self.assertIn("“100 101 102 103 104 105 106 107 108 109 110 111”", text)
        self.assertEqual(text.count("```"), 2)

    def test_plain_shows_a_wanted_file(self) -> None:
        """To clients without tools, named before its block as editors that read Markdown want it."""
        self.assertRegex(play("plain", "create hello.py").text, r"\n\nhello\.py\n```python\n(?s:.*)\n```\n\Z")

    def test_long_is_as_long_as_it_says(self) -> None:
        """Six hundred tokens."""
        self.assertEqual(perform(play("long"), limit=5000).tokens, 600)

    def test_calls_take_offered_tools(self) -> None:
        """And invented ones if none is offered."""
        self.assertEqual(play("tool").calls[0].name, "get_weather")
        self.assertEqual([call.name for call in play("tool", "leap!", LOOK, LEAP).calls], ["leap"])
        self.assertEqual([call.name for call in play("tool-fragments", "x", LOOK).calls], ["look"])
        self.assertEqual(
            [call.name for call in play("tools-parallel", "x", LOOK, LEAP).calls], ["look", "leap", "look"]
        )
        self.assertEqual(len(play("tools-parallel").calls), 3)

    def test_whole_and_fragmented_arguments(self) -> None:
        """One delta or several."""
        for name, pieces in (("tool", 1), ("tool-fragments", 6)):
            made = perform(play(name), limit=99).pieces
            self.assertEqual(len([piece for piece in made if piece.kind == "arguments"]), pieces)

    def test_broken_arguments_are_no_json(self) -> None:
        """With an offered tool too."""
        for tools in ((), (LOOK,), (LEAP,)):
            (call,) = play("tool-broken", "x", *tools).calls
            self.assertRaises(ValueError, json.loads, call.arguments)

    def test_memory_tools_are_called_with_json(self) -> None:
        """Each alone, and four in the memory scene."""
        for name in MEMORY_TOOLS:
            (call,) = play(name).calls
            self.assertEqual(call.name, name)
            json.loads(call.arguments)
        self.assertEqual(len(play("memory").calls), 4)

    def test_a_memory_warning_is_an_event_in_json(self) -> None:
        """With how full the context is, and the flush after it."""
        answer = play("memory-warning")
        found = re.search(r"```json\n(.*)\n```", answer.text)
        assert found is not None
        event = json.loads(found.group(1))
        self.assertEqual((event["type"], event["details"]["tokens"], event["details"]["limit"]), ("warning", 100, 200))
        self.assertEqual([call.name for call in answer.calls], ["evict_fifo", "write_recall"])

    def test_refusals_have_their_status(self) -> None:
        """The budget's body is exactly what HADES says it is."""
        self.assertEqual((play("budget").status, play("budget").body), (400, '{"error": "TOKEN_BUDGET_EXCEEDED"}'))
        self.assertEqual([play(name).status for name in ("429", "500", "503")], [429, 500, 503])
        self.assertEqual([play(name).retry_after for name in ("429", "500", "503")], [1, None, 1])

    def test_an_unknown_name_is_no_scene(self) -> None:
        """It is for the chooser to say so."""
        self.assertIsNone(scene("hamlet"))


class PageTests(SynchronousTestCase):
    """docs/rehearsal.md."""

    def test_the_page_lists_every_scene(self) -> None:
        """With the words the model itself says in `rehearse: help`."""
        page = PAGE.read_text("utf-8")
        rows = dict(re.findall(r"^\| `rehearse: ([\w-]+)` \| (.*) \|$", page, re.MULTILINE))
        self.assertEqual(rows, {name: summary(name) for name in SCENES})

    def test_the_page_lists_every_field_of_an_answer(self) -> None:
        """What a script can set."""
        page = PAGE.read_text("utf-8")
        rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ", page, re.MULTILINE)
        self.assertEqual(rows, list(Answer.__struct_fields__))

    def test_the_page_names_every_memory_tool(self) -> None:
        """They can be asked for one by one."""
        page = PAGE.read_text("utf-8")
        self.assertEqual([name for name in MEMORY_TOOLS if f"`{name}`" not in page], [])
