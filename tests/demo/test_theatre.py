"""Routes, and what is answered without a performance."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.demo.playing import Playhouse, request_bytes

CHAT = "/v1/chat/completions"


def running(house: Playhouse) -> float:
    lines = house.get("/metrics").body.decode().splitlines()
    return float(next(line for line in lines if line.startswith("vllm:num_requests_running")).split()[-1])


class RouteTests(SynchronousTestCase):
    """What is served, exactly."""

    def test_only_exact_paths_are_routes(self) -> None:
        """Nothing below them, beside them or written otherwise; a query changes nothing."""
        house = Playhouse()
        for path in (
            "/",
            "/v1",
            "/v1/models/",
            "/v1//models",
            "/V1/models",
            "/v1/models%2f",
            "/health/x",
            "/%76ersion",
        ):
            self.assertEqual(house.get(path).status, 404, path)
        self.assertEqual(house.get("/v1/models?limit=1").status, 200)

    def test_other_methods_are_told_which_one_to_use(self) -> None:
        """In the allow field, for made-up methods too."""
        for method, path, allow in (
            ("GET", CHAT, "POST"),
            ("DELETE", "/v1/models", "GET"),
            ("PUT", "/ping", "GET, POST"),
            ("OPTIONS", "/health", "GET"),
            ("JUMP", "/health", "GET"),
        ):
            answered, _ = Playhouse().exchange(method, path)
            self.assertEqual((answered.status, dict(answered.fields)["allow"]), (405, allow))

    def test_version_and_fingerprint_are_honest(self) -> None:
        """They say rehearsal."""
        house = Playhouse()
        self.assertIn("rehearsal", house.get("/version").json()["version"])
        self.assertIn("rehearsal", house.chat("x").json()["system_fingerprint"])
        self.assertEqual(house.get("/v1/models").json()["data"][0]["owned_by"], "rehearsal")

    def test_a_fault_of_ours_breaks_the_connection(self) -> None:
        """Rather than leave the client waiting; the log has it."""
        house = Playhouse(ids=iter(()))
        channel, transport = house.connect()
        channel.dataReceived(request_bytes("GET", "/v1/models"))
        self.assertEqual((transport.value(), transport.disconnecting), (b"", True))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_running_requests_are_seen(self) -> None:
        """By both routes, as long as they run."""
        house = Playhouse()
        self.assertEqual((running(house), house.get("/load").json()), (0, {"server_load": 0}))
        house.theatre.meters.began(1)
        self.assertEqual((running(house), house.get("/load").json()), (1, {"server_load": 1}))
