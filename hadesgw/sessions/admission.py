"""What a new session would have, or why there can be none: workspace, engine, model, and a way back to the gateway."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hadesgw.policy.credentials import Client
from hadesgw.sessions.engine import IEngine
from hadesgw.sessions.refusals import Reason, SessionRefused
from hadesgw.sessions.session import Bounds
from hadesgw.sessions.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a client wants of the session that it starts.

    :ivar session_id: of a session that exists; None for the client's default session.
    :ivar workspace: None for the configured default, or the only one there is.
    :ivar engine: None for the configured one.
    :ivar model: None for the first that the client may use.
    :ivar restart: end the session that is there, and start afresh.
    :ivar new: start a further session beside the default one.
    """

    session_id: str | None = None
    workspace: str | None = None
    engine: str | None = None
    model: str | None = None
    restart: bool = False
    new: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the configuration says about sessions.

    :ivar engine: name of the engine that is meant when none is named.
    :ivar default_workspace: likewise, or "".
    :ivar model: likewise, or "" when the configuration names no model.
    :ivar tokens: by a model's name: the most that prompt and answer may have together, and an answer alone.
    :ivar per_client: sessions of one client at one time.
    :ivar most: sessions at one time.
    :ivar git_seconds: that one run of git may take.

    The others are those of :class:`Launch`.
    """

    engine: str
    default_workspace: str
    model: str
    approval: str
    sandbox: str
    session_header: str
    tokens: Callable[[str], tuple[int, int]]
    bounds: Bounds
    per_client: int
    most: int
    git_seconds: float


@dataclass(frozen=True, slots=True)
class Granted:
    """What a session gets.

    :ivar base_url: where its agent finds its model.
    """

    workspace: Workspace
    engine: IEngine
    model: str
    base_url: str


class Admission:
    """Judges wishes; what it is made of is as for :class:`hadesgw.sessions.registry.SessionRegistry`."""

    def __init__(
        self,
        settings: Settings,
        engines: Mapping[str, IEngine],
        workspaces: Mapping[str, Workspace],
        standing: Callable[[str], Client | None],
        base_url: Callable[[], str | None],
    ) -> None:
        self._settings = settings
        self._engines = engines
        self._workspaces = workspaces
        self._standing = standing
        self._base_url = base_url

    def choices(self) -> dict[str, object]:
        """What can be wished for: `engine`, `engines`, `workspace` (the usual one, or None), `workspaces`."""
        return {
            "engine": self._settings.engine,
            "engines": sorted(self._engines),
            "workspace": self._usual_workspace(),
            "workspaces": sorted(self._workspaces),
        }

    def judge(self, client: str, wish: Wish, mine: int, all_there_are: int) -> Granted:
        """What a new session would have.

        :param mine: sessions that the client has.
        :raises SessionRefused: if it cannot be.
        """
        workspace = self._workspace(wish.workspace)
        engine = self._engine(wish.engine or self._settings.engine)
        base_url = self._base_url()
        if base_url is None:
            raise SessionRefused(
                Reason.NO_ENGINE,
                "no listener that an agent could call its model through; add a tcp: listener on 127.0.0.1",
            )
        model = self._model(client, wish.model)
        if mine >= self._settings.per_client:
            raise SessionRefused(Reason.TOO_MANY_SESSIONS, "you have as many sessions as you may; stop one")
        if all_there_are >= self._settings.most:
            raise SessionRefused(Reason.TOO_MANY_SESSIONS, "the gateway has as many sessions as it takes; come later")
        return Granted(workspace, engine, model, base_url)

    def _usual_workspace(self) -> str | None:
        if self._settings.default_workspace:
            return self._settings.default_workspace
        return next(iter(self._workspaces)) if len(self._workspaces) == 1 else None

    def _workspace(self, wanted: str | None) -> Workspace:
        if not self._workspaces:
            raise SessionRefused(
                Reason.NO_WORKSPACE,
                'no workspace is configured; add workspaces = { name = "/folder" } to [sessions], and restart',
            )
        name = wanted or self._usual_workspace()
        known = ", ".join(sorted(self._workspaces))
        if name is None:
            raise SessionRefused(Reason.NO_WORKSPACE, f"say which workspace: {known}")
        if name not in self._workspaces:
            raise SessionRefused(Reason.UNKNOWN_WORKSPACE, f"there is no such workspace; there is {known}")
        obstacle = self._workspaces[name].obstacle()
        if obstacle is not None:
            raise SessionRefused(Reason.NO_WORKSPACE, obstacle)
        return self._workspaces[name]

    def _engine(self, name: str) -> IEngine:
        if name not in self._engines:
            known = ", ".join(sorted(self._engines)) or "none"
            raise SessionRefused(Reason.UNKNOWN_ENGINE, f"there is no such engine; there is {known}")
        obstacle = self._engines[name].obstacle()
        if obstacle is not None:
            raise SessionRefused(Reason.NO_ENGINE, obstacle)
        return self._engines[name]

    def _model(self, client: str, wanted: str | None) -> str:
        standing = self._standing(client)
        own = None if standing is None else standing.models
        if wanted is None:
            usual = self._settings.model
            model = usual if own is None or usual in own else own[0]
            if not model:
                raise SessionRefused(Reason.BAD_REQUEST, "say which model: the configuration names none")
            return model
        if own is not None and wanted not in own:
            raise SessionRefused(Reason.BAD_REQUEST, "that model is not among those you may use")
        return wanted
