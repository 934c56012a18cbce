"""Does the time a credential takes tell how near it is to a stored one?

After dudect (Reparaz, Balasch, Verbauwhede, "Dude, is my code constant time?", 2017): two kinds of token in
random order, each timed on the whole way from header value to verdict, and Welch's t-test on the two sets of
times. *Near* tokens have digests that agree with a stored one in 31 of 32 bytes; *random* ones agree by
chance only. As interruptions fall on both kinds and drown everything, the test is repeated with the slowest
times cropped, at dudect's percentiles, and the largest |t| counts. |t| < 4.5 means: no difference found with
this many samples.

A test that cannot fail shows nothing, so a look-up by the digest's first bytes with a comparison that leaves
at the first wrong one is measured in the same way and must be caught.

    python benchmarks/token_timing.py [--samples 20000] [--seed 1]

Exit code 0: constant. 1: a difference was found. 2: the planted one was not, so the run proves nothing.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import math
import random
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from time import perf_counter_ns

from hadesgw.policy.credentials import (
    Client,
    ClientDirectory,
    Credential,
    Role,
    Token,
    mint_token,
    parse_authorization,
)

THRESHOLD = 4.5
CROPS = 100
CLIENTS = 100
NOW = datetime(2026, 1, 1, tzinfo=UTC)

Subject = Callable[[bytes], object]


def main() -> int:
    options = _options()
    chance = random.Random(options.seed)
    found, typical = _difference(_identify, options.samples, chance)
    print(f"identify, {CLIENTS} clients: |t| = {found:.2f} (limit {THRESHOLD}), median {typical:.0f} ns")
    planted, typical = _difference(_identify_leaking, options.samples, chance)
    print(f"planted early exit: |t| = {planted:.2f} (must exceed it), median {typical:.0f} ns")
    if found >= THRESHOLD:
        return 1
    return 0 if planted >= THRESHOLD else 2


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=20_000, help="of each kind")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def _identify(stored: Sequence[bytes]) -> Subject:
    """The real thing, knowing the digests `stored`."""
    directory = ClientDirectory(
        Client(name=f"client-{at}", roles=frozenset({Role.USER}), tokens=(Token(digest),))
        for at, digest in enumerate(stored)
    )
    return lambda value: directory.identify(parse_authorization((value,), ()), NOW)


def _identify_leaking(stored: Sequence[bytes]) -> Subject:
    """What must never be written."""
    shelves = {digest[:4]: digest for digest in stored}

    def identify(value: bytes) -> object:
        presented = parse_authorization((value,), ())
        assert isinstance(presented, Credential)
        return _equal_so_far(shelves.get(presented.sha256[:4], bytes(32)), presented.sha256)

    return identify


def _equal_so_far(one: bytes, other: bytes) -> bool:
    return all(a == b for a, b in zip(one, other, strict=True))


def _difference(make: Callable[[Sequence[bytes]], Subject], samples: int, chance: random.Random) -> tuple[float, float]:
    """The largest |t| between the two kinds, and the median time in nanoseconds."""
    times: tuple[list[int], list[int]] = ([], [])
    _measure(make, chance, ([], []))  # warms up
    for _ in range(math.ceil(samples / CLIENTS)):
        _measure(make, chance, times)
    largest = max(abs(_welch(*cropped)) for cropped in _crops(*times))
    return largest, statistics.median(times[0] + times[1])


def _measure(
    make: Callable[[Sequence[bytes]], Subject], chance: random.Random, times: tuple[list[int], list[int]]
) -> None:
    """Time one new set of clients with one near and one random token for each, every token once.

    A set measured for longer would show how its few digests happen to lie in the table and in memory.
    """
    near = [mint_token(chance.randbytes).encode() for _ in range(CLIENTS)]
    subject = make([_next_to(hashlib.sha256(token).digest()) for token in near])
    far = [mint_token(chance.randbytes).encode() for _ in range(CLIENTS)]
    inputs = [(kind, b"Bearer " + token) for kind, tokens in enumerate((near, far)) for token in tokens]
    chance.shuffle(inputs)
    inputs = [(kind, bytes(bytearray(value))) for kind, value in inputs]  # in memory as they come
    gc.disable()
    for kind, value in inputs:
        start = perf_counter_ns()
        subject(value)
        times[kind].append(perf_counter_ns() - start)
    gc.enable()


def _next_to(digest: bytes) -> bytes:
    return digest[:-1] + bytes([digest[-1] ^ 1])


def _crops(one: list[int], other: list[int]) -> Iterator[tuple[list[int], list[int]]]:
    """All samples, then those below each of dudect's percentiles, which crowd towards the slow end."""
    yield one, other
    ordered = sorted(one + other)
    for step in range(1, CROPS + 1):
        limit = ordered[int((1 - 0.5 ** (10 * step / CROPS)) * (len(ordered) - 1))]
        cropped = [time for time in one if time <= limit], [time for time in other if time <= limit]
        if min(map(len, cropped)) > len(one) // 4:  # too few left, and the timer's coarse steps decide
            yield cropped


def _welch(one: Sequence[int], other: Sequence[int]) -> float:
    """Welch's t statistic."""
    means = statistics.fmean(one), statistics.fmean(other)
    error = statistics.variance(one, means[0]) / len(one) + statistics.variance(other, means[1]) / len(other)
    return (means[0] - means[1]) / math.sqrt(error) if error else 0.0


if __name__ == "__main__":
    sys.exit(main())
