"""The versions below which a published advisory bears on us, against what is locked, asked for and installed.

Auditing tools need a feed of advisories and are silent without one; this table needs reading and an entry.
Whoever raises a dependency because of an advisory adds the row.
"""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from twisted.trial.unittest import SynchronousTestCase

from tools.pure import PROJECT


class Minimum(NamedTuple):
    """One row: from `version` on, `package` is free of `advisory`."""

    package: str
    version: str
    advisory: str


MINIMUMS = (
    Minimum("cryptography", "44.0.1", "CVE-2024-12797: the bundled OpenSSL takes raw public keys unverified"),
    Minimum("cryptography", "46.0.5", "CVE-2026-26007: malicious public keys on binary curves"),
    Minimum("cryptography", "46.0.6", "CVE-2026-34073: name constraints ignored for wildcard certificates"),
    Minimum("cryptography", "46.0.7", "CVE-2026-39892: buffer overflow by non-contiguous buffers"),
    Minimum("cryptography", "50.0.0", "CVE-2026-69247: decryption oracle in PKCS#7"),
    Minimum("h11", "0.16.0", "CVE-2025-43859: chunks with wrong line ends accepted"),
    Minimum("httptools", "0.5.0", "CVE-2022-32213, -32214, -32215: request smuggling in the bundled llhttp"),
    Minimum("httptools", "0.6.4", "CVE-2024-27982: Content-Length hidden behind a folded line, bundled llhttp"),
    Minimum("idna", "3.7", "CVE-2024-3651: quadratic time on long names"),
    Minimum("jinja2", "3.1.6", "CVE-2025-27516: way out of the sandbox (towncrier's templates)"),
    Minimum("multipart", "1.3.1", "CVE-2026-28356: exponential time on header options"),
    Minimum("pygments", "2.20.0", "CVE-2026-4539: exponential time in a lexer (pytest's output)"),
    Minimum("pyopenssl", "26.0.0", "CVE-2026-27448: exceptions of the SNI callback swallowed; CVE-2026-27459"),
    Minimum("pytest", "9.0.3", "CVE-2025-71176: predictable folder in /tmp"),
    Minimum("twisted", "19.2.1", "CVE-2019-12387: line breaks in method and URI sent to a server"),
    Minimum("twisted", "20.3.0", "CVE-2020-10108, -10109: two lengths, or length and chunks, accepted"),
    Minimum("twisted", "22.1.0", "CVE-2022-21712: credentials kept across origins on redirects"),
    Minimum("twisted", "22.4.0", "CVE-2022-24801: lengths and chunks outside the grammar accepted"),
    Minimum("twisted", "22.10.0", "CVE-2022-39348: Host echoed as HTML"),
    Minimum("twisted", "23.10.0", "CVE-2023-46137: pipelined answers out of order"),
    Minimum(
        "twisted",
        "24.7.0",
        "CVE-2024-41671: pipelined answers out of order; CVE-2024-41810: HTML in redirects",
    ),
    Minimum("twisted", "26.4.0", "CVE-2026-42304: compressed DNS names hang the reactor"),
    Minimum("twisted", "26.10.0", "twisted issue 12754: bare CR and LF in header values; CVE-2023-44487"),
)

PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[a-z0-9,-]+\])?==([^\s;\\]+)(.*)$", re.MULTILINE)
"""A pinned package of a lock: its name, version, and what else is said in the line."""

LOCKS = ("build", "lint", "local", "run", "test")


def lock_text(name: str) -> str:
    """The text of one lock."""
    return (PROJECT / "requirements" / f"{name}.lock").read_text()


def pins(name: str) -> dict[str, Version]:
    """The version of every package in a lock, by its normalized name."""
    return {canonicalize_name(match[1]): Version(match[2]) for match in PIN.finditer(lock_text(name))}


def demands(extra: str) -> list[Requirement]:
    """What pyproject.toml asks for: `run`, `build`, or one of its extras."""
    document = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    known = {
        "build": document["build-system"]["requires"],
        "run": document["project"]["dependencies"],
        **document["project"]["optional-dependencies"],
    }
    return list(map(Requirement, known[extra]))


class MinimumVersionTests(SynchronousTestCase):
    """No version with a known hole that bears on us."""

    def test_locks_are_past_every_advisory(self) -> None:
        """A lock pins at least the row's version, and no row is about a package we do not have."""
        locked = {name: pins(name) for name in LOCKS}
        for minimum in MINIMUMS:
            found = {name: lock[minimum.package] for name, lock in locked.items() if minimum.package in lock}
            self.assertNotEqual(found, {}, f"{minimum.package} is in no lock: drop its rows")
            for name, pinned in found.items():
                self.assertGreaterEqual(pinned, Version(minimum.version), f"{name}.lock, {minimum.advisory}")

    def test_installations_without_the_locks_are_past_every_advisory(self) -> None:
        """For what pyproject.toml names itself, its floor already excludes the versions before the row's."""
        for requirement in demands("run") + demands("test") + demands("lint"):
            for minimum in MINIMUMS:
                if minimum.package == canonicalize_name(requirement.name):
                    floor = max(Version(bound.version) for bound in requirement.specifier if bound.operator == ">=")
                    self.assertGreaterEqual(floor, Version(minimum.version), minimum.advisory)

    def test_what_is_installed_here_is_past_every_advisory(self) -> None:
        """The tests speak of the packages they ran with."""
        for minimum in MINIMUMS:
            try:
                installed = version(minimum.package)
            except PackageNotFoundError:
                continue
            self.assertGreaterEqual(Version(installed), Version(minimum.version), minimum.advisory)


class LockTests(SynchronousTestCase):
    """The locks fit pyproject.toml and each other, and say nothing of where packages come from."""

    def test_locks_answer_what_is_asked_for(self) -> None:
        """Every requirement is pinned, to a version it admits; `make lock` mends it."""
        for name in LOCKS:
            locked = pins(name)
            for requirement in demands(name):
                pinned = locked.get(canonicalize_name(requirement.name))
                self.assertIsNotNone(pinned, f"{requirement} is not in {name}.lock")
                self.assertIn(pinned, requirement.specifier, f"{requirement} in {name}.lock")

    def test_all_locks_fit_in_one_environment(self) -> None:
        """No two of them pin different versions of a package."""
        everything: dict[str, Version] = {}
        for name in LOCKS:
            for package, pinned in pins(name).items():
                self.assertEqual(everything.setdefault(package, pinned), pinned, f"{package} in {name}.lock")

    def test_every_pin_has_hashes(self) -> None:
        """Every package is followed by at least one SHA-256 digest."""
        for name in LOCKS:
            lines = lock_text(name).splitlines()
            for number, line in enumerate(lines):
                if PIN.match(line):
                    self.assertRegex(lines[number + 1], r"^    --hash=sha256:[0-9a-f]{64}", f"{name}.lock: {line}")

    def test_locks_name_no_place(self) -> None:
        """No index, no address, no path."""
        for name in LOCKS:
            self.assertNotRegex(lock_text(name), r"://|--index|--find-links|--trusted-host| @ ", name)
