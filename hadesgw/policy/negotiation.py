"""What a request wants of what it asks for: which form, which coding, and whether at all (RFC 9110 12.5 and 13.1.2)."""

from __future__ import annotations

import re
from collections.abc import Iterable

_CODING = re.compile(
    rb"[ \t]*(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*"
    rb"(?:;[ \t]*[qQ]=(?P<weight>0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*)?"
)
_OPENMETRICS = b"application/openmetrics-text"
_READABLE_VERSION = re.compile(rb'"?1\.[0-9]{1,3}\.[0-9]{1,3}"?')
_WEIGHT = re.compile(rb"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
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


def prefers_openmetrics(accept: Iterable[bytes]) -> bool:
    """Whether meters are to be shown as OpenMetrics 1.0, and not in Prometheus' older text form.

    They are for whoever names that form, in a version 1 or in none, and puts no other text form above it. An element
    that is not well formed counts for nothing: the worst that follows is the form that every scraper reads.

    :param accept: the values of the fields of that name.
    """
    weights = {_OPENMETRICS: 0.0, b"text/plain": 0.0}
    for value in accept:
        for element in value.split(b","):
            name, weight = _media_range(element)
            if name in weights:
                weights[name] = max(weights[name], weight)
    return weights[_OPENMETRICS] > 0 and weights[_OPENMETRICS] >= weights[b"text/plain"]


def _media_range(element: bytes) -> tuple[bytes, float]:
    """Its name, and how much it is wanted: 0 for a version of OpenMetrics that is not ours."""
    name, *parameters = (part.strip(b" \t").lower() for part in element.split(b";"))
    given = dict(parameter.split(b"=", 1) for parameter in parameters if b"=" in parameter)
    if name == _OPENMETRICS and _READABLE_VERSION.fullmatch(given.get(b"version", b"1.0.0")) is None:
        return name, 0.0
    weight = given.get(b"q", b"1")
    return name, float(weight) if _WEIGHT.fullmatch(weight) else 0.0
