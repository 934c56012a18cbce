"""What is written for an agent, and the folders it is written to."""

from __future__ import annotations

import json
import os
import stat
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.sessions.codex_home import (
    KEPT,
    LEAST_PROMPT_TOKENS,
    TOKEN_VARIABLE,
    Homes,
    HomeUnusable,
    Window,
    catalog,
    furnish,
    remove_tree,
    settings,
)
from hadesgw.sessions.engine import Launch

LAUNCH = Launch(
    session_id="s-1",
    workspace=Path("/srv/app"),
    model="qwen3",
    approval="on-request",
    sandbox="workspace-write",
    base_url="http://127.0.0.1:8082/v1",
    token="not-to-be-written",
    session_header="X-Conveyance-Session-ID",
    context_tokens=8192,
    output_tokens=2048,
)


def read(launch: Launch, confined: bool = True) -> dict[str, Any]:
    return tomllib.loads(settings(launch, Path("/state/home"), Path("/tmp"), {"TMPDIR": "/tmp"}, confined))


class SettingsTests(SynchronousTestCase):
    """`config.toml`."""

    def test_where_its_model_calls_go(self) -> None:
        """To this gateway and nowhere else, with the session's header, and a token that is in no file."""
        config = read(LAUNCH)
        provider = config["model_providers"][config["model_provider"]]
        self.assertEqual(provider["base_url"], "http://127.0.0.1:8082/v1")
        self.assertEqual(provider["wire_api"], "responses")
        self.assertEqual(provider["http_headers"], {"X-Conveyance-Session-ID": "s-1"})
        self.assertEqual(provider["env_key"], TOKEN_VARIABLE)
        self.assertEqual(list(config["model_providers"]), [config["model_provider"]])
        self.assertNotIn(LAUNCH.token, str(config))

    def test_nothing_calls_elsewhere(self) -> None:
        """No analytics, no feedback, no search for updates or on the web, and no endless attempts."""
        config = read(LAUNCH)
        self.assertEqual((config["analytics"]["enabled"], config["feedback"]["enabled"]), (False, False))
        self.assertEqual((config["check_for_update_on_startup"], config["web_search"]), (False, "disabled"))
        self.assertEqual(set(config["features"].values()), {False})
        self.assertIn("unbounded_connection_retries", config["features"])

    def test_the_token_is_hidden_from_commands(self) -> None:
        """Their environment begins with little, and has nothing of ours."""
        policy = read(LAUNCH)["shell_environment_policy"]
        self.assertEqual((policy["inherit"], policy["exclude"]), ("core", ["HADESGW_*"]))
        self.assertTrue(TOKEN_VARIABLE.startswith("HADESGW_"))
        self.assertEqual(policy["set"], {"HOME": "/tmp", "TMPDIR": "/tmp"})

    def test_the_sandbox(self) -> None:
        """Is the one asked for, without a network; only who is not to be confined gets none."""
        for sandbox in ("read-only", "workspace-write"):
            self.assertEqual(read(replace(LAUNCH, sandbox=sandbox))["sandbox_mode"], sandbox)
        self.assertEqual(read(LAUNCH)["sandbox_workspace_write"]["network_access"], False)
        self.assertEqual(read(LAUNCH, confined=False)["sandbox_mode"], "danger-full-access")

    def test_a_repository_gives_no_orders(self) -> None:
        """Its settings, hooks and rules are those of somebody who is not trusted."""
        config = read(LAUNCH)
        self.assertEqual(config["projects"], {"/srv/app": {"trust_level": "untrusted"}})
        self.assertEqual(config["project_root_markers"], [])

    @given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
    def test_any_name_can_be_written(self, name: str) -> None:
        """Whatever is in a path or a model's name, it is read again as it was."""
        launch = replace(LAUNCH, workspace=Path(f"/srv/x{name}"), model=name)
        config = read(launch)
        self.assertEqual(config["model"], name)
        self.assertEqual(list(config["projects"]), [str(launch.workspace)])


