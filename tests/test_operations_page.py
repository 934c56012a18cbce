"""docs/operations.md against the code: every metric, every field and every event of the log, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.telemetry.log import RequestLine
from hadesgw.telemetry.meters import Meters
from tools.pure import PROJECT

PAGE = PROJECT / "docs" / "operations.md"
NO_LOG = {"sessions/session.py", "resources/codex_socket.py", "resources/codex_http.py"}
"""Where `event` makes messages for clients, and no lines."""


def table(heading: str) -> list[list[str]]:
    """The rows of the table under that heading of its first column."""
    lines = PAGE.read_text().splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith(f"| {heading} |")) + 2
    rows = []
    for line in lines[begin:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def names(cell: str) -> list[str]:
    """What a cell has in backquotes."""
    return re.findall(r"`([^`]+)`", cell)


def words(node: ast.AST) -> Iterator[str]:
    """The texts that an expression can be, as far as they are written there."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from words(node.body)
        yield from words(node.orelse)


def logged() -> set[str]:
    """The events that the sources write, besides requests and what libraries say."""
    found: set[str] = set()
    package = PROJECT / "hadesgw"
    for path in package.rglob("*.py"):
        if str(path.relative_to(package)) in NO_LOG or "demo" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            called = node.func.attr if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else ""
            if called in ("event", "_event", "_tell") and isinstance(node, ast.Call) and node.args:
                found.update(words(node.args[0]))
    return found


class OperationsPageTests(SynchronousTestCase):
    """What operators read is what there is."""

    def test_metrics(self) -> None:
        """Each with its labels."""
        registry = CollectorRegistry()
        meters = Meters(registry)
        meters.certificate_shown(lambda: 1.0)
        known = {}
        for family in registry.collect():
            known[family.name + "_total" * (family.type == "counter")] = family
        documented = {names(row[0])[0]: row[1] for row in table("Metric")}
        self.assertEqual(sorted(documented), sorted(known))
        for collector in set(registry._collector_to_names):
            labels: Any = getattr(collector, "_labelnames", None) or getattr(collector, "_labels", ())
            for family in collector.collect():
                name = family.name + "_total" * (family.type == "counter")
                self.assertEqual(documented[name], ", ".join(labels), name)

    def test_fields(self) -> None:
        """Of a request's line, in their order."""
        documented = [name for row in table("Field of a request's line") for name in names(row[0])]
        self.assertEqual(documented, list(RequestLine.__struct_fields__))

    def test_events(self) -> None:
        """Every other line that the sources can write."""
        documented = {name for row in table("Other events") for name in names(row[0])}
        self.assertEqual(documented, logged() | {"log"})
