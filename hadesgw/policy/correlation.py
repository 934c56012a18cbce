"""The two ids that join a request in every log: their grammar, how they are read, and how new ones are made."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import msgspec

_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_VARIANT = "89ab"  # the two high bits of octet 8 are 10 (RFC 9562 4.1)
_UUIDS_A_REFILL = 256


class Correlation(msgspec.Struct, frozen=True):
    """The ids of one request.

    :ivar request_id: value of the request-id header, sent upstream and in the answer.
    :ivar session_id: value of the Conveyance session header, likewise.
    :ivar replaced: names of the headers whose value was present but unusable, so a fresh id took its place.
    """

    request_id: bytes
    session_id: bytes
    replaced: tuple[bytes, ...] = ()


def uuid4_source(entropy: Callable[[int], bytes]) -> Callable[[], bytes]:
    """A function that returns a new random UUID (RFC 9562 5.4) in text form.

    :param entropy: returns that many random bytes, such as `os.urandom`; called once for 256 ids, because the system
        call would otherwise cost more than the rest.
    """
    pool: list[bytes] = []

    def mint() -> bytes:
        if not pool:
            digits = entropy(16 * _UUIDS_A_REFILL).hex()
            pool.extend(_uuid4(digits[at : at + 32]) for at in range(0, len(digits), 32))
        return pool.pop()

    return mint


def _uuid4(h: str) -> bytes:
    """The UUID made of 32 hexadecimal digits."""
    return f"{h[:8]}-{h[8:12]}-4{h[13:16]}-{_VARIANT[int(h[16], 16) & 3]}{h[17:20]}-{h[20:]}".encode()


class Correlator:
    """Finds or makes the ids of a request.

    :param request_name: header name of the request id, in the spelling answers carry.
    :param session_name: header name of the session id, likewise.
    :param mint: returns a fresh id.
    """

    def __init__(self, request_name: str, session_name: str, mint: Callable[[], bytes]) -> None:
        self.request_name = request_name.encode("ascii")
        self.session_name = session_name.encode("ascii")
        self.request_key, self.session_key = self.request_name.lower(), self.session_name.lower()
        self.names = frozenset((self.request_key, self.session_key))
        self._mint = mint
        self._salvage = {  # takes each byte once, whatever it is fed: this reads what nobody has checked yet
            name: re.compile(rb"(?mi)^" + re.escape(name) + rb":([^\r\n]*+)\r?\n")
            for name in (self.request_name, self.session_name)
        }

    def identify(self, fields: Sequence[tuple[bytes, bytes]]) -> Correlation:
        """The ids of a request with these (lower-cased name, value) fields."""
        if self.names.isdisjoint(dict(fields)):
            return Correlation(self._mint(), self._mint())
        return self._settle(
            [value for name, value in fields if name == self.request_key],
            [value for name, value in fields if name == self.session_key],
        )

    def salvage(self, raw: bytes) -> Correlation:
        """The ids of a head too broken to parse, so that even its refusal can be found by the id that was sent.

        Only whole lines count, as an id that broke off is another one; and what stands behind the head does not.
        """
        end = raw.find(b"\r\n\r\n")
        head = raw if end < 0 else raw[: end + 2]
        return self._settle(*([value.strip(b" \t") for value in line.findall(head)] for line in self._salvage.values()))

    def _settle(self, request_values: list[bytes], session_values: list[bytes]) -> Correlation:
        replaced = []
        chosen = []
        for name, values in ((self.request_name, request_values), (self.session_name, session_values)):
            if len(values) == 1 and _ID.fullmatch(values[0]):
                chosen.append(values[0])
            else:
                chosen.append(self._mint())
                if values:
                    replaced.append(name)
        return Correlation(chosen[0], chosen[1], tuple(replaced))
