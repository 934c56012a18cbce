"""The coding agent's small edit, step by step."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.demo.answer import Answer
from hadesgw.demo.conversation import Conversation, Message, Tool
from hadesgw.demo.editing import Edit, new_file, next_step, wanted_edit

EXEC = Tool("exec_command", "", {"properties": {"cmd": {"type": "string"}}})
SHELL = Tool("shell", "", {"properties": {"command": {"type": "array"}}})
BASH = Tool("bash", "", {"properties": {"command": {"type": "string"}}})
ABSENT = "Chunk ID: 1\nProcess exited with code 0\nOutput:\nThe file begins with:\n(there is no such file yet)\n"


def step(prompt: str, *results: str, tools: tuple[Tool, ...] = (EXEC,), choice: str = "auto") -> Answer | None:
    turns = [Message("user", prompt)]
    for result in results:
        turns += [Message("assistant", ""), Message("tool", result)]
    return next_step(Conversation(tuple(turns), tools, choice))


def command(answer: Answer | None) -> str:
    """The shell command of a step's only call."""
    assert answer is not None
    (call,) = answer.calls
    return str(json.loads(call.arguments)["cmd"])


def found(first_line: str) -> str:
    return f"bash: some noise\nThe file begins with:\n{first_line}\nmore\n"


class WishTests(SynchronousTestCase):
    """Which edit a prompt asks for."""

    def test_a_verb_and_a_file_are_an_edit(self) -> None:
        """With what the file shall say, if that is quoted."""
        self.assertEqual(wanted_edit("Create src/hello.py that prints 'moin'"), Edit("src/hello.py", "moin"))
        self.assertEqual(wanted_edit("please update README.md"), Edit("README.md", "Hello from the rehearsal model"))

    def test_a_language_stands_for_a_file(self) -> None:
        """When none is named."""
        edit = wanted_edit("write a Python program")
        assert edit is not None
        self.assertEqual((edit.path, edit.fence), ("hello.py", "python"))

    def test_other_prompts_are_no_edit(self) -> None:
        """Neither a file without a verb nor a verb without a file."""
        for prompt in ("what is in hello.py?", "write a poem", "", "fix it"):
            self.assertIsNone(wanted_edit(prompt), prompt)

    @given(st.text(st.sampled_from("ab./~-_$`;'\" \n"), max_size=30))
    def test_paths_stay_in_the_workspace_and_out_of_the_shell(self, text: str) -> None:
        """Whatever is asked for, a path is relative, goes nowhere up, and has no sign that a shell would read."""
        edit = wanted_edit(f"create {text}.py now")
        if edit is not None:
            self.assertRegex(edit.path, r"\A[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)*\Z")
            self.assertNotIn("..", edit.path.split("/"))


