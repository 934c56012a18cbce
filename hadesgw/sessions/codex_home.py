"""The folder an agent keeps its own files in, and what we write there for it: its settings and its list of models.

One gateway's folders are in one that it holds a lock on, so that the next gateway knows what a dead one left behind,
and leaves alone what a living one still uses.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hadesgw.sessions.engine import Launch
from hadesgw.sessions.family import kill_strays

PROVIDER = "hadesgw"
TOKEN_VARIABLE = "HADESGW_SESSION_TOKEN"  # noqa: S105 - its name
LEAST_PROMPT_TOKENS = 4096
"""Codex's instructions and tools are a third of that; with less there is no room for work."""
KEPT = 32
"""Folders of agents that have died, kept so that their conversations can be continued."""
_LOCK = "lock"

INSTRUCTIONS = """\
You are a coding agent. You work in the user's directory, which the environment context names, until what was asked is \
done; then you say in a few sentences what you did and what you saw.

Look before you change anything: find things with `grep -rn`, read files with `sed -n '1,200p' FILE`. If there is a \
file AGENTS.md in the directory, read it first and do as it says.

Change files by patches only, and give them to the shell like this:

apply_patch <<'PATCH'
*** Begin Patch
*** Update File: folder/name.py
@@ def area(width, height):
 a line that stays
-a line that goes
+a line that comes
*** Add File: folder/other.py
+every line of a new file
*** Delete File: folder/old.py
*** End Patch
PATCH

Paths are relative. Give some lines around each change so that its place is certain. If a patch is refused, read the \
file again and write a new one.

Check what you did: run the tests or the program. Commands run in a sandbox without a network, where only this \
directory and /tmp can be written. The folder .git cannot: you see its history, but you do not commit; the user does.
"""


class HomeUnusable(Exception):
    """No folder can be had; the text is one line that says what to do."""


