"""Who can reach an address, what the kernel's tables say, and what is listened on that nobody asked for."""

from __future__ import annotations

import itertools
import sys
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from hadesgw.policy.exposure import Address, Exposed, Held, Wanted, compare, listening_sockets, require_safe, surplus

LOCAL = ("127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "::ffff:127.255.255.254")
REACHABLE = (
    "0.0.0.0",
    "192.0.2.1",
    "10.0.0.1",
    "126.255.255.255",
    "128.0.0.0",
    "::",
    "::2",
    "::ffff:0.0.0.0",
    "::ffff:192.0.2.1",
    "::127.0.0.1",
    "fe80::1%eth0",
    "fd00::1",
)

# Of a machine with sshd on all interfaces, a proxy on loopback with one client, and a database.
TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1001 1 0000 100 0 0 10 0
   1: 0100007F:1F92 00000000:0000 0A 00000000:00000005 00:00000000 00000000   998        0 1002 1 0000 100 0 0 10 0
   2: 0100007F:1F92 0100007F:D431 01 00000000:00000000 00:00000000 00000000   998        0 1003 1 0000 20 4 30 10 -1
   3: 010200C0:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000   105        0 1004 1 0000 100 0 0 10 0
"""
TABLE_6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr ...
   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 2001 1
   1: 00000000000000000000000001000000:1F92 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 2002 1
   2: 0000000000000000FFFF00000100007F:1F93 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 2003 1
   3: B80D0120000000000000000078563412:FFFF 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 2004 1
"""


def at(host: str, port: int = 80) -> Address:
    return Address.of(host, port)


class SafeTests(SynchronousTestCase):
    """`require_safe`."""

    def test_on_loopback_everything_goes(self) -> None:
        """In all its spellings, without TLS and without a credential."""
        for host, encrypted, anonymous in itertools.product(LOCAL, (False, True), (False, True)):
            require_safe(at(host), encrypted=encrypted, anonymous=anonymous)

    def test_off_loopback_only_tls_and_only_whom_we_know(self) -> None:
        """The message names the address and what to do."""
        for host in REACHABLE:
            require_safe(at(host), encrypted=True, anonymous=False)
            for encrypted, anonymous, cure in (
                (False, False, "use tls:"),
                (False, True, "use tls:"),
                (True, True, "clients.anonymous"),
            ):
                with self.assertRaises(Exposed) as caught:
                    require_safe(at(host), encrypted=encrypted, anonymous=anonymous)
                self.assertIn(f"{at(host)} can be reached from other machines", str(caught.exception))
                self.assertIn(cure, str(caught.exception))

    def test_addresses_are_told_as_operators_write_them(self) -> None:
        """IPv6 in brackets, no zone."""
        self.assertEqual(str(at("127.0.0.1", 8082)), "tcp:127.0.0.1:8082")
        self.assertEqual(str(at("fe80::1%eth0", 8082)), "tcp:[fe80::1]:8082")

    def test_a_name_is_no_address(self) -> None:
        """What is judged has been bound, and has an address."""
        self.assertRaises(ValueError, at, "localhost")


class TableTests(SynchronousTestCase):
    """`listening_sockets`."""

    def test_a_table_is_read(self) -> None:
        """Listening sockets only, with the addresses that `ss -lnt` shows for them."""
        if sys.byteorder != "little":
            raise SkipTest("these tables are of a little-endian machine")
        told = {inode: str(address) for inode, address in listening_sockets(TABLE).items()}
        self.assertEqual(told, {1001: "tcp:0.0.0.0:22", 1002: "tcp:127.0.0.1:8082", 1004: "tcp:192.0.2.1:5432"})
        found = listening_sockets(TABLE_6)
        self.assertEqual([found[inode] for inode in (2001, 2002)], [at("::"), at("::1", 8082)])
        self.assertEqual(found[2003], at("::ffff:127.0.0.1", 8083))
        self.assertEqual(found[2004], at("2001:db8::1234:5678", 65535))

    def test_an_empty_table_has_no_sockets(self) -> None:
        """Only its heading."""
        self.assertEqual(listening_sockets(TABLE.splitlines()[0]), {})

    @given(st.ip_addresses(), st.integers(0, 65535), st.integers(0, 1 << 63))
    def test_every_address_is_read_as_it_is_in_memory(self, host: object, port: int, inode: int) -> None:
        """Written as the kernel writes it: words of 32 bits in the machine's order, in hexadecimal."""
        packed = ip_address(str(host)).packed
        words = [int.from_bytes(packed[at : at + 4], sys.byteorder) for at in range(0, len(packed), 4)]
        text = "".join(f"{word:08X}" for word in words)
        line = f"0: {text}:{port:04X} {'0' * len(text)}:0000 0A 0:0 0:0 0 0 0 {inode} 1"
        self.assertEqual(listening_sockets(f"heading\n{line}"), {inode: at(str(host), port)})

    def test_what_is_no_table_is_refused(self) -> None:
        """Rather than taken for one without sockets."""
        for line in ("0: x", "   1: 0100007F:1F92 00000000:0000 0A 0:0 0:0 0 998 0", "0: zz:1 0:0 0A a b c d e 1"):
            self.assertRaises(ValueError, listening_sockets, f"heading\n{line}")


class SurplusTests(SynchronousTestCase):
    """`surplus`: what the gateway watches itself for."""

    def test_declared_sockets_of_its_own_are_no_surplus(self) -> None:
        """Neither is a declared one that is not there."""
        own = Held(7, at("127.0.0.1"))
        self.assertEqual(surplus([own], 7, {own.address, at("::1")}), [])

    def test_anything_else_is(self) -> None:
        """Another port or host of its own, and whatever a child has, the parent's own socket included."""
        declared = at("127.0.0.1")
        others = [Held(7, at("127.0.0.1", 81)), Held(7, at("0.0.0.0")), Held(8, declared), Held(9, at("::1"))]
        for other in others:
            self.assertEqual(surplus([Held(7, declared), other], 7, {declared}), [other])

    def test_the_order_is_always_the_same(self) -> None:
        """By process, port and address, and each is told once: two looks can be compared."""
        held = [Held(7, at("127.0.0.1")), Held(7, at("::1")), Held(7, at("::1", 9)), Held(8, at("0.0.0.0", 1))]
        expected = [held[2], held[0], held[1], held[3]]
        for order in itertools.permutations(held):
            self.assertEqual(surplus([*order, *order], 7, ()), expected)


class CompareTests(SynchronousTestCase):
    """`compare`: a running gateway against a configuration."""

    def wanted(self, host: str | None, port: int) -> Wanted:
        return Wanted(f"{host} {port}", None if host is None else ip_address(host), port)

    def test_a_gateway_as_configured(self) -> None:
        """Nothing is left over and nothing missing: fixed ports, free ones, and inherited sockets."""
        wanted = [self.wanted(None, 0), self.wanted("127.0.0.1", 0), self.wanted("127.0.0.1", 80)]
        held = [Held(7, at("127.0.0.1", 80)), Held(7, at("127.0.0.1", 40000)), Held(7, at("192.0.2.1", 443))]
        for order in itertools.permutations(held):
            self.assertEqual(compare(order, 7, wanted), ([], []))

    def test_what_is_too_much_and_what_is_missing(self) -> None:
        """Each listener accounts for one socket, at its place, of the gateway itself."""
        here, there, child = Held(7, at("127.0.0.1")), Held(7, at("127.0.0.1", 81)), Held(8, at("127.0.0.1", 9))
        fixed, free, inherited = self.wanted("127.0.0.1", 80), self.wanted("127.0.0.1", 0), self.wanted(None, 0)
        elsewhere = self.wanted("::1", 80)
        for wanted, held, expected in (
            ([], [here], ([here], [])),
            ([fixed], [], ([], [fixed])),
            ([fixed], [there], ([there], [fixed])),
            ([elsewhere], [here], ([here], [elsewhere])),
            ([free], [here, there], ([there], [])),
            ([inherited], [child], ([child], [inherited])),
            ([fixed], [here, child], ([child], [])),
        ):
            self.assertEqual(compare(held, 7, wanted), expected)
