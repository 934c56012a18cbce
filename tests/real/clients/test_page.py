"""docs/clients.md: its lines are run as they stand, and what cannot be run is at least well formed."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections.abc import Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hadesgw import config
from tests.real.clients.environment import CLIENTS, NODE, PINS, PYTHON
from tests.real.clients.page import ADDRESS, PAGE, block, blocks
from tests.real.clients.stage import MODEL, StagedTestCase

SECONDS = 60.0
HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
UPSTREAM = '[[upstream]]\nname = "vllm"\nsocket = "/run/hades/vllm/api.sock"\n'


class PageTests(SynchronousTestCase):
    """What holds of the page by itself."""

    def test_one_gateway(self) -> None:
        """All lines are for one address and one model."""
        for heading in HEADING.findall(PAGE.read_text()):
            for _, text in blocks(heading):
                self.assertEqual(set(re.findall(r"https?://([^/\s\"]+)", text)) - {ADDRESS}, set(), heading)
                self.assertEqual(set(re.findall(r"qwen[\w.-]+", text)) - {MODEL}, set(), heading)

    def test_gateway_s_block(self) -> None:
        """What agents need is a configuration that the gateway takes, and clients are told no more than it has."""
        advice = block("What agents need of the gateway", "toml")
        given = config.parse(UPSTREAM + advice, "clients.md", Path("/"))
        codex = tomllib.loads(block("Codex CLI and IDE extension", "toml"))
        self.assertEqual(given.budget.context_tokens, codex["model_context_window"])
        self.assertIn(f"contextLength: {given.budget.context_tokens}\n", block("Continue", "yaml"))
        self.assertIn(f"maxTokens: {given.budget.output_tokens}\n", block("Continue", "yaml"))
        self.assertIn(f"MAX_OUTPUT_TOKENS={given.budget.output_tokens} ", block("Claude Code", "sh"))
        idle = codex["model_providers"]["hadesgw"]["stream_idle_timeout_ms"] / 1000
        self.assertEqual((given.timeouts.idle, given.timeouts.first_byte), (idle, idle))
        for route in (b"/v1/responses", b"/v1/messages", b"/v1/chat/completions"):
            self.assertGreater(given.limits.body.cap(route), given.limits.body.default)

    def test_versions(self) -> None:
        """The versions named are those that are tested."""
        text = PAGE.read_text()
        pins = "".join((PINS / name).read_text() for name in ("python.txt", "codex.txt"))
        modules = json.loads((PINS / "package.json").read_text())["dependencies"]
        for client, version in (
            ("OpenAI for Python", re.search(r"^openai==(\S+)", pins, re.MULTILINE)),
            ("Anthropic for Python", re.search(r"^anthropic==(\S+)", pins, re.MULTILINE)),
            ("Codex CLI", re.search(r"^openai-codex-cli-bin==(\S+)", pins, re.MULTILINE)),
            ("OpenAI for Node", re.search(r"(.+)", modules["openai"])),
        ):
            assert version is not None, client
            self.assertRegex(text, rf"\[{client}\]\(#[\w-]+\) {re.escape(version[1])} \|")

    def test_contents(self) -> None:
        """The table of clients leads to headings that are there."""
        anchors = {re.sub(r"[^\w-]", "", name.lower().replace(" ", "-")) for name in HEADING.findall(PAGE.read_text())}
        linked = set(re.findall(r"\]\(#([\w-]+)\)", PAGE.read_text()))
        self.assertEqual(linked - anchors, set())


class PageLinesTests(StagedTestCase):
    """What happens when the lines are copied."""

    def require_clients(self) -> None:
        CLIENTS.program("curl")
        self.python = CLIENTS.kit(PYTHON)
        self.node = CLIENTS.kit(NODE)

    def run_lines(self, command: Sequence[str | Path]) -> str:
        """What the command prints; it must end well."""
        done = subprocess.run(
            command,
            cwd=self.stage.folder,
            env=self.stage.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def lines(self, heading: str, language: str) -> str:
        return block(heading, language, self.stage.gateway.port)

    def test_curl(self) -> None:
        """The stream is printed event by event to its end."""
        said = self.run_lines(["bash", "-c", self.lines("curl", "sh")])
        self.assertTrue(said.endswith("data: [DONE]\n\n"), said)
        self.assertGreater(said.count("data: {"), 10)

    def test_openai_for_python(self) -> None:
        """The answer is printed."""
        said = self.run_lines([self.python.python, "-I", "-c", self.lines("OpenAI for Python", "python")])
        self.assertIn("rehearsal model", said)

    def test_openai_for_node(self) -> None:
        """The answer is printed."""
        modules = self.stage.folder / "node_modules"
        if not modules.exists():
            modules.symlink_to(self.node.modules)
        program = self.stage.folder / "lines.mjs"
        program.write_text(self.lines("OpenAI for Node", "js"))
        self.assertIn("rehearsal model", self.run_lines([self.node.node, program]))

    def test_anthropic_for_python(self) -> None:
        """The answer is printed."""
        said = self.run_lines([self.python.python, "-I", "-c", self.lines("Anthropic for Python", "python")])
        self.assertIn("rehearsal model", said)
