"""Look for credentials in the files of the repository: those git knows, and those it would add.

Found are the forms that issuers gave their keys so that they can be found, private keys, and any long
random-looking text that is assigned to a name such as `token` or `password`. A line of a test or a page that
must show such a form carries the mark `secrets-scan: allow`. A secret that was once committed is not mended
by the mark but by a new secret.

    python -m tools.secrets_scan [file ...]
"""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tools.pure import PROJECT

ALLOWED = "secrets-scan: allow"
LARGEST = 1 << 20
"""Bytes of a file beyond which it is data, not text that someone typed a key into."""
MADE = frozenset((".git", ".venv", ".venv-bench", "build", "dist", "node_modules", "webclient_dist"))
"""Folders of what was made or fetched: none of our text."""

ISSUED = {
    "AWS key": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "Bearer credential": r"(?i:\bbearer\s+)(?=[A-Za-z0-9._~+/-]*[0-9])[A-Za-z0-9._~+/-]{24,}=*",
    "GitHub token": r"\b(?:gh[oprsu]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,})",
    "GitLab token": r"\bglpat-[A-Za-z0-9_-]{20,}",
    "Google key": r"\bAIza[A-Za-z0-9_-]{35}\b",
    "Hugging Face token": r"\bhf_[A-Za-z0-9]{30,}\b",
    "JSON web token": r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
    "OpenAI or Anthropic key": r"\bsk-(?:[a-z]+[0-9]*-)*[A-Za-z0-9_-]{32,}",
    "PyPI token": r"\bpypi-[A-Za-z0-9_-]{50,}",
    "Slack token": r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    "credential in a URL": r"\b[a-z][a-z0-9+.-]*://[^\s/:@\"'<>{}$]+:(?![{$<])[^\s/:@\"'<>]{6,}@",
    "npm token": r"\bnpm_[A-Za-z0-9]{36}\b",
    "private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----[^-]{0,200}?[A-Za-z0-9+/]{40}",
}
"""What is a secret by its form."""
PATTERNS = {what: re.compile(form) for what, form in ISSUED.items()}

ASSIGNED = re.compile(
    r"(?i:api_?key|auth|credential|passphrase|passwd|password|secret|token)[a-z_]*[\"']?\]?"  # its name
    r"\s*(?::\s*[a-z]+\s*)?[=:]\s*"  # with or without a type
    r"[bfru]{0,2}[\"']([A-Za-z0-9+/=_.~-]{16,})[\"']",
    re.IGNORECASE,
)
"""A text that is called a secret; group 1 is the text."""
RANDOM_BITS = 3.6
"""Bits a character from which a text looks drawn and not written; English joined by `-` has about 3.3."""


class Finding(NamedTuple):
    """One suspicion. The text itself is not kept: the report of a leak must not be another."""

    line: int
    what: str


def bits_per_character(text: str) -> float:
    """Shannon's entropy of the characters of `text`."""
    counts = Counter(text).values()
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts)


def looks_random(text: str) -> bool:
    """Whether `text` was drawn rather than written: enough entropy, and both letters and digits."""
    mixed = any(map(str.isdigit, text)) and any(map(str.isalpha, text))
    return mixed and bits_per_character(text) >= RANDOM_BITS


def suspicions(text: str) -> Iterator[tuple[int, str]]:
    """Where in `text` what kind of secret seems to begin."""
    for what, pattern in PATTERNS.items():
        for match in pattern.finditer(text):
            yield match.start(), what
    for match in ASSIGNED.finditer(text):
        if looks_random(match[1]):
            yield match.start(1), "random text assigned to a secret's name"


def findings(text: str) -> list[Finding]:
    """The suspicions about one file's text that its lines do not allow, in order, at most one a line."""
    lines = text.split("\n")
    found = {text.count("\n", 0, start) + 1: what for start, what in suspicions(text)}
    return [Finding(line, found[line]) for line in sorted(found) if ALLOWED not in lines[line - 1]]


def repository_files(root: Path) -> list[Path]:
    """Every file tracked or ready to be; where git knows nothing of `root`, every file that was not made."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if listed.returncode:
        return [path for path in root.rglob("*") if not MADE.intersection(path.relative_to(root).parts)]
    return [root / name for name in listed.stdout.decode().split("\0") if name]


def scan(paths: Iterable[Path]) -> Iterator[str]:
    """A line for a person for each finding in the files; what is no text or huge is passed over."""
    for path in paths:
        if not path.is_file() or path.is_symlink() or path.stat().st_size > LARGEST:
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for finding in findings(text):
            yield f"{path}:{finding.line}: {finding.what}"


def main(arguments: list[str]) -> int:
    """:returns: the exit status."""
    found = list(scan(map(Path, arguments) if arguments else repository_files(PROJECT)))
    print(*found, sep="\n", file=sys.stderr, end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
