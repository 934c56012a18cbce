"""The engines of a gateway's coding sessions, each made when it is first wanted: most gateways use one, or none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.python.reflect import namedAny

from hadesgw.config import Config
from hadesgw.interfaces import IRequestLog
from hadesgw.sessions.engine import IEngine

_MAKERS = {
    "codex": "hadesgw.service.codex.make_codex",
    "aider": "hadesgw.service.aider.make_aider",
    "rehearsal": "hadesgw.service.rehearsal.make_rehearsal",
}
"""By an engine's name in the configuration what makes it, of configuration, reactor and environment."""


class Engines(Mapping[str, IEngine]):
    """The engines there are, by their names in the configuration.

    :param reactor: provides time, processes, threads and connections.
    :param environment: of this process.
    """

    def __init__(self, config: Config, reactor: Any, environment: Mapping[str, str]) -> None:
        rehearsed = config.sessions.engine == "rehearsal"  # it plays: nobody shall have that in place of work
        self._makers = {name: maker for name, maker in _MAKERS.items() if rehearsed or name != "rehearsal"}
        self._parts = config, reactor, environment
        self._made: dict[str, IEngine] = {}

    def __getitem__(self, name: str) -> IEngine:
        engine = self._made.get(name)
        if engine is None:
            make = cast(Callable[..., IEngine], namedAny(self._makers[name]))
            engine = self._made[name] = make(*self._parts)
        return engine

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)

    def __contains__(self, name: object) -> bool:
        return name in self._makers  # and that makes none

    def begin(self, log: IRequestLog) -> Deferred[None]:
        """Find out at the start whether the engine works that is to be used; and log why not."""
        config = self._parts[0]
        if config.sessions.engine != "codex" or not config.sessions.workspaces:
            return succeed(None)
        trying: Deferred[None] = namedAny("hadesgw.service.codex.try_codex")(self["codex"], config, log)
        return trying

    def close(self) -> None:
        """Let go of what those hold that were made."""
        for engine in self._made.values():
            engine.close()
