"""Which Python runs hadesgw in the benchmark: one built with profile-guided optimisation, where there is one.

``python -m benchmarks.interpreter PYTHON ...`` prints the first of them that is, else the first that will do.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_LEAST = (3, 11)
_RECORD = ("CONFIG_ARGS", "PGO_PROF_GEN_FLAG", "PGO_PROF_USE_FLAG")
_QUESTION = f"""\
import ensurepip, json, sys, sysconfig, venv
record = {{name: sysconfig.get_config_var(name) for name in {_RECORD}}}
print(json.dumps([sys.executable, sys.version_info[:2], record]))
"""


def is_optimised(record: Mapping[str, object]) -> bool:
    """Whether an interpreter was built with profile-guided optimisation, which is worth a fifth of its CPU time.

    Most builders ask `configure` for it. Debian, and whoever takes Debian's packaging, make the profiled target
    themselves and then strike the flags that used the profile out of the record; `configure` sets both of the pair.

    :param record: what `sysconfig` has kept of the build.
    """
    asked = "--enable-optimizations" in str(record.get("CONFIG_ARGS"))
    return asked or bool(record.get("PGO_PROF_GEN_FLAG") and not record.get("PGO_PROF_USE_FLAG"))


@dataclass(frozen=True)
class Interpreter:
    """A Python that can make a virtual environment."""

    path: str
    version: tuple[int, int]
    optimised: bool


def asked(path: str) -> Interpreter | None:
    """What the Python at `path` says of itself; None when there is none, or it cannot make virtual environments."""
    try:
        done = subprocess.run([path, "-I", "-c", _QUESTION], check=True, capture_output=True, text=True, timeout=30)
        executable, (major, minor), record = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Interpreter(executable, (major, minor), is_optimised(record))


def chosen(interpreters: Iterable[Interpreter]) -> Interpreter | None:
    """The first optimised one that is new enough, else the first new enough."""
    usable = [one for one in interpreters if one.version >= _LEAST]
    return next((one for one in usable if one.optimised), usable[0] if usable else None)


def main(paths: list[str]) -> int:
    """0 when there is a Python that will do."""
    best = chosen(one for path in paths if (one := asked(path)))
    if best is None:
        print(f"none of {', '.join(paths)} is Python 3.11 or newer with venv", file=sys.stderr)
        return 1
    print(best.path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
