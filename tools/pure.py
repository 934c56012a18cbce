"""Which modules of hadesgw are pure: values in, verdicts out, nothing of the reactor or of twisted.web.

Two rules hang on this list: what they may import (`tests/test_layers.py`), and that their own tests alone
cover them (`tools/own_coverage.py`). A module that does not exist yet is on the list before it is written.
"""

from __future__ import annotations

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]

PURE = (
    "hadesgw/config.py",
    "hadesgw/http/framing.py",
    "hadesgw/http/sse.py",
    "hadesgw/policy/*.py",
    "hadesgw/sessions/codex_events.py",
    "hadesgw/sessions/commands.py",
    "hadesgw/sessions/jsonl.py",
    "hadesgw/sessions/messages.py",
    "hadesgw/sessions/patching.py",
    "hadesgw/sessions/replay.py",
    "hadesgw/sessions/session.py",
    "hadesgw/telemetry/memory.py",
    "hadesgw/telemetry/tool_call.py",
    "hadesgw/telemetry/watch*.py",
)
"""Patterns of paths, counted from the project's root."""


def pure_modules(root: Path) -> list[Path]:
    """The pure modules there are, as paths relative to `root`; packages' `__init__.py` are not among them."""
    found = {path.relative_to(root) for pattern in PURE for path in root.glob(pattern)}
    return sorted(path for path in found if path.name != "__init__.py")


def module_name(path: Path) -> str:
    """The dotted name of the module at a relative path."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def own_test(module: Path) -> Path:
    """Where the tests of a module stand: `hadesgw/a/b.py` has `tests/a/test_b.py`."""
    return Path("tests", *module.parts[1:-1], f"test_{module.name}")
