"""Reading TOML along the types of Structs, and saying what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy.toml import ConfigError, Inline, Key, Reader, Unexpected, key_path, keys, read, shown

FOLDER = Path("/etc/garden")


def _whispered(text: str, folder: Path) -> str:
    if text == "SHOUT":
        raise Unexpected("a quieter word")
    if text == "?":
        raise ValueError
    return f"{folder}:{text}"


Small = Annotated[int, Meta(ge=1, le=9, description="a number from 1 to 9")]
Short = Annotated[str, Meta(max_length=5, description="a short name")]
Word = Annotated[str, Meta(description="a word"), Reader(_whispered, lambda value: f"<{value}>")]


class Bed(Struct, frozen=True, kw_only=True):
    """A bed of the garden."""

    plant: Short
    rows: Small | None = None


class Fence(Struct, frozen=True, kw_only=True):
    """A section with entries of its own beside its keys."""

    height: Annotated[float, Meta(description="a height in metres")] = 1.0
    gates: Annotated[dict[str, Small], Meta(description="a table of gates"), Inline("/")] = msgspec.field(
        default_factory=lambda: {"/north": 1}
    )


class Garden(Struct, frozen=True, kw_only=True):
    """Every kind of field there is."""

    word: Word = "hush"
    mood: Annotated[Literal["wild", "tidy"], Meta(description='"wild" or "tidy"')] = "wild"
    tools: Annotated[tuple[Short, ...], Meta(min_length=1, description="a list of tools")] = ("hoe",)
    fence: Fence = Fence()
    beds: Annotated[tuple[Bed, ...], Meta(description="[[beds]]")] = ()
    notes: Annotated[dict[Short, Small], Meta(description="a table of notes")] = {}
    paths: Annotated[dict[Short, Small], Meta(min_length=1, description="a table of paths")] = msgspec.field(
        default_factory=lambda: {"in": 2}
    )


def garden(text: str) -> Garden:
    """Read `text` as ``garden.toml``."""
    return read(text, Garden, "garden.toml", FOLDER)


class ReadTests(SynchronousTestCase):
    """`read` turns a valid document into values."""

    def test_what_is_left_out_has_its_default(self) -> None:
        """An empty file is all defaults, and those go through their readers too."""
        self.assertEqual(garden(""), Garden(word="/etc/garden:hush"))

    def test_every_kind_of_field_is_read(self) -> None:
        """Leaves, lists, tables, sections, lists of sections and inline entries arrive under their names."""
        text = """
            word = "rose"
            mood = "tidy"
            tools = ["rake", "hoe"]
            notes = { snail = 3 }
            paths = { out = 4 }
            [fence]
            height = 2
            "/south" = 5
            [[beds]]
            plant = "leek"
            rows = 2
            [[beds]]
            plant = "kale"
        """
        expected = Garden(
            word="/etc/garden:rose",
            mood="tidy",
            tools=("rake", "hoe"),
            notes={"snail": 3},
            paths={"out": 4},
            fence=Fence(height=2.0, gates={"/north": 1, "/south": 5}),
            beds=(Bed(plant="leek", rows=2), Bed(plant="kale")),
        )
        self.assertEqual(garden(text), expected)

    def test_an_inline_default_can_be_overwritten(self) -> None:
        """An entry of the file goes before the default entry of its name."""
        self.assertEqual(garden('fence."/north" = 7').fence.gates, {"/north": 7})

    def test_whatever_is_wrong_is_told_in_one_line(self) -> None:
        """File, key path, expectation, and what was found."""
        table = {
            "mood = 'sad'": 'mood: expected "wild" or "tidy", got \'sad\'',
            "mood = ['wild']": 'mood: expected "wild" or "tidy", got a list',
            "word = 3": "word: expected a word, got 3",
            "word = '?'": "word: expected a word, got '?'",
            "word = 'SHOUT'": "word: expected a quieter word, got 'SHOUT'",
            "tools = 'hoe'": "tools: expected a list of tools, got 'hoe'",
            "tools = []": "tools: expected a list of tools, got an empty list",
            "tools = ['hoe', 'spades']": "tools[1]: expected a short name, got 'spades'",
            "tools = ['hoe', 'hoe']": "tools[1]: expected an entry that is not in the list already",
            "fence = 1": "fence: expected a table, got 1",
            "fence.'/south' = 0": 'fence."/south": expected a number from 1 to 9, got 0',
            "fence.gates = {}": "fence.gates: expected no unknown key; known here: height",
            "fence.hight = 1": "fence.hight: expected no unknown key; did you mean height?",
            "beds = {}": "beds: expected [[beds]], got an empty table",
            "beds = [1]": "beds[0]: expected a table, got 1",
            "[[beds]]": "beds[0].plant: expected a short name; this key cannot be left out",
            "beds = [{plant = 'a', rows = 10}]": "beds[0].rows: expected a number from 1 to 9, got 10",
            "notes = { snails = 1 }": "notes.snails: expected a short name, got 'snails'",
            "notes = 1979-05-27": "notes: expected a table of notes, got a date or time",
            "paths = {}": "paths: expected a table of paths, got an empty table",
            "a = " + "[" * 5000: "expected valid TOML, nested less deeply",
            "a = " + "9" * 5000: "expected valid TOML, with numbers of fewer digits",
        }
        for text, expected in table.items():
            error = self.assertRaises(ConfigError, garden, text)
            self.assertEqual(str(error), f"garden.toml: {expected}", text[:80])

    def test_what_is_no_toml_is_told_with_its_line(self) -> None:
        """Also where the document ends too early; the parser's reason follows."""
        for text, line in {"\n\na b": 3, "a = 1\nb = '''\n\n": 2, "a = 1\na = 2": 2, "a": 1}.items():
            error = self.assertRaises(ConfigError, garden, text)
            self.assertTrue(
                str(error).startswith(f"garden.toml: line {line}: expected valid TOML: "), str(error)
            )

    def test_the_parts_of_an_error_can_be_asked_for(self) -> None:
        """Whoever handles an error need not take its line apart."""
        error = self.assertRaises(ConfigError, garden, "mood = 1")
        self.assertEqual(
            (error.file, error.key_path, error.expected), ("garden.toml", "mood", '"wild" or "tidy", got 1')
        )

    def test_an_unknown_key_that_could_be_a_secret_is_not_repeated(self) -> None:
        """A token pasted on the wrong side of the equals sign stays out of the log."""
        error = self.assertRaises(ConfigError, garden, "hgw_3f9a8b7c6d5e4f3a2b1c = 1")
        self.assertTrue(
            str(error).startswith('garden.toml: "(24 characters)": expected no unknown key'), str(error)
        )

    def test_a_line_of_bad_toml_that_could_hold_a_secret_is_not_repeated(self) -> None:
        """The parser's reason is left out when it quotes too much."""
        text = "notes = { hgw_3f9a8b7c6d5e4f3a2b1c = 1, hgw_3f9a8b7c6d5e4f3a2b1c = 2 }"
        error = self.assertRaises(ConfigError, garden, text)
        self.assertEqual(str(error), "garden.toml: line 1: expected valid TOML")

    @given(st.text(max_size=60))
    def test_any_text_is_read_or_refused_in_one_printable_line(self, text: str) -> None:
        """No document raises anything but `ConfigError`."""
        try:
            garden(text)
        except ConfigError as error:
            self.assertTrue(str(error).isprintable(), str(error))


