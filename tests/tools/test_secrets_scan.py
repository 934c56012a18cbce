"""Tests of `tools.secrets_scan`. The secrets are put together at run time, so that the scan passes them by."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tools.secrets_scan import ALLOWED, Finding, findings, looks_random, repository_files, scan

DRAWN = base64.urlsafe_b64encode(hashlib.sha256(b"drawn").digest()).decode().rstrip("=").replace("-", "x")
"""43 characters as `secrets.token_urlsafe` draws them, always the same."""

ISSUED = {
    "AWS key": "AKIA" + "IOSFODNN7EXAMPLE",
    "Bearer credential": "curl -H 'Authorization: Bearer " + DRAWN + "'",
    "GitHub token": "ghp_" + "a1B2" * 9,
    "GitLab token": "glpat-" + "a1B2" * 5,
    "Google key": "AIza" + DRAWN[:35],
    "Hugging Face token": "hf_" + "a1B2" * 8,
    "JSON web token": "eyJ" + DRAWN[:20] + ".eyJ" + DRAWN[:30] + "." + DRAWN,
    "OpenAI or Anthropic key": "sk-ant-api03-" + DRAWN,
    "PyPI token": "pypi-" + DRAWN + DRAWN,
    "Slack token": "xoxb-" + "1234567890" * 2,
    "credential in a URL": "redis://gateway:" + "correct-horse" + "@localhost/0",
    "npm token": "npm_" + "a1B2" * 9,
    "private key": "-----BEGIN RSA " + "PRIVATE KEY-----\n" + DRAWN.replace("_", "/") + "\n",
}


class FindingsTests(SynchronousTestCase):
    """What is found in a text."""

    def test_keys_are_known_by_the_form_their_issuers_gave_them(self) -> None:
        """Wherever in a line they stand; the finding has the line and the kind, never the key."""
        for what, text in ISSUED.items():
            self.assertEqual(findings(f"first line\nsee {text} there"), [Finding(2, what)], text)

    def test_random_text_that_is_called_a_secret_is_one(self) -> None:
        """In Python, TOML, JSON and YAML, whatever the case of the name."""
        for line in (
            f'token = "{DRAWN}"',
            f"API_KEY: str = '{DRAWN}'",
            f'{{"password": "{DRAWN}"}}',
            f'client_secret_value: "{DRAWN}"',
            f'os.environ["AUTH"] = b"{DRAWN}"',
        ):
            self.assertEqual([finding.line for finding in findings(line)], [1], line)

    def test_what_only_looks_like_it_is_left_alone(self) -> None:
        """Digests, names, words, variables, and the word `Bearer` before any of them."""
        for line in (
            f'sha256 = "{hashlib.sha256(b"").hexdigest()}"',
            'token = "the-token-of-the-first-client"',
            "token = secrets.token_urlsafe(32)",
            'password = "0000000000000000"',
            'Authorization: Bearer {token}, "Bearer $HADESGW_TOKEN"',
            "http://user:{password}@localhost/ and http://user:$PASSWORD@localhost/",
            "task-" + "a" * 40,
            '"-----BEGIN PRIVATE KEY-----"',
        ):
            self.assertEqual(findings(line), [], line)

    def test_the_mark_allows_its_line_only(self) -> None:
        """A key on the next line is found all the same."""
        key = ISSUED["AWS key"]
        self.assertEqual(findings(f"{key}  # {ALLOWED}\n{key}"), [Finding(2, "AWS key")])

    def test_what_was_drawn_differs_from_what_was_written(self) -> None:
        """By its entropy, and by having letters and digits."""
        self.assertTrue(looks_random(DRAWN))
        for text in ("a1" * 20, "1234567890" * 3, "the quick brown fox jumps over"):
            self.assertFalse(looks_random(text), text)


class ScanTests(SynchronousTestCase):
    """What files are looked into."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        self.root.mkdir()

    def put(self, name: str, content: bytes) -> Path:
        """A file with this content."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def names(self) -> set[str]:
        """The repository's files, relative to it."""
        return {str(path.relative_to(self.root)) for path in repository_files(self.root) if path.is_file()}

    def test_a_finding_names_file_line_and_kind(self) -> None:
        """And not the secret."""
        path = self.put("notes.md", f"\n{ISSUED['npm token']}\n".encode())
        self.assertEqual(list(scan([path])), [f"{path}:2: npm token"])

    def test_what_nobody_types_is_passed_over(self) -> None:
        """Bytes that are no text, large files, links, and files that are gone."""
        secret = ISSUED["npm token"].encode()
        link = self.root / "link"
        link.symlink_to(self.put("target", secret))
        paths = [
            self.put("image", b"\xff\xfe" + secret),
            self.put("data", secret + b" " * (1 << 20)),
            link,
            self.root / "gone",
        ]
        self.assertEqual(list(scan(paths)), [])

    def test_git_says_what_belongs_to_the_repository(self) -> None:
        """What is tracked and what could be, not what is ignored."""
        for name in ("tracked", "new", "ignored"):
            self.put(name, b"")
        self.put(".gitignore", b"ignored\n")
        for command in (["init", "--quiet"], ["add", "tracked"]):
            subprocess.run(["git", *command], cwd=self.root, check=True)
        self.assertEqual(self.names(), {".gitignore", "tracked", "new"})

    def test_without_git_all_is_looked_into_but_what_was_made(self) -> None:
        """A tree unpacked from an archive is scanned as well."""
        self.put(".git", b"gitdir: /nonexistent\n")
        for name in ("a.py", "docs/b.md", ".venv/c.py", "webclient/node_modules/d.js"):
            self.put(name, b"")
        self.assertEqual(self.names(), {"a.py", "docs/b.md"})
