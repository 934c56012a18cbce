"""Measure each pure module's coverage by its own test file alone; lines or branches short of all fail.

Coverage by the whole suite says little: a module may look tested because others pass through it. Here each
pair runs in a process of its own, so what is covered is covered by the tests written for it.

    python -m tools.own_coverage [module.py ...]
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from tools.pure import PROJECT, module_name, own_test, pure_modules


def shortcoming(root: Path, module: Path) -> str | None:
    """What is missing of one module's coverage, in lines for a person; None when nothing is."""
    test = own_test(module)
    if not (root / test).is_file():
        return f"{module}: its tests belong into {test}, which is not there"
    with TemporaryDirectory(prefix="hadesgw-coverage-") as scratch:
        for command in commands(root / module, module_name(test), scratch):
            done = subprocess.run(
                [sys.executable, "-m", *command],
                cwd=root,
                env={**os.environ, "COVERAGE_FILE": f"{scratch}/data", "HYPOTHESIS_PROFILE": "brief"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                return f"{module}: not wholly covered by {test}\n{done.stdout}{done.stderr}"
    return None


def commands(module: Path, test: str, scratch: str) -> Sequence[Sequence[str]]:
    """What to run with `python -m`: the tests under coverage, then the verdict."""
    trial = ["twisted.trial", "--reporter=text", f"--temp-directory={scratch}/trial", test]
    return [
        ["coverage", "run", "--branch", f"--include={module}", "-m", *trial],
        ["coverage", "report", "--show-missing", "--fail-under=100", f"--include={module}"],
    ]


def shortcomings(root: Path, modules: Sequence[Path]) -> Iterator[str]:
    """What is missing of all `modules`, as many measured at a time as there are cores."""
    with ThreadPoolExecutor(os.cpu_count()) as workers:
        yield from filter(None, workers.map(lambda module: shortcoming(root, module), modules))


def main(arguments: list[str]) -> int:
    """:returns: the exit status."""
    modules = [Path(name) for name in arguments] or pure_modules(PROJECT)
    missing = list(shortcomings(PROJECT, modules))
    print(*missing, sep="\n\n", file=sys.stderr, end="\n" if missing else "")
    print(f"own coverage: {len(modules) - len(missing)} of {len(modules)} pure modules are wholly covered")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