class WordsTests(SynchronousTestCase):
    """How paths and values are written in a message."""

    def test_key_paths_are_written_as_toml(self) -> None:
        """Bare keys stay bare, others are quoted, items are counted."""
        self.assertEqual(key_path("", "a-b_1"), "a-b_1")
        self.assertEqual(key_path("a", "b"), "a.b")
        self.assertEqual(key_path("tree", "/v1"), 'tree."/v1"')
        self.assertEqual(key_path("a", 'q"\n'), 'a."q\\"\\n"')
        self.assertEqual(key_path("upstream", 0), "upstream[0]")

    def test_plain_values_are_shown(self) -> None:
        """What cannot be a secret is repeated, so that it can be found."""
        table: list[tuple[object, str]] = [
            (True, "true"),
            (False, "false"),
            (12, "12"),
            (-0.5, "-0.5"),
            (float("inf"), "a number beyond 64 bits"),
            (float("nan"), "nan"),
            (1 << 64, "a number beyond 64 bits"),
            ((1 << 64) - 1, "18446744073709551615"),
            ("danger-full-access", "'danger-full-access'"),
            ("tcp:8082:interface=127.0.0.1", "'tcp:8082:interface=127.0.0.1'"),
            ([1], "a list"),
            ({}, "an empty table"),
        ]
        for value, expected in table:
            self.assertEqual(shown(value), expected)

    def test_what_could_be_a_secret_is_only_measured(self) -> None:
        """Tokens, keys, credentials in addresses and long texts are told by their length."""
        secrets = (
            "sk-abc",
            "hgw_3f9a8b7c6d5e4f3a",
            "QWxhZGRpbjpvcGVuIHNlc2FtZQ",
            "http://bob:pw@host",
            "Bearer x",
            "-----BEGIN PRIVATE KEY-----",
            "a b " * 20,
        )
        for secret in secrets:
            self.assertEqual(shown(secret), f"a text of {len(secret)} characters")

    def test_an_error_is_one_line_whatever_it_is_told(self) -> None:
        """Line breaks, escapes and lone surrogates in a file's name or a key are spelled out."""
        error = ConfigError("a\nb", "k\x1b", "x\u2028y\udcff")
        self.assertEqual(str(error), r"a\nb: k\x1b: expected x\u2028y\udcff")


class KeysTests(SynchronousTestCase):
    """`keys` tells what there is to configure."""

    def test_every_key_is_told_with_its_default_and_what_it_takes(self) -> None:
        """Sections are opened, lists of sections too, tables by the entries of their default."""
        expected = [
            Key("word", '"<hush>"', "a word"),
            Key("mood", '"wild"', '"wild" or "tidy"'),
            Key("tools", '["hoe"]', "a list of tools"),
            Key("fence.height", "1", "a height in metres"),
            Key('fence."/north"', "1", "a number from 1 to 9"),
            Key("beds[].plant", "required", "a short name"),
            Key("beds[].rows", "none", "a number from 1 to 9"),
            Key("notes", "{}", "a table of notes"),
            Key("paths.in", "2", "a number from 1 to 9"),
        ]
        self.assertEqual(list(keys(Garden)), expected)
