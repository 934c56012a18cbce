"""Modules that are not installed, as far as an import can tell."""

from __future__ import annotations

import sys

from twisted.trial.unittest import SynchronousTestCase


def without(case: SynchronousTestCase, name: str) -> None:
    """Let every import of module `name` fail until `case` is over."""

    def restore() -> None:
        del sys.modules[name]
        if known is not None:
            sys.modules[name] = known

    known = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]  # how Python marks it
    case.addCleanup(restore)