# -- Settings ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Window:
    """How many tokens are whose.

    :ivar prompt: the most that a prompt may have: what the answer does not need.
    """

    prompt: int

    @classmethod
    def of(cls, launch: Launch) -> Window:
        """That of an agent.

        A request names no limit of its answer, so the gateway asks for the most it allows, and has no more room for the
        prompt than this.
        """
        return cls(launch.context_tokens - launch.output_tokens)

    @property
    def compact_at(self) -> int:
        """Where a conversation is summed up: the request for the sum has to fit too, with what a last command said."""
        return self.prompt * 3 // 4

    @property
    def tool_bytes(self) -> int:
        """What is kept of what one command says: an eighth of the window, were each four bytes a token."""
        return max(1024, min(self.prompt // 2, 10_000))


def settings(launch: Launch, home: Path, scratch: Path, environment: Mapping[str, str], confined: bool) -> str:
    """`config.toml` for one agent.

    :param scratch: where its commands may write besides the workspace.
    :param environment: what its commands get besides the system's usual few variables.
    :param confined: whether Codex shall sandbox what it runs.
    """
    window = Window.of(launch)
    tables: dict[str, dict[str, Any]] = {
        "": {
            "model": launch.model,
            "model_provider": PROVIDER,
            "model_catalog_json": str(home / "catalog.json"),
            "model_auto_compact_token_limit": window.compact_at,
            "approval_policy": "never" if launch.approval == "never" else "on-request",
            "sandbox_mode": launch.sandbox if confined else "danger-full-access",
            "web_search": "disabled",
            "check_for_update_on_startup": False,
            "project_root_markers": [],
            "allow_login_shell": False,
        },
        "analytics": {"enabled": False},
        "feedback": {"enabled": False},
        "history": {"persistence": "none"},
        "agents": {"enabled": False},
        "skills": {"include_instructions": False},
        "skills.bundled": {"enabled": False},
        "tools.experimental_request_user_input": {"enabled": False},
        "tools.update_plan": {"enabled": True},
        "features": dict.fromkeys(_FEATURES, False),
        "shell_environment_policy": {"inherit": "core", "exclude": ["HADESGW_*"]},
        "shell_environment_policy.set": {"HOME": str(scratch), **environment},
        "sandbox_workspace_write": {"network_access": False, "exclude_slash_tmp": False},
        f"model_providers.{PROVIDER}": {
            "name": PROVIDER,
            "base_url": launch.base_url,
            "wire_api": "responses",
            "env_key": TOKEN_VARIABLE,
            "request_max_retries": 4,
            "stream_max_retries": 2,
            "stream_idle_timeout_ms": 300_000,
            "supports_websockets": False,
        },
        f"model_providers.{PROVIDER}.http_headers": {launch.session_header: launch.session_id},
        # What a repository brings for Codex to obey (settings, hooks, servers to start) is not obeyed.
        f"projects.{_quoted(str(launch.workspace))}": {"trust_level": "untrusted"},
    }
    return "\n".join(_table(name, values) for name, values in tables.items())


_FEATURES = (
    "apps",
    "browser_use",
    "computer_use",
    "goals",
    "hooks",
    "image_generation",
    "in_app_browser",
    "memories",
    "multi_agent",
    "plugins",
    "remote_plugin",
    "shell_snapshot",
    "skill_mcp_dependency_install",
    "sleep_tool",
    "tool_suggest",
    "unbounded_connection_retries",
    "view_image",
    "workspace_dependencies",
)
"""What a coding agent behind a gateway does not need: each of them is a tool, a program or a call elsewhere."""


def catalog(launch: Launch) -> str:
    """`catalog.json`: the one model there is, with nothing but functions for tools."""
    window = Window.of(launch)
    model = {
        "slug": launch.model,
        "display_name": launch.model,
        "description": "The model behind this gateway",
        "base_instructions": INSTRUCTIONS,
        "context_window": window.prompt,
        "max_context_window": window.prompt,
        "effective_context_window_percent": 100,
        "truncation_policy": {"mode": "bytes", "limit": window.tool_bytes},
        "shell_type": "unified_exec",
        "apply_patch_tool_type": None,
        "web_search_tool_type": "text",
        "experimental_supported_tools": [],
        "supports_search_tool": False,
        "supports_parallel_tool_calls": False,
        "supports_experimental_context": False,
        "supports_image_detail_original": False,
        "input_modalities": ["text"],
        "use_responses_lite": False,
        "multi_agent_version": None,
        "default_reasoning_level": None,
        "supported_reasoning_levels": [],
        "default_reasoning_summary": "none",
        "support_verbosity": False,
        "default_verbosity": None,
        "include_skills_usage_instructions": False,
        "include_plugin_usage_instructions": False,
        "include_apps_usage_instructions": False,
        "visibility": "list",
        "supported_in_api": True,
        "priority": 1,
        "additional_speed_tiers": [],
        "service_tiers": [],
        "availability_nux": None,
        "upgrade": None,
    }
    return json.dumps({"models": [model]}, indent=1)


def _table(name: str, values: Mapping[str, Any]) -> str:
    heading = [f"[{name}]"] if name else []
    return "\n".join([*heading, *(f"{_quoted(key)} = {_value(value)}" for key, value in values.items()), ""])


def _value(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return _quoted(value) if isinstance(value, str) else json.dumps(value)


def _quoted(text: str) -> str:
    """A TOML basic string; JSON's differ from it in what they leave bare."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


# -- Folders -----------------------------------------------------------------------------------------------------------


class Homes:
    """The agents' folders of one gateway. They hold conversations: nobody but this user can look into them.

    :param root: where they are made.
    :param temporary: the folders for temporary files, where Codex refuses to live.
    :param remove: takes a folder away, in its own time: nobody looks at it any more.
    :param key: of the configuration, by which somebody can have them elsewhere.
    """

    def __init__(
        self,
        root: Path,
        temporary: Sequence[Path],
        remove: Callable[[Path], object],
        key: str = "sessions.codex.state",
    ) -> None:
        self._key = key
        self._root = root
        self._temporary = temporary
        self._remove = remove
        self._life: Path | None = None
        self._lock: int | None = None
        self._left: OrderedDict[str, Path] = OrderedDict()
        self._forgotten = 0

    @property
    def root(self) -> Path:
        """Where all of them are."""
        return self._root

    def open(self) -> None:
        """Begin: what dead gateways have left is taken away.

        :raises HomeUnusable: if there can be no folders here.
        """
        if self._life is not None:
            return
        if any(self._root.resolve().is_relative_to(each.resolve()) for each in self._temporary):
            raise HomeUnusable(
                f"{self._key}: {self._root} is in the folder for temporary files, where Codex refuses to live"
            )
        try:
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._root = self._root.resolve()  # an enclosure shows a folder at one path, and not by links as well
            self._root.chmod(0o700)
            for folder in self._root.iterdir():
                if _deserted(folder):
                    kill_strays(folder)
                    self._remove(folder)
            self._life = Path(tempfile.mkdtemp(prefix="gateway-", dir=self._root))
            self._lock = os.open(self._life / f"{_LOCK}.new", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            (self._life / f"{_LOCK}.new").rename(self._life / _LOCK)  # nobody sees it before it is held
        except OSError as error:
            raise HomeUnusable(f"{self._key}: {self._root} cannot be used: {error.strerror}") from None

    def close(self) -> None:
        """Take all of them away, and end what was still on its way there, such as a trial."""
        life, self._life = self._life, None
        if life is not None:
            kill_strays(life)
            remove_tree(life)
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def home(self, session_id: str) -> Path:
        """The folder of a session, made if it is not there; the session's name tells nobody anything."""
        assert self._life is not None, "not open"
        name = hashlib.sha256(session_id.encode()).hexdigest()[:32]
        self._left.pop(name, None)
        home = self._life / name
        home.mkdir(mode=0o700, exist_ok=True)
        return home

    def leave(self, home: Path) -> None:
        """Its agent has died: keep it for the next one, unless too many are kept."""
        self._left[home.name] = home
        while len(self._left) > KEPT:
            self.forget(next(iter(self._left.values())))

    def forget(self, home: Path) -> None:
        """Its session is over, or begins anew: the folder's name is free at once."""
        self._left.pop(home.name, None)
        self._forgotten += 1
        gone = home.with_name(f"gone-{self._forgotten}")
        try:
            home.rename(gone)
        except FileNotFoundError:  # with all the others, at the gateway's end
            return
        self._remove(gone)


def _deserted(folder: Path) -> bool:
    """Whether a gateway made this folder and does not run any more."""
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True


def furnish(home: Path, launch: Launch, scratch: Path, environment: Mapping[str, str], confined: bool) -> None:
    """Write an agent's settings, over those of an earlier agent of its session.

    :raises OSError: if they cannot be written.
    """
    for name, text in (
        ("config.toml", settings(launch, home, scratch, environment, confined)),
        ("catalog.json", catalog(launch)),
    ):
        path = home / name
        path.unlink(missing_ok=True)  # what an agent has put here is not followed anywhere
        path.write_text(text, encoding="utf-8")


def remove_tree(folder: Path) -> None:
    """Take a folder away with all that is in it; what cannot be removed stays."""
    shutil.rmtree(folder, ignore_errors=True)
