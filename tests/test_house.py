"""The rules of the house that no linter knows."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tools.pure import PROJECT

EMPTY_WORDS = re.compile(r"(?:^|_)(?:common|handlers?|helpers?|managers?|misc|utils?)(?:_|$)")
"""Words in a module's name that say nothing about what is in it."""

MAY_SLEEP = {"tests/real/waiting.py"}
"""Where the passing of time is the point: waiting for other processes, with a deadline."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def python_files(*folders: str) -> list[Path]:
    """Our Python files below `folders`, relative to the project."""
    return sorted(path.relative_to(PROJECT) for folder in folders for path in (PROJECT / folder).rglob("*.py"))


def tests_in(tree: ast.AST) -> Iterator[Function]:
    """The test methods of a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield from (
                method for method in node.body if isinstance(method, Function) and method.name.startswith("test")
            )


def sleeps(tree: ast.AST) -> bool:
    """Whether a module calls `time.sleep`, under that name or bare."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return any(ast.unparse(call.func) in ("time.sleep", "sleep") for call in calls)


class HouseTests(SynchronousTestCase):
    """What holds of all files."""

    def test_every_test_makes_a_claim(self) -> None:
        """Each test method has a docstring that says what holds."""
        silent = [
            f"{path}: {method.name}"
            for path in python_files("tests")
            for method in tests_in(ast.parse((PROJECT / path).read_text()))
            if not ast.get_docstring(method)
        ]
        self.assertEqual(silent, [])

    def test_tests_have_names_like_everything_else(self) -> None:
        """In snake_case, and two tests of a class never share a name: the first would not run."""
        for path in python_files("tests"):
            tree = ast.parse((PROJECT / path).read_text())
            for cls in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
                names = [method.name for method in tests_in(ast.Module([cls], []))]
                self.assertEqual(sorted(set(names)), sorted(names), f"{path}: {cls.name}")
                self.assertEqual([name for name in names if not name.startswith("test_")], [], path)
                self.assertEqual([name for name in names if name != name.lower()], [], path)

    def test_nobody_sleeps_for_luck(self) -> None:
        """What has to wait waits for something, by a clock of its own or by `tests.real.waiting`."""
        files = python_files("hadesgw", "tests")
        sleepers = {str(path) for path in files if sleeps(ast.parse((PROJECT / path).read_text()))}
        self.assertEqual(sleepers - MAY_SLEEP, set())

    def test_modules_are_named_for_what_they_hold(self) -> None:
        """By a noun of the matter."""
        empty = [str(path) for path in python_files("hadesgw", "tools") if EMPTY_WORDS.search(path.stem)]
        self.assertEqual(empty, [])

    def test_every_folder_of_tests_is_a_package(self) -> None:
        """Trial does not look into folders that are not."""
        folders = {path.parent for path in python_files("tests") if path.name.startswith("test_")}
        self.assertEqual([str(folder) for folder in folders if not (PROJECT / folder / "__init__.py").exists()], [])
