"""When nothing can be traced to a sender, by the configuration."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy.conveyance import OPEN_LEAVES, unguarded, zero_propagation

GUARDED = {"/v1": ("metered", "guard", "proxy"), "/metrics": ("guard", "metrics"), "/healthz": ("health",)}


class ZeroTests(SynchronousTestCase):
    """The two reasons, alone and together."""

    def test_tcp_that_knows_who_comes(self) -> None:
        """Credentials before everything that does something for somebody."""
        self.assertEqual(zero_propagation(("tcp", "unix"), False, GUARDED), [])
        self.assertEqual(zero_propagation(("tls",), False, {f"/{leaf}": (leaf,) for leaf in OPEN_LEAVES}), [])

    def test_whoever_comes_is_let_in(self) -> None:
        """On a listener of any kind whose address others could know."""
        for kind in ("tcp", "tls", "fd", "systemd"):
            self.assertEqual(zero_propagation((kind,), True, GUARDED), ["anonymous"])

    def test_a_path_that_asks_nobody(self) -> None:
        """One is enough."""
        tree = {**GUARDED, "/v2": ("metered", "proxy")}
        self.assertEqual((unguarded(GUARDED), unguarded(tree)), (False, True))
        self.assertEqual(zero_propagation(("tcp",), False, tree), ["unguarded"])
        self.assertEqual(zero_propagation(("tcp",), True, tree), ["anonymous", "unguarded"])

    def test_a_unix_socket_knows_by_its_mode(self) -> None:
        """Whatever is configured."""
        self.assertEqual(zero_propagation(("unix", "unix"), True, {"/v1": ("proxy",)}), [])
