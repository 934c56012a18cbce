"""Which files are read, and which are refused with the command that mends them."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy.guarded_file import SECRET, UNFORGEABLE, Unfit, read_guarded

_MOST = 1 << 20


class ReadTests(SynchronousTestCase):
    """`read_guarded` on files of all kinds and modes."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.path = self.folder / "my secret"
        self.path.write_bytes(b"x")

    def read(self, path: Path, forbidden: int = SECRET, credentials: Path | str | None = None) -> bytes:
        return read_guarded(str(path), forbidden, _MOST, None if credentials is None else str(credentials))

    def refused(
        self, expected: str, path: Path, forbidden: int = SECRET, credentials: Path | str | None = None
    ) -> None:
        unfit = self.assertRaises(Unfit, self.read, path, forbidden, credentials)
        self.assertIn(expected, str(unfit))

    def test_an_owners_file_is_read(self) -> None:
        """Writable or not."""
        for mode in (0o600, 0o400):
            self.path.chmod(mode)
            self.assertEqual(self.read(self.path), b"x")

    def test_a_secret_that_others_may_touch_is_refused_with_the_cure(self) -> None:
        """Each bit of group and others alone is too much; the command can be pasted."""
        for bit in (0o040, 0o020, 0o010, 0o004, 0o002, 0o001):
            self.path.chmod(0o600 | bit)
            self.refused(f"run: chmod 600 '{self.path}'", self.path)

    def test_what_must_not_be_forged_may_be_read(self) -> None:
        """By anybody, but written by its owner alone; and where nothing is forbidden, not even that matters."""
        for mode in (0o644, 0o755, 0o444):
            self.path.chmod(mode)
            self.assertEqual(self.read(self.path, UNFORGEABLE), b"x")
        for mode in (0o664, 0o646):
            self.path.chmod(mode)
            self.refused(f"run: chmod go-w '{self.path}'", self.path, UNFORGEABLE)
            self.assertEqual(self.read(self.path, 0), b"x")

    def test_systemd_credentials_are_exempt(self) -> None:
        """What lies in $CREDENTIALS_DIRECTORY is guarded by it, and only what lies there; an empty one is none."""
        self.path.chmod(0o440)
        self.assertEqual(self.read(self.path, credentials=self.folder), b"x")
        deeper = self.folder / "deeper"
        deeper.mkdir()
        link = deeper / "link"
        link.symlink_to(self.path.resolve())
        for path, credentials in (
            (self.path, deeper),
            (self.path, Path(f"{self.folder}/my")),
            (deeper / ".." / "my secret", deeper),
            (link, deeper),
            (self.path, ""),
        ):
            self.refused("chmod 600", path, credentials=credentials)

    def test_a_link_to_an_owners_file_is_read(self) -> None:
        """Secrets are often rendered behind a link; the file's own mode counts."""
        self.path.chmod(0o600)
        link = self.folder / "link"
        link.symlink_to(self.path.name)
        self.assertEqual(self.read(link), b"x")

    def test_what_is_no_file_is_refused(self) -> None:
        """A missing one, a folder, and a FIFO, which must not hold us up."""
        fifo = self.folder / "fifo"
        os.mkfifo(fifo, 0o600)
        self.refused("readable file: No such file", self.folder / "missing")
        self.refused("readable file: Is a directory", self.folder)
        self.refused("a regular file", fifo)

    def test_size(self) -> None:
        """At the limit it is read, one byte past it is refused."""
        self.path.chmod(0o600)
        self.path.write_bytes(b"x" * _MOST)
        self.assertEqual(len(self.read(self.path)), _MOST)
        self.path.write_bytes(b"x" * (_MOST + 1))
        self.refused("a file of at most 1 MiB", self.path)
