"""What a request for a file wants of it: which coding of it, and whether at all (RFC 9110 12.5.3 and 13.1.2)."""

from __future__ import annotations

import re
from collections.abc import Iterable

_CODING = re.compile(
    rb"[ \t]*(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*"
    rb"(?:;[ \t]*[qQ]=(?P<weight>0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*)?"
)
_ENTITY_TAG = re.compile(rb'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')


def accepts_gzip(accept_encoding: Iterable[bytes]) -> bool:
    """Whether an answer may be gzip coded.

    An element that is not well formed counts for nothing: the worst that follows is a longer answer.

    :param accept_encoding: the values of the fields of that name; none at all means that nothing was said, and then
        the file as it is surprises nobody.
    """
    weights = {}
    for value in accept_encoding:
        for element in value.split(b","):
            coding = _CODING.fullmatch(element)
            if coding is not None:
                weights[coding["name"].lower()] = float(coding["weight"] or 1)
    named = [weights[name] for name in (b"gzip", b"x-gzip") if name in weights]
    return max(named, default=weights.get(b"*", 0.0)) > 0


def is_fresh(if_none_match: Iterable[bytes], entity_tag: bytes) -> bool:
    """Whether the asker has the file already, by the weak comparison that GET and HEAD want.

    :param if_none_match: the values of the fields of that name.
    :param entity_tag: of what would be answered: strong, with its quotes.
    """
    values = [value.strip(b" \t") for value in if_none_match]
    return b"*" in values or any(entity_tag in _ENTITY_TAG.findall(value) for value in values)