class CatalogTests(SynchronousTestCase):
    """`catalog.json`."""

    def test_one_model_with_functions_only(self) -> None:
        """Nothing in it makes Codex send a tool that is no function."""
        [model] = json.loads(catalog(LAUNCH))["models"]
        self.assertEqual(model["slug"], "qwen3")
        self.assertIsNone(model["apply_patch_tool_type"])
        self.assertEqual(model["experimental_supported_tools"], [])
        self.assertEqual((model["supports_search_tool"], model["use_responses_lite"]), (False, False))

    def test_the_window_is_the_budget(self) -> None:
        """A prompt has what the answer leaves; a conversation is summed up before it has that."""
        [model] = json.loads(catalog(LAUNCH))["models"]
        self.assertEqual(model["context_window"], 8192 - 2048)
        self.assertEqual(model["effective_context_window_percent"], 100)
        self.assertEqual(read(LAUNCH)["model_auto_compact_token_limit"], (8192 - 2048) * 3 // 4)

    @given(st.integers(LEAST_PROMPT_TOKENS, 1_000_000))
    def test_a_last_result_still_fits(self, prompt: int) -> None:
        """Below the mark, with one more result of a command, be it two bytes a token, the window is not full."""
        window = Window(prompt)
        self.assertLessEqual(window.compact_at + window.tool_bytes // 2, prompt)


class HomesTests(SynchronousTestCase):
    """The folders of one gateway."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        self.homes = self.make(remove_tree)

    def make(self, remove: Callable[[Path], object]) -> Homes:
        homes = Homes(self.root, [], remove)
        self.addCleanup(homes.close)
        return homes

    def test_nobody_else_looks_in(self) -> None:
        """They are their user's alone, whatever the mask is, and a session's name is not to be read from them."""
        self.addCleanup(os.umask, os.umask(0))
        self.homes.open()
        home = self.homes.home("session_17")
        for folder in (self.root, home.parent, home):
            self.assertEqual(stat.S_IMODE(folder.stat().st_mode), 0o700)
        self.assertNotIn("session_17", str(home))

    def test_a_session_finds_its_own_again(self) -> None:
        """And no other's."""
        self.homes.open()
        self.homes.open()
        self.assertEqual(self.homes.root, self.root)
        self.assertEqual(self.homes.home("a"), self.homes.home("a"))
        self.assertNotEqual(self.homes.home("a"), self.homes.home("b"))

    def test_forgotten(self) -> None:
        """A folder is gone when its session is over, and its name is free even while it is being removed."""
        slow: list[Path] = []
        self.homes = self.make(slow.append)
        self.homes.open()
        home = self.homes.home("a")
        (home / "conversation").write_text("saffron")
        self.homes.forget(home)
        again = self.homes.home("a")
        self.assertEqual((again, list(again.iterdir())), (home, []))
        self.assertEqual([(path / "conversation").exists() for path in slow], [True])
        self.homes.forget(Path(self.root, "never-was"))

    def test_left_ones_are_bounded(self) -> None:
        """Agents that died leave so many folders and no more; the oldest go, unless somebody came back to them."""
        self.homes.open()
        first = self.homes.home("0")
        self.homes.leave(first)
        for number in range(1, KEPT + 1):
            self.homes.home("0")
            self.homes.leave(self.homes.home(str(number)))
        self.assertTrue(first.exists())
        for number in range(KEPT):
            self.homes.leave(self.homes.home(f"more-{number}"))
        self.assertEqual(len([path for path in first.parent.iterdir() if path.is_dir()]), KEPT + 1)

    def test_closed(self) -> None:
        """At the end nothing is left; to close twice is to close once."""
        self.homes.open()
        self.homes.home("a")
        self.homes.close()
        self.homes.close()
        self.assertEqual(list(self.root.iterdir()), [])

    def test_what_the_dead_left(self) -> None:
        """Is removed by the next gateway; what a living one uses stays, and so does what is not ours."""
        dead = self.root / "gateway-dead"
        dead.mkdir(parents=True)
        (dead / "lock").touch()
        strange = self.root / "strange"
        strange.mkdir()
        self.homes.open()
        kept = self.homes.home("a")
        self.make(remove_tree).open()
        self.assertEqual((dead.exists(), strange.exists(), kept.exists()), (False, True, True))

    def test_a_place_behind_a_link(self) -> None:
        """Is known by its real path, at which an enclosure can show it."""
        real = Path(self.mktemp()).absolute()
        real.mkdir()
        self.root.symlink_to(real)
        self.homes.open()
        self.assertEqual(self.homes.home("a").parents[1], real.resolve())

    def test_places_that_cannot_be(self) -> None:
        """One that cannot be written, and one where Codex refuses to live, are refused with what to do."""
        for root in (Path("/proc/nowhere"), Path("/tmp/state"), Path("/tmp/../tmp/state")):
            problem = self.assertRaises(HomeUnusable, Homes(root, [Path("/tmp")], remove_tree).open)
            self.assertIn("sessions.codex.state", str(problem))


class FurnishTests(SynchronousTestCase):
    """Writing."""

    def test_written_anew(self) -> None:
        """Whatever an agent has put in their place, the files are ours again, and no link of its is followed."""
        home = Path(self.mktemp()).absolute()
        home.mkdir()
        elsewhere = home.parent / "elsewhere"
        elsewhere.write_text("untouched")
        (home / "config.toml").symlink_to(elsewhere)
        furnish(home, LAUNCH, Path("/tmp"), {}, True)
        self.assertEqual(elsewhere.read_text(), "untouched")
        self.assertEqual(
            tomllib.loads((home / "config.toml").read_text())["model_catalog_json"], f"{home}/catalog.json"
        )
        self.assertEqual(len(json.loads((home / "catalog.json").read_text())["models"]), 1)
