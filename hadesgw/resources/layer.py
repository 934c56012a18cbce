"""What every layer is: a resource around a resource."""

from __future__ import annotations

from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource, getChildForRequest

from hadesgw.http.site import Request


class Layer(Resource):
    """A resource that decides about a request and, if it admits it, is not noticed.

    :param inner: the next layer, or the leaf; an ordinary Twisted resource.
    """

    isLeaf = True

    def __init__(self, inner: IResource) -> None:
        Resource.__init__(self)
        self._inner = inner
        if inner.isLeaf:  # as all layers are, and nearly all leaves: there is nothing to look for
            self.pass_on = inner.render  # type: ignore[method-assign]

    def pass_on(self, request: Request) -> bytes | int:
        """Let the inner resource answer; what this returns is for the layer to return."""
        answer: bytes | int = getChildForRequest(self._inner, request).render(request)
        return answer

    def pass_on_late(self, request: Request) -> None:
        """Let the inner resource answer a request for which the layer has returned `NOT_DONE_YET`."""
        try:
            request.render(getChildForRequest(self._inner, request))
        except Exception:  # noqa: BLE001 - as in `Request.process`: it ends this request, not whoever let it go on
            request.processingFailed(Failure())

    def render(self, request: Request) -> bytes | int:
        """Admit the request. Subclasses decide first."""
        return self.pass_on(request)
