"""Compile the two C programs of the benchmark, once for each state of their sources."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

_SOURCES = Path(__file__).parent
_FLAGS = ("-O2", "-std=gnu11", "-Wall", "-Wextra")


class NoCompiler(Exception):
    """There is no C compiler, or it refused."""


@dataclass(frozen=True)
class Tools:
    """Paths of the executables, and the compiler's version line."""

    backend: Path
    client: Path
    compiler: str


def _cache() -> Path:
    return Path(os.environ.get("HADESGW_CACHE") or Path.home() / ".cache" / "hadesgw") / "benchmarks"


def _digest(compiler: str) -> str:
    digest = hashlib.sha256(" ".join((compiler, *_FLAGS)).encode())
    for name in ("http1.h", "backend.c", "client.c"):
        digest.update((_SOURCES / name).read_bytes())
    return digest.hexdigest()[:16]


def _compile(gcc: str, name: str, target: Path) -> None:
    command = [gcc, *_FLAGS, "-o", str(target), str(_SOURCES / f"{name}.c")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise NoCompiler(f"{' '.join(command)} failed:\n{done.stderr}")


def compiled(cache: Path | None = None) -> Tools:
    """The executables; from `cache` (else the user's cache folder) if these sources were compiled before.

    :raises NoCompiler: without gcc or cc, or when the compilation fails.
    """
    gcc = shutil.which("gcc") or shutil.which("cc")
    if gcc is None:
        raise NoCompiler("no C compiler: install gcc")
    told = subprocess.run([gcc, "--version"], check=False, capture_output=True, text=True, timeout=30)
    version = told.stdout.partition("\n")[0]
    folder = (cache or _cache()) / _digest(version)
    tools = Tools(folder / "backend", folder / "client", version)
    if not (tools.backend.exists() and tools.client.exists()):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            for name in ("backend", "client"):
                _compile(gcc, name, Path(scratch) / name)
                (Path(scratch) / name).replace(folder / name)
    return tools
