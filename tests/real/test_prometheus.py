"""A real Prometheus that scrapes a running gateway with the sample configuration, and what it makes of it."""

from __future__ import annotations

import json
import re
import shutil
import socket
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.real.gateway import Gateway
from tests.real.processes import end, start
from tests.real.upstream import Upstream
from tests.real.visitor import Visitor
from tests.real.waiting import wait_for
from tests.test_alerts import METRIC, RULES, alerts, expressions

SCRAPE = RULES.with_name("scrape.yml")
CONDITIONAL = {"hades_codex_certificate_expiry_seconds"}
"""Metrics that this gateway, which has no TLS, cannot have."""


class PrometheusTests(SynchronousTestCase):
    """One gateway with a model server, scraped each second."""

    def setUp(self) -> None:
        program = shutil.which("prometheus")
        if program is None:
            raise SkipTest("prometheus is not installed (Debian package prometheus)")
        scratch = tempfile.TemporaryDirectory(prefix="hgw-")
        self.addCleanup(scratch.cleanup)
        folder = Path(scratch.name)
        (folder / "gateway").mkdir()
        upstream = Upstream(folder / "up.sock")
        self.addCleanup(upstream.stop)
        upstream.start()
        self.gateway = Gateway(folder / "gateway", upstream.path, ["m"])
        self.addCleanup(self.gateway.stop)
        self.gateway.start()
        self.port = self.free_port()
        command: list[str | Path] = [program, f"--config.file={self.configure(folder)}"]
        command += [f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{self.port}"]
        self.log = folder / "prometheus.log"
        child = start(command, self.log, {"PATH": "/usr/bin:/bin"}, folder)
        self.addCleanup(end, child, 10.0)
        self.child = child

    def configure(self, folder: Path) -> Path:
        """The sample, with this gateway's address and token, and a scrape each second."""
        (folder / "token").write_text(self.gateway.token)
        shutil.copy(RULES, folder)
        text = SCRAPE.read_text().replace("/etc/prometheus/hadesgw.token", str(folder / "token"))
        text = text.replace("127.0.0.1:8082", f"127.0.0.1:{self.gateway.port}")
        file = folder / "prometheus.yml"
        file.write_text("global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\n" + text)
        return file

    @staticmethod
    def free_port() -> int:
        """One that nobody has now."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port: int = taken.getsockname()[1]
        return port

    def ask(self, path: str, **query: str) -> Any:
        """What Prometheus' own interface says; None while it does not answer."""
        assert self.child.poll() is None, self.log.read_text()[-2000:]
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except OSError:
            return None

    def names(self) -> set[str]:
        """The metrics it has."""
        return {name for name in self.ask("label/__name__/values") or () if METRIC.fullmatch(name)}

    def test_everything_that_is_asked_is_there(self) -> None:
        """Each query of the dashboard is understood and speaks of series that exist; each alert is evaluated, and none
        fires for a gateway that is well."""
        visitor = Visitor(self.gateway)
        self.addCleanup(visitor.close)
        visitor.ask("stream", "watched")
        visitor.read_to_end()
        self.gateway.stranger().get("/readyz")
        wait_for(lambda: "hades_codex_requests_total" in self.names(), "it has scraped the gateway", seconds=60)
        metrics = self.gateway.client().get("/metrics").body.decode()
        families = set(re.findall(r"^# TYPE (hades_codex_\w+) ", metrics, re.MULTILINE))
        for expression in expressions():
            asked = expression.replace("$__rate_interval", "1m").replace("$instance", ".*").replace("$route", ".*")
            answer = self.ask("query", query=asked)
            self.assertIsNotNone(answer, f"Prometheus does not understand {asked}")
            for name in METRIC.findall(expression):
                family = re.sub(r"_(bucket|count|sum)$", "", name)
                self.assertTrue(family in families or family in CONDITIONAL, f"{family} is not on the page")
        groups = wait_for(self.evaluated, "all alerts have been evaluated", seconds=30)
        rules = [rule for group in groups for rule in group["rules"]]
        self.assertEqual([rule["name"] for rule in rules], alerts())
        self.assertEqual([rule["name"] for rule in rules if rule["state"] == "firing"], [])

    def evaluated(self) -> list[dict[str, Any]] | None:
        """The groups of rules, once all are found well."""
        groups = (self.ask("rules") or {}).get("groups", [])
        well = all(rule["health"] == "ok" for group in groups for rule in group["rules"])
        return groups if groups and well else None


