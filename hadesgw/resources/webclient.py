"""The leaf that serves the web client: files of the installation, held in memory, and what the page must know of us.

Every answer, refusals too, forbids the page whatever it does not need: scripts and styles that are not files of
ours, frames, other hosts, and sinks that turn text into markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from twisted.web.resource import Resource

from hadesgw import __version__
from hadesgw.config import Config
from hadesgw.http.framing import Fields
from hadesgw.http.site import Request
from hadesgw.policy import refusals
from hadesgw.resources.stored_files import TYPES, File, as_file, digest, send

_NOT_BUILT = b"""The web client is not in this installation of hadesgw: it was not built before the package was made.

In a checkout, `make webclient` builds it (it wants Node 20); then start the gateway again.
The API does not need it: /v1, /healthz, /readyz and /metrics are where they always are.
"""


def page_settings(config: Config) -> dict[str, object]:
    """What the page must know of the gateway. Everybody can read it, so there is no secret in it."""
    limits = config.limits
    models = [model for upstream in config.upstream for model in upstream.models if model != "*"]
    default_model = config.webclient.default_model or next(iter(models), "")
    context_tokens, output_tokens = config.tokens(config.upstream_of(default_model))
    return {
        "headers": {"request_id": config.headers.request_id, "session_id": config.headers.session_id},
        "default_model": default_model,
        "limits": {
            "body_bytes": {"default": limits.body.default, **limits.body.routes},
            "context_tokens": context_tokens,
            "output_tokens": output_tokens,
            "requests_per_second": limits.requests_per_second,
            "burst": limits.burst,
            "max_in_flight": limits.max_in_flight,
        },
        "connect": config.webclient.connect,
        "memory_tools": config.telemetry.memory_tools,
    }


def _build(files: Mapping[bytes, File]) -> dict[str, object]:
    """Which client this is: a page that finds another one than its own offers to be loaded anew."""
    whole = digest(part for path in sorted(files) for part in (path, files[path].plain))
    return {"version": __version__, "hash": whole.decode("ascii") if files else None}


def _protection(connect: Iterable[str]) -> Fields:
    """The fields that keep the page from doing what it does not need.

    :param connect: origins it may speak to besides ours.
    """
    policy = [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "font-src 'self'",
        " ".join(["connect-src 'self'", *connect]),
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
    return [
        (b"content-security-policy", "; ".join(policy).encode("ascii")),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"permissions-policy", b"camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"),
        (b"referrer-policy", b"no-referrer"),
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", b"DENY"),
    ]


class WebClient(Resource):
    """`/`: the page and its files; 404 for all else: no page stands for others.

    `/ui/build.json` says which client this is; `/ui/config.json` the same beside the settings, for a page that begins.

    :param files: what the build made, of :func:`hadesgw.resources.stored_files.read_files`; none if nothing was built.
    :param settings: of :func:`page_settings`.
    :param connect: origins that the page may speak to besides ours.
    """

    isLeaf = True

    def __init__(self, files: Mapping[bytes, File], settings: Mapping[str, object], connect: Iterable[str]) -> None:
        Resource.__init__(self)
        build = _build(files)
        self._files = {
            **files,
            b"/ui/config.json": as_file(b".json", msgspec.json.encode({**settings, "build": build})),
            b"/ui/build.json": as_file(b".json", msgspec.json.encode(build)),
        }
        self._protection = _protection(connect)

    def render(self, request: Request) -> bytes | int:
        """The file of that path, in the coding that is wanted, or word that it is the one the asker has."""
        request.standing.extend(self._protection)
        file = self._files.get(request.path)
        if request.method not in (b"GET", b"HEAD"):
            refusal = refusals.NOT_FOUND if file is None and request.path != b"/" else refusals.METHOD_NOT_ALLOWED
            return request.refuse(refusal, [(b"Allow", b"GET, HEAD")] if refusal.status == 405 else ())
        if file is not None:
            return send(request, file)
        if request.path == b"/":
            return _say_not_built(request)
        return request.refuse(refusals.NOT_FOUND)


def _say_not_built(request: Request) -> bytes:
    request.setResponseCode(404, b"Not Found")
    request.setHeader(b"Content-Type", TYPES[".txt"])
    request.setHeader(b"Cache-Control", b"no-store")
    return _NOT_BUILT
