"""The OpenAPI document: that it is one, and says of every call what holds."""

from __future__ import annotations

import re
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.resources.codex_calls import CALLS
from hadesgw.resources.openapi import document


def references(value: Any) -> set[str]:
    """Every schema that is referred to, anywhere in a value."""
    if isinstance(value, dict):
        own = {value["$ref"]} if "$ref" in value else set()
        return own.union(*map(references, value.values()))
    if isinstance(value, list):
        return set().union(*map(references, value))
    return set()


class DocumentTests(SynchronousTestCase):
    """What holds of it as a whole."""

    def setUp(self) -> None:
        self.document = document("/api/codex")

    def test_every_call_is_in_it(self) -> None:
        """By its path and method, under a name of its own, and nothing else."""
        found = {(method, path) for path, operations in self.document["paths"].items() for method in operations}
        self.assertEqual(found, {(call.method.decode().lower(), f"/api/codex/{call.path}") for call in CALLS})
        operations = [found for paths in self.document["paths"].values() for found in paths.values()]
        self.assertEqual(len({operation["operationId"] for operation in operations}), len(CALLS))

    def test_references_lead_somewhere(self) -> None:
        """Every schema that is named is there, and every one that is there is named."""
        schemas = {f"#/components/schemas/{name}" for name in self.document["components"]["schemas"]}
        self.assertEqual(references(self.document), schemas)

    def test_places(self) -> None:
        """Every segment in braces is a parameter."""
        for path, operations in self.document["paths"].items():
            for operation in operations.values():
                places = [found["name"] for found in operation["parameters"] if found["in"] == "path"]
                self.assertEqual(places, re.findall(r"\{(\w+)\}", path))

    def test_what_acts_has_a_body(self) -> None:
        """And what only shows has none; every operation says how it fails."""
        for operations in self.document["paths"].values():
            for method, operation in operations.items():
                self.assertEqual("requestBody" in operation, method == "post")
                self.assertLessEqual({"200", "400", "401", "403", "429", "503"}, set(operation["responses"]))
                self.assertEqual({"413", "415"} <= set(operation["responses"]), method == "post")
