"""Whether what passes can be traced to whoever sent it: the PRD's conveyance, C. Here is when it is 0."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

OPEN_LEAVES = frozenset(("health", "hermes", "readiness", "sdk", "webclient"))
"""Leaves that tell everybody the same and do nothing for anybody, so that nobody need be known there."""


def zero_propagation(kinds: Iterable[str], anonymous: bool, tree: Mapping[str, Sequence[str]]) -> list[str]:
    """Why C is 0 for a gateway that is configured so; nothing if it is not.

    :param kinds: of its listeners; see :attr:`hadesgw.policy.listening.Listener.kind`.
    :param anonymous: whether clients without a credential are let in.
    :param tree: layers by path, the last one the leaf.
    :returns: "anonymous" (TCP lets in who has no credential), "unguarded" (TCP leads to a path that asks for none).
    """
    if all(kind == "unix" for kind in kinds):  # whose mode is a credential
        return []
    return ["anonymous"] * anonymous + ["unguarded"] * unguarded(tree)


def unguarded(tree: Mapping[str, Sequence[str]]) -> bool:
    """Whether there is a path that does something for whoever comes. Parameters as above."""
    return any(layers[-1] not in OPEN_LEAVES and "guard" not in layers for layers in tree.values())