class StepTests(SynchronousTestCase):
    """Look, patch, check, report."""

    def test_the_first_step_looks(self) -> None:
        """At how the file begins, which changes nothing."""
        self.assertEqual(
            command(step("create hello.py")),
            "echo 'The file begins with:'; head -n 5 -- hello.py 2>/dev/null || echo '(there is no such file yet)'",
        )

    def test_a_missing_file_is_added(self) -> None:
        """By a patch that has the whole file."""
        patch = command(step("create hello.py that prints 'moin'", ABSENT))
        self.assertTrue(patch.startswith("apply_patch <<'REHEARSAL'\n*** Begin Patch\n*** Add File: hello.py\n+"))
        self.assertIn('\n+print("moin")\n*** End Patch\nREHEARSAL', patch)

    def test_a_file_that_is_there_gets_a_comment(self) -> None:
        """Behind its first line, in its own language; the shell's noise is not taken for it."""
        self.assertIn("@@\n import os\n+# Written by", command(step("edit a.py", found("import os"))))
        self.assertIn("@@\n int x;\n+// Written by", command(step("edit a.c", found("int x;"))))
        self.assertIn("@@\n # T\n+<!-- Written by", command(step("edit a.md", found("# T"))))
        self.assertIn("+/* Written by", command(step("edit a.css", found("b {"))))
        self.assertIn("+-- Written by", command(step("edit a.sql", found("select 1;"))))

    def test_json_is_left_alone(self) -> None:
        """It takes no comment."""
        answer = step("edit a.json", found("{"))
        assert answer is not None
        self.assertEqual(answer.calls, ())

    def test_the_check_runs_only_what_was_just_written(self) -> None:
        """A new Python file is run; anything else is only looked at."""
        self.assertEqual(command(step("create a.py", ABSENT, "Success")), "python3 a.py")
        self.assertEqual(command(step("edit a.py", found("x"), "Success")), "head -n 12 -- a.py")
        self.assertEqual(command(step("create a.md", ABSENT, "Success")), "head -n 12 -- a.md")

    def test_the_report_quotes_the_check(self) -> None:
        """And calls no more tools."""
        answer = step("create a.py", ABSENT, "Success", "Process exited with code 0\nOutput:\nmoin\n")
        assert answer is not None
        self.assertEqual(answer.calls, ())
        self.assertIn("Done: `a.py` is edited. The check said:\n\n> moin\n", answer.text)

    def test_a_failed_step_ends_the_edit(self) -> None:
        """By its exit code, in words, or because the look shows nothing."""
        for results in (
            (ABSENT, "Process exited with code 1\nOutput:\nno\n"),
            (ABSENT, "patch rejected: writing is blocked"),
            (ABSENT, "Success", '{"exit_code": 2, "output": "Traceback"}'),
            ("command not found",),
        ):
            answer = step("create a.py", *results)
            assert answer is not None
            self.assertEqual(answer.calls, (), results)
            self.assertIn("did not work", answer.text)

    def test_shells_are_called_in_their_own_form(self) -> None:
        """A command line, or the words of one."""
        for tool, check in ((SHELL, ["bash", "-lc", "python3 a.py"]), (BASH, "python3 a.py")):
            answer = step("create a.py", ABSENT, "Success", tools=(tool,))
            assert answer is not None
            self.assertEqual(json.loads(answer.calls[0].arguments), {"command": check})

    def test_an_own_patch_tool_is_preferred(self) -> None:
        """It gets the patch under the name its schema has for it."""
        own = Tool("apply_patch", "", {"properties": {"patch": {}}})
        answer = step("create a.py", ABSENT, tools=(EXEC, own))
        assert answer is not None
        self.assertTrue(json.loads(answer.calls[0].arguments)["patch"].startswith("*** Begin Patch\n"))

    def test_others_are_not_led(self) -> None:
        """No shell, no wish, or no tools wanted: nothing is begun."""
        self.assertIsNone(step("create a.py", tools=()))
        self.assertIsNone(step("hello", tools=(EXEC,)))
        self.assertIsNone(step("create a.py", choice="none"))


class FileTests(SynchronousTestCase):
    """New files."""

    def test_every_kind_says_what_it_is(self) -> None:
        """The greeting and the model's note are in a file of any suffix."""
        for suffix in ("py", "js", "ts", "sh", "md", "html", "json", "txt", "rs", "sql", "css", "yaml"):
            text = new_file(Edit(f"x.{suffix}", "moin"))
            self.assertIn("moin", text)
            self.assertIn("rehearsal model", text)
        self.assertEqual(json.loads(new_file(Edit("x.json", 'a"b')))["greeting"], 'a"b')

    def test_a_greeting_is_only_text(self) -> None:
        """Neither Python nor a shell is made to run it."""
        greeting = '$(echo bad) "); import os #'
        with TemporaryDirectory() as folder:
            for name, program in (("x.py", sys.executable), ("x.sh", "/bin/sh")):
                path = Path(folder) / name
                path.write_text(new_file(Edit(name, greeting)), "utf-8")
                done = subprocess.run([program, path], capture_output=True, text=True, check=True, timeout=20)
                self.assertEqual(done.stdout, f"{greeting}\n")
