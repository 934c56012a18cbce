"""A leaf that is made when somebody first comes to it: what a gateway does not use is not loaded."""

from __future__ import annotations

from collections.abc import Callable

from twisted.web.resource import IResource, Resource

from hadesgw.http.site import Request


class Late(Resource):
    """Stands where a leaf will be.

    :param make: makes that leaf.
    """

    isLeaf = True

    def __init__(self, make: Callable[[], IResource]) -> None:
        Resource.__init__(self)
        self._make = make
        self._leaf: IResource | None = None

    def render(self, request: Request) -> bytes | int:
        """What the leaf answers."""
        if self._leaf is None:
            self._leaf = self._make()
        answer: bytes | int = self._leaf.render(request)
        return answer
