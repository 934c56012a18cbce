"""Which bound addresses may be served without TLS."""

from __future__ import annotations

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.service.listeners import ListenerRefused, name_address, require_loopback


class LoopbackTests(SynchronousTestCase):
    """Judged on the address, not on what the configuration called it."""

    def test_admitted(self) -> None:
        """Loopback in all its forms, and sockets that are no network's."""
        for address in (
            IPv4Address("TCP", "127.0.0.1", 1),
            IPv4Address("TCP", "127.8.9.10", 1),
            IPv6Address("TCP", "::1", 1),
            IPv6Address("TCP", "::ffff:127.0.0.1", 1),
            UNIXAddress(b"/run/x"),
        ):
            require_loopback(address)

    def test_refused(self) -> None:
        """Every address another machine can reach; the message names it and says what to do."""
        addresses: list[IAddress] = [
            IPv4Address("TCP", "0.0.0.0", 80),
            IPv4Address("TCP", "192.0.2.1", 80),
            IPv6Address("TCP", "::", 80),
            IPv6Address("TCP", "::ffff:192.0.2.1", 80),
            IPv6Address("TCP", "fe80::1%eth0", 80),
        ]
        for address in addresses:
            refused = self.assertRaises(ListenerRefused, require_loopback, address)
            self.assertIn(name_address(address), str(refused))
            self.assertIn("TLS", str(refused))

    def test_names(self) -> None:
        """Addresses are written as an operator writes them."""
        self.assertEqual(name_address(IPv4Address("TCP", "127.0.0.1", 80)), "tcp:127.0.0.1:80")
        self.assertEqual(name_address(IPv6Address("TCP", "::1", 80)), "tcp:[::1]:80")
        self.assertEqual(name_address(UNIXAddress(b"/run/x")), "unix:/run/x")
