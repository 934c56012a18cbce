"""What is known of a model file before llama.cpp sees it; `tests/real/local` serves a real one."""

from __future__ import annotations

import contextlib
import io
import sys
import tomllib
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.demo.local_model import PACKAGE, main, model_name, refusal
from tools.pure import PROJECT


class RefusalTests(SynchronousTestCase):
    """What is told in one line, before anything is started."""

    def file(self, content: bytes) -> Path:
        path = Path(self.mktemp())
        path.write_bytes(content)
        return path

    def test_a_file_that_is_not_there(self) -> None:
        """Nor is a folder one, or what is beyond a file."""
        plain = self.file(b"GGUF")
        folder = Path(self.mktemp())
        folder.mkdir()
        for path in (Path("nowhere.gguf"), folder, plain / "below"):
            self.assertEqual(refusal(path, installed=True), f"{path}: there is no such file")

    def test_a_file_that_is_no_model(self) -> None:
        """It is known by its first four bytes."""
        for content in (b"", b"GGU", b"PK\3\4 an archive", b"gguf"):
            path = self.file(content)
            self.assertEqual(refusal(path, installed=True), f"{path}: this is no GGUF file")

    def test_without_the_extra(self) -> None:
        """The line ends in the command that installs it, for this very interpreter."""
        why = refusal(self.file(b"GGUF\3\0\0\0"), installed=False)
        self.assertTrue(why.endswith(f" is not installed: {sys.executable} -m pip install {PACKAGE}"), why)
        self.assertNotIn("\n", why)

    def test_nothing_against_it(self) -> None:
        """What llama.cpp will make of the rest, only llama.cpp knows."""
        self.assertEqual(refusal(self.file(b"GGUF\3\0\0\0"), installed=True), "")

    def test_the_command_installs_what_the_extra_asks_for(self) -> None:
        """The version that pyproject.toml pins."""
        extras = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        self.assertEqual(extras["local"], [PACKAGE])


class NameTests(SynchronousTestCase):
    """What a model file is served as."""

    def test_the_file_s_own_name(self) -> None:
        """Without folder and suffix, and without what a shell or JSON would want quoted."""
        for path, name in (
            ("/models/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", "qwen2.5-coder-0.5b-instruct-q4_k_m"),
            ('a model\'s "best".gguf', "a-model-s-best"),
            ("模型.gguf", "local"),
            ("-v.gguf", "v"),
            ("m" * 80, "m" * 64),
        ):
            self.assertEqual(model_name(Path(path)), name)


class CommandTests(SynchronousTestCase):
    """The command line of the child."""

    def test_a_file_that_cannot_be_served(self) -> None:
        """Ends it with one line."""
        with self.assertRaises(SystemExit) as caught:
            main(["--socket=model.sock", "--gguf=nowhere.gguf"])
        self.assertEqual(caught.exception.code, "nowhere.gguf: there is no such file")

    def test_a_mistake(self) -> None:
        """A socket that llama.cpp would take for a host's name, or a context without room."""
        for arguments, words in (
            (["--socket=model"], "--socket must end in .sock"),
            (["--socket=model.sock", "--context-tokens=0"], "--context-tokens must be at least 1"),
        ):
            with contextlib.redirect_stderr(io.StringIO()) as said, self.assertRaises(SystemExit) as caught:
                main([*arguments, "--gguf=nowhere.gguf"])
            self.assertEqual(caught.exception.code, 2)
            self.assertIn(words, said.getvalue())
