"""Choosing what to play."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.demo.answer import Answer, perform
from hadesgw.demo.conversation import Call, Conversation, Message, Tool
from hadesgw.demo.scenes import Stage
from hadesgw.demo.script import Script, ScriptError, built_in, choose, parse, read_script

WEATHER = Tool("get_weather", "", {"properties": {"city": {"type": "string"}}})
EXEC = Tool("exec_command", "", {})
PAGE = Path(__file__).resolve().parents[2] / "docs" / "rehearsal.md"


def stage(*turns: tuple[str, str], tools: tuple[Tool, ...] = ()) -> Stage:
    return Stage(Conversation(tuple(Message(role, text) for role, text in turns), tools), 10, 2048)


def answer(prompt: str, script: Script | None = None, tools: tuple[Tool, ...] = ()) -> Answer:
    return choose(script or built_in(), stage(("user", prompt), tools=tools))


class DirectiveTests(SynchronousTestCase):
    """`rehearse:` in a prompt."""

    def test_a_directive_plays_its_scene(self) -> None:
        """Anywhere in the prompt, in any case, the last one if there are several."""
        self.assertEqual(answer("rehearse: 503").status, 503)
        self.assertEqual(answer("Please\nREHEARSE:Budget\nthank you").status, 400)
        self.assertEqual(answer("rehearse: 500, no, rehearse: 429").status, 429)
        self.assertEqual(answer("rehearse: store_core").calls[0].name, "store_core")

    def test_numbers_change_the_scene(self) -> None:
        """Whole and broken ones, each to the field it names."""
        changed = answer("rehearse: long tokens=30 tokens_per_second=2.5")
        self.assertEqual((changed.tokens, changed.tokens_per_second), (30, 2.5))

    def test_mistakes_are_explained(self) -> None:
        """An unknown scene, an unknown number and one out of bounds get an answer that says so."""
        self.assertIn("no rehearsal of that name", answer("rehearse: hamlet").text)
        self.assertIn("unknown field `acts`", answer("rehearse: long acts=5").text)
        self.assertIn("tokens_per_event", answer("rehearse: long tokens_per_event=0").text)

    def test_what_is_no_number_is_passed_over(self) -> None:
        """It is then part of the sentence."""
        self.assertEqual(answer("rehearse: long tokens=1.2.3").tokens, 600)
        self.assertEqual(answer("rehearse: long tokens=many").tokens, 600)

    def test_a_result_ends_a_directive(self) -> None:
        """Else a tool would be called again and again."""
        chosen = choose(built_in(), stage(("user", "rehearse: tool"), ("assistant", ""), ("tool", "sunny")))
        self.assertEqual(chosen.calls, ())
        self.assertIn("> sunny", chosen.text)

    @given(st.text(max_size=80))
    def test_any_prompt_has_an_answer(self, prompt: str) -> None:
        """And the same one each time."""
        for text in (prompt, f"rehearse: {prompt}"):
            self.assertEqual(answer(text), answer(text))
            perform(answer(text), limit=500)


class OwnMindTests(SynchronousTestCase):
    """Without directive and rule."""

    def test_a_fitting_tool_is_called(self) -> None:
        """With arguments from the prompt."""
        called = answer("What is the weather in Rome?", tools=(WEATHER,))
        self.assertEqual(called.calls, (Call("get_weather", '{"city": "Rome"}'),))

    def test_results_are_quoted(self) -> None:
        """The last four, each cut to what can be read."""
        turns = [("user", "weather"), *(("tool", f"result {n} " + "x" * 1000) for n in range(6)), ("tool", " ")]
        text = choose(built_in(), stage(*turns, tools=(WEATHER,))).text
        self.assertNotIn("result 2", text)
        self.assertIn("> result 3 ", text)
        self.assertIn("> (nothing)", text)
        self.assertLess(len(text), 3000)

    def test_an_agent_is_led_through_an_edit(self) -> None:
        """Before its results are quoted."""
        self.assertEqual(answer("create hello.py", tools=(EXEC,)).calls[0].name, "exec_command")

    def test_memory_pressure_is_answered_by_a_flush(self) -> None:
        """If the last message is a warning and the tools are offered."""
        tools = (Tool("evict_fifo", "", {}), Tool("write_recall", "", {}))
        for kind in ("system_alert", "warning", "flush"):
            warning = f'{{"type": "{kind}", "message": "nearly full"}}'
            calls = choose(built_in(), stage(("user", "hi"), ("system", warning), tools=tools)).calls
            self.assertEqual([call.name for call in calls], ["evict_fifo", "write_recall"])
            self.assertEqual(choose(built_in(), stage(("user", warning))).calls, ())
        self.assertEqual(choose(built_in(), stage(("user", "hi"), ("assistant", "x"), tools=tools)).calls, ())
        self.assertEqual(choose(built_in(), stage(tools=tools)).calls, ())


class FormTests(SynchronousTestCase):
    """Where the client asks for JSON of a certain form."""

    SCHEMA: ClassVar = {"type": "object", "properties": {"city": {"type": "string"}}}

    def said(self, prompt: str, script: Script | None = None, *tools: Tool) -> Answer:
        conversation = Conversation((Message("user", prompt),), tools, schema=self.SCHEMA)
        return choose(script or built_in(), Stage(conversation, 10, 2048))

    def test_texts_have_it(self) -> None:
        """Whatever would be said else, by a directive or a built-in rule too; what is thought stays."""
        for prompt in ("in Rome", "rehearse: plain in Rome", "Think aloud of life in Rome", "rehearse: long of Rome"):
            self.assertEqual((self.said(prompt).text, self.said(prompt).tokens), ('{"city": "Rome"}', 0))
        self.assertTrue(self.said("rehearse: reason").reasoning)

    def test_calls_and_refusals_do_not(self) -> None:
        """They are no texts."""
        self.assertEqual(self.said("weather in Rome", None, WEATHER).calls[0].name, "get_weather")
        self.assertEqual(self.said("rehearse: 503").status, 503)
        self.assertEqual(self.said("rehearse: silence").text, "")

    def test_a_script_has_the_last_word(self) -> None:
        """What a rule says is said as it stands, to see what becomes of it; a scene is formed."""
        rules = parse('[[rule]]\nprompt = "a"\nanswer = { text = "no" }\n[[rule]]\nprompt = "b"\n').rules
        self.assertEqual(self.said("a", Script(rules)).text, "no")
        self.assertIn("city", self.said("b", Script(rules)).text)


class OneCallTests(SynchronousTestCase):
    """Where the client takes one call in an answer."""

    def test_the_first_is_made(self) -> None:
        """Whatever is played; the rest of the answer stays."""
        conversation = Conversation((Message("user", "rehearse: memory"),), one_call=True)
        chosen = choose(built_in(), Stage(conversation, 10, 2048))
        self.assertEqual([call.name for call in chosen.calls], ["search_recall"])
        self.assertTrue(chosen.text)


class RuleTests(SynchronousTestCase):
    """Scripts."""

    def test_the_first_rule_that_fits_is_played(self) -> None:
        """Case is ignored, and a rule without expressions fits any prompt."""
        script = parse('[[rule]]\nprompt = "^moin"\nanswer = {text = "Moin!"}\n[[rule]]\nanswer = {text = "Hm."}')
        self.assertEqual(answer("MOIN you", script).text, "Moin!")
        self.assertEqual(answer("hello", script).text, "Hm.")

    def test_groups_and_the_prompt_are_filled_in(self) -> None:
        """In the text, the reasoning and the arguments; other braces stay."""
        script = parse(
            "[[rule]]\nprompt = 'in (?P<city>\\w+)'\n"
            "[rule.answer]\ntext = '{city}, {other}'\nreasoning = '{prompt}'\n"
            "calls = [{name = 'look', arguments = '{\"city\": \"{city}\"}'}]"
        )
        filled = answer("sun in Rome", script)
        self.assertEqual((filled.text, filled.reasoning), ("Rome, {other}", "sun in Rome"))
        self.assertEqual(filled.calls, (Call("look", '{"city": "Rome"}'),))

    def test_a_rule_changes_a_scene(self) -> None:
        """It starts from the one it names and keeps what it does not set."""
        script = parse('[[rule]]\nrehearse = "stall"\nanswer = {stall_seconds = 5}')
        stalled = answer("x", script)
        self.assertEqual((stalled.fault, stalled.after_tokens, stalled.stall_seconds), ("stall", 20, 5))

    def test_system_messages_can_be_required(self) -> None:
        """Both expressions must be found."""
        script = parse('[[rule]]\nsystem = "be (?P<how>brief)"\nprompt = "x"\nanswer = {text = "{how}"}')
        self.assertEqual(choose(script, stage(("system", "Be brief."), ("user", "x"))).text, "brief")
        self.assertNotEqual(choose(script, stage(("user", "x"))).text, "brief")

    def test_rules_are_for_prompts_or_for_results(self) -> None:
        """Never for both."""
        script = parse('[[rule]]\nafter_tool = true\nanswer = {text = "after"}\n[[rule]]\nanswer = {text = "before"}')
        self.assertEqual(answer("x", script).text, "before")
        self.assertEqual(choose(script, stage(("user", "x"), ("tool", "y"))).text, "after")

    def test_a_bad_script_is_explained(self) -> None:
        """The message says in which rule what was expected."""
        for text, words in (
            ("rule", "expected valid TOML: Expected '=' after a key"),
            (f"rule = {'9' * 5000}", "expected valid TOML: "),
            ("[rule]", "rule: expected `array`, got `object`"),
            ("[[rule]]\n[[rule]]\nafter_tool = 1", "rule 2: after_tool: expected `bool`, got `int`"),
            ("[[rule]]\nanswer = {zzz = ''}", "rule 1: answer.zzz: expected no unknown key"),
            ("[[rules]]", "rules: expected no unknown key; did you mean rule?"),
            ("[[rule]]\nprompts = 'x'", "rule 1: prompts: expected no unknown key; did you mean prompt?"),
            ("[[rule]]\n[[rule]]\nprompt = '('", "rule 2: prompt: expected a regular expression"),
            ("[[rule]]\nsystem = '('", "rule 1: system: expected a regular expression"),
            ("[[rule]]\nrehearse = 'hamlet'", "rule 1: rehearse: expected one of plain, help"),
            ("[[rule]]\nanswer = {txt = ''}", "rule 1: answer.txt: expected no unknown key; did you mean text?"),
            ("[[rule]]\nanswer = {status = 418}", "rule 1: answer.status: invalid enum value 418"),
            ("[[rule]]\nanswer = {tokens = -1}", "rule 1: answer.tokens: expected `int` >= 0"),
        ):
            self.assertIn(words, str(self.assertRaises(ScriptError, parse, text)), text)

    def test_a_file_that_cannot_be_read_is_named(self) -> None:
        """In the same line as what is wrong with it, also where that is what it says."""
        path = Path(self.mktemp())
        told = str(self.assertRaises(ScriptError, read_script, path))
        self.assertEqual(told, f"{path}: expected a readable file: No such file or directory")
        path.write_bytes(b"\xff")
        self.assertEqual(str(self.assertRaises(ScriptError, read_script, path)), f"{path}: expected UTF-8")
        path.write_text("[[rule]]\nprompt = '('\n")
        self.assertIn(f"{path}: rule 1: prompt: ", str(self.assertRaises(ScriptError, read_script, path)))
        path.write_text("[[rule]]\nprompt = 'x'\n")
        self.assertEqual(read_script(path).rules[0].prompt, "x")

    def test_plain_words_are_understood(self) -> None:
        """The built-in rules."""
        self.assertEqual(answer("Tell me a long story").tokens, 600)
        self.assertTrue(answer("Think step by step.").reasoning)
        self.assertIn("`rehearse: cut`", answer("What can you do?").text)
        committed = choose(built_in(), stage(("system", "Write a commit message"), ("user", "diff")))
        self.assertEqual(committed.text.count("\n"), 0)

    def test_the_script_of_the_page_is_a_script(self) -> None:
        """What docs/rehearsal.md shows can be copied."""
        blocks = re.findall(r"```toml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
        self.assertTrue(blocks)
        for block in blocks:
            self.assertTrue(parse(block).rules)
