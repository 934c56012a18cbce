"""Foreign clients, kept outside the source tree and away from our own packages: what they need is none of our business.

`python -m tests.real.protocol.environment` makes them ready and prints their interpreter.  The folder is
`$HADESGW_CACHE/protocol` (`~/.cache/hadesgw/protocol` when the variable is unset) and holds

- `venv/`        what `requirements.txt` beside this file pins, 70 MB; finished when its stamp is there, written last;
- `install.log`  everything the tools said;
- `lock`         held while one process installs, so that others wait.
"""

from __future__ import annotations

import hashlib
import os
import sys
from functools import cache
from pathlib import Path
from unittest import SkipTest

from tests.real.vllm.environment import EnvironmentUnavailable, Steps, exclusive

PINS = Path(__file__).resolve().parent / "requirements.txt"
INSTALL = ("-m", "pip", "--no-input", "--disable-pip-version-check", "install", "--progress-bar=off")
EXACTLY = ("--only-binary=:all:", "--require-hashes", "--requirement", PINS)


def cache_folder() -> Path:
    """The folder of all that this module makes, whether it exists or not."""
    return Path(os.environ.get("HADESGW_CACHE") or "~/.cache/hadesgw").expanduser().absolute() / "protocol"


def prepare(folder: Path) -> Path:
    """The interpreter of the finished environment in `folder`, made now if need be (half a minute).

    :raises EnvironmentUnavailable: when it cannot be had here.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive(folder / "lock"), open(folder / "install.log", "ab", buffering=0) as log:
            return installed(folder / "venv", Steps(log))
    except OSError as problem:
        raise EnvironmentUnavailable(f"{folder} cannot be used: {problem}") from problem


def installed(venv: Path, steps: Steps) -> Path:
    """The interpreter of `venv`, with today's pins in it."""
    version = f"Python {sys.version_info.major}.{sys.version_info.minor}\n".encode()
    pins = hashlib.sha256(version + PINS.read_bytes()).hexdigest()
    python, stamp = venv / "bin" / "python", venv / "complete"
    if not (stamp.exists() and stamp.read_text() == pins):
        steps.run("make the virtual environment", [sys.executable, "-m", "venv", "--clear", venv])
        steps.run("install the pinned packages", [python, *INSTALL, *EXACTLY])
        stamp.write_text(pins)
    return python


@cache
def tried() -> Path | str:
    """The interpreter, or why there is none; said aloud, and tried once and not for every test."""
    try:
        return prepare(cache_folder())
    except EnvironmentUnavailable as problem:
        print(f"NO FOREIGN CLIENTS: {problem}", file=sys.stderr)
        return f"NO FOREIGN CLIENTS: {problem}"


def wanted() -> Path:
    """The interpreter, for a test.

    :raises SkipTest: when it cannot be had, with the reason; `HADESGW_REQUIRE_REAL=1` makes that a failure.
    """
    required = os.environ.get("HADESGW_REQUIRE_REAL") == "1"
    if not required and os.environ.get("HADESGW_REAL") != "1":
        raise SkipTest("foreign clients visit in `make test-real`, which sets HADESGW_REAL=1")
    found = tried()
    if isinstance(found, str):
        raise AssertionError(found) if required else SkipTest(found)
    return found


def main() -> int:
    """:returns: the exit status."""
    found = tried()
    if isinstance(found, str):
        return 1
    print(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
