"""What pytest must know to run tests that are written for trial."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.pure import PROJECT

SCRATCH = PROJECT / "build" / "pytest-scratch"


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop() -> Iterator[None]:
    """Run in a folder of our own, as trial does: `mktemp` of a trial test counts from where it runs."""
    shutil.rmtree(SCRATCH, ignore_errors=True)
    SCRATCH.mkdir(parents=True)
    before = Path.cwd()
    os.chdir(SCRATCH)
    try:
        return (yield)
    finally:
        os.chdir(before)
