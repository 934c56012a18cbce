"""What `--demo` puts in place; `tests/real/test_start.py` and `tests/real/local` see it at work."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.config import load
from hadesgw.demo.opening import MODEL, Opening, OpeningRefused


class OpeningTests(SynchronousTestCase):
    """Who plays the model."""

    def opening(self, script: str | None = None, gguf: str | None = None) -> Opening:
        opening = Opening(load(None), script, gguf)
        self.addCleanup(shutil.rmtree, Path(opening.config.upstream[0].socket).parent)
        return opening

    def model_file(self) -> Path:
        path = Path(self.mktemp()).with_name("small model.gguf")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"GGUF\3\0\0\0")
        return path

    def install_extra(self) -> None:
        """Let llama.cpp be found, though there is nothing of it."""
        folder = Path(self.mktemp()).absolute()
        (folder / "xllamacpp").mkdir(parents=True)
        (folder / "xllamacpp" / "__init__.py").touch()
        sys.path.insert(0, str(folder))
        self.addCleanup(sys.path.remove, str(folder))

    def test_the_rehearsal_model(self) -> None:
        """Is the only upstream, on a socket in a folder that is ours alone, with one client."""
        opening = self.opening()
        (upstream,) = opening.config.upstream
        self.assertEqual((upstream.name, upstream.models), ("rehearsal", (MODEL,)))
        self.assertEqual(Path(upstream.socket).parent.stat().st_mode & 0o777, 0o700)
        self.assertEqual([client.name for client in opening.clients.directory.clients], ["demo"])

    def test_a_workspace_to_play_in(self) -> None:
        """A small repository with one commit, for an agent that is there, in a folder that goes with the demo."""
        opening = self.opening()
        sessions = opening.config.sessions
        folder = Path(sessions.workspaces[sessions.default_workspace])
        self.assertEqual(folder.parent, Path(opening.config.upstream[0].socket).parent)
        self.assertIn("def add", (folder / "calc.py").read_text())
        if shutil.which("git"):
            self.assertTrue((folder / ".git" / "refs" / "heads" / "main").exists())
            self.assertEqual(list((folder / ".git").glob("hooks/*")), [])
        self.assertIn(sessions.engine, ("codex", "rehearsal"))

    def test_without_codex(self) -> None:
        """The engine that needs no program takes its place; what a real agent costs nobody has to install."""
        path = Path(self.mktemp())
        path.write_text('[sessions.codex]\nbinary = "/nowhere/codex"\n')
        opening = Opening(load(str(path)), None, None)
        self.addCleanup(shutil.rmtree, Path(opening.config.upstream[0].socket).parent)
        self.assertEqual(opening.config.sessions.engine, "rehearsal")

    def test_workspaces_of_the_operators(self) -> None:
        """Are left as they are, engine and all."""
        path = Path(self.mktemp())
        path.write_text('[sessions]\nworkspaces = { mine = "mine" }\nmodel = "m"\n')
        config = load(str(path))
        opening = Opening(config, None, None)
        self.addCleanup(shutil.rmtree, Path(opening.config.upstream[0].socket).parent)
        self.assertEqual(opening.config.sessions, config.sessions)

    def test_a_model_file(self) -> None:
        """Takes the rehearsal model's place under its own name."""
        self.install_extra()
        (upstream,) = self.opening(gguf=str(self.model_file())).config.upstream
        self.assertEqual((upstream.name, upstream.models), ("local", ("small-model",)))
        self.assertTrue(upstream.socket.endswith(".sock"))  # or llama.cpp would listen on TCP

    def test_what_cannot_be_served_is_refused_at_once(self) -> None:
        """In one line that names the option."""
        self.install_extra()
        text = self.model_file()
        text.write_text("not a model")
        for gguf, words in (("nowhere.gguf", "there is no such file"), (str(text), "this is no GGUF file")):
            with self.assertRaises(OpeningRefused) as caught:
                Opening(load(None), None, gguf)
            self.assertRegex(str(caught.exception), rf"\A--gguf: [^\n]*: {words}\Z")

    def test_a_script_that_is_none_is_refused(self) -> None:
        """In one line that names the option, the file and the rule, before anything is served."""
        path = Path(self.mktemp())
        path.write_text("[[rule]]\nrehearse = 'hamlet'\n")
        for script, words in ((str(path), "rule 1: rehearse: expected one of plain"), ("nowhere.toml", "No such file")):
            with self.assertRaises(OpeningRefused) as caught:
                Opening(load(None), script, None)
            self.assertRegex(str(caught.exception), rf"\A--script: /[^\n]*: {words}[^\n]*\Z")
        path.write_text("[[rule]]\nprompt = 'x'\n")
        self.assertEqual(self.opening(str(path)).config.upstream[0].name, "rehearsal")

    def test_a_script_is_for_the_rehearsal_model(self) -> None:
        """With a model file it would have no effect, so it is refused."""
        with self.assertRaises(OpeningRefused) as caught:
            Opening(load(None), "script.toml", str(self.model_file()))
        self.assertIn("--script", str(caught.exception))
