"""The lines of docs/clients.md that readers copy."""

from __future__ import annotations

import re

from tests.real.gateway import PROJECT

PAGE = PROJECT / "docs" / "clients.md"
ADDRESS = "127.0.0.1:8082"
"""Where the gateway is on the page."""

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(heading: str) -> list[tuple[str, str]]:
    """The language and the text of each block below a heading, in order."""
    _, found, rest = PAGE.read_text().partition(f"\n## {heading}\n")
    assert found, f"{PAGE} has no heading {heading!r}"
    return BLOCK.findall(rest.partition("\n## ")[0])


def block(heading: str, language: str, port: int = 8082) -> str:
    """The first block of a language below a heading, for a gateway at `port`."""
    text = next(text for written, text in blocks(heading) if written == language)
    return text.replace(ADDRESS, f"127.0.0.1:{port}")
