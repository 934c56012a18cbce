"""The alerts and the dashboard: tried by promtool, and compared with the meters and with what operators read."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from hadesgw.policy import refusals
from hadesgw.policy.refusals import Refusal
from hadesgw.telemetry.meters import Meters
from tools.pure import PROJECT

RULES = PROJECT / "deploy" / "prometheus" / "hadesgw.rules.yml"
TRIALS = RULES.with_name("hadesgw.test.yml")
DASHBOARD = PROJECT / "deploy" / "grafana" / "hadesgw.json"
METRIC = re.compile(r"\bhades_codex_[a-z_]+")
_SUFFIX = re.compile(r"_(?:bucket|count|sum)$")


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run promtool."""
    program = shutil.which("promtool")
    if program is None:
        raise SkipTest("promtool is not installed (Debian package prometheus)")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=60)


def alerts() -> list[str]:
    """The names of all alerts, in their order."""
    return re.findall(r"^ +- alert: (\w+)$", RULES.read_text(), re.MULTILINE)


def expressions() -> list[str]:
    """What the dashboard asks."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


def known() -> set[str]:
    """The metrics that a gateway with TLS has."""
    registry = CollectorRegistry()
    Meters(registry).certificate_shown(lambda: 1.0)
    return {
        f"{name}_total" if kind == "counter" and not name.endswith("_total") else name
        for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", generate_latest(registry).decode(), re.MULTILINE)
        if not name.endswith("_created")  # which the gateway switches off
    }


class AlertTests(SynchronousTestCase):
    """Each alert means what it says."""

    def test_each_fires_when_it_should_and_only_then(self) -> None:
        """As promtool finds with series that are made for it: one that fires and one that does not, for each."""
        done = promtool("test", "rules", TRIALS)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        named = re.findall(r"^  - name: (\w+) (.*)$", TRIALS.read_text(), re.MULTILINE)
        self.assertEqual(named, [(name, how) for name in alerts() for how in ("fires", "does not fire")])
        self.assertEqual(TRIALS.read_text().count("exp_alerts: []"), len(alerts()))

    def test_the_rules_are_well_formed(self) -> None:
        """As promtool judges them."""
        done = promtool("check", "rules", RULES)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_they_speak_of_metrics_that_exist(self) -> None:
        """So does the dashboard: a name that is misspelt would never fire, and never show."""
        for source in (RULES.read_text(), " ".join(expressions())):
            named = {_SUFFIX.sub("", name) for name in METRIC.findall(source)}
            self.assertEqual(named - known(), set())

    def test_the_dashboard_shows_every_metric(self) -> None:
        """What is counted is looked at."""
        shown = {_SUFFIX.sub("", name) for name in METRIC.findall(" ".join(expressions()))}
        self.assertEqual(known() - shown, set())

    def test_the_error_rate_counts_our_faults_and_not_the_clients(self) -> None:
        """Every code of a failure counts, but of those that a client's own request is the cause of."""
        found = re.search(r'code=~"([^"]*)"', RULES.read_text())
        assert found is not None
        catalogue = [refusal for refusal in vars(refusals).values() if isinstance(refusal, Refusal)]
        failures = {refusal.code for refusal in catalogue if refusal.status >= 500}
        asked_for = {refusals.BAD_VERSION.code, refusals.UNKNOWN_CODING.code, refusals.UNKNOWN_METHOD.code}
        counted = {refusal.code for refusal in catalogue if re.fullmatch(found[1], refusal.code)}
        self.assertEqual(counted, failures - asked_for)
        for status in range(400, 600):
            self.assertIs(re.fullmatch(found[1], str(status)) is not None, status >= 500)
        self.assertIn(found[0].removeprefix("code"), " ".join(expressions()), "the dashboard counts the same")

    def test_operators_read_of_each(self) -> None:
        """The page lists every alert, and no other, in their order."""
        page = (PROJECT / "docs" / "operations.md").read_text()
        self.assertEqual(re.findall(r"^\| `(Hades\w+)` \|", page, re.MULTILINE), alerts())
