"""Those who look on: they hear what they should, and can do no harm."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from hadesgw.http.site import Request
from hadesgw.interfaces import IFollower
from hadesgw.telemetry.followers import Followers
from tests.wire.door import Door, hold, post


@implementer(IFollower)
class Onlooker:
    """Remembers what it was told.

    :param clumsy: raise at everything.
    """

    def __init__(self, clumsy: bool = False) -> None:
        self.heard: list[str] = []
        self._clumsy = clumsy

    def _hear(self, *words: str | None) -> None:
        self.heard.append(" ".join(word for word in words if word is not None))
        if self._clumsy:
            raise ZeroDivisionError

    def begun(self, request: Request) -> None:
        self._hear("begun")

    def learned(self, request: Request, fact: str, word: str | None) -> None:
        self._hear(fact, word)

    def ended(self, request: Request, completed: bool, now: float) -> None:
        self._hear("ended")


class FollowersTests(SynchronousTestCase):
    """Who is told, and of what."""

    def setUp(self) -> None:
        self.followers = Followers()
        door = Door(hold)
        door.call().send(post())
        (self.request,) = door.asked

    def _live(self) -> None:
        self.followers.begun(self.request)
        self.followers.learned(self.request, "first_byte", None)
        self.followers.learned(self.request, "tool_call", "search_recall")
        self.followers.ended(self.request, True, 0.0)

    def test_nobody(self) -> None:
        """At first nobody follows, and that can be seen without a call."""
        self.assertFalse(self.followers.present)
        self._live()

    def test_told(self) -> None:
        """Everybody who follows is told everything, in order; who does not any more, nothing."""
        first, second = Onlooker(), Onlooker()
        verifyObject(IFollower, first)
        self.followers.add(first)
        self.followers.add(second)
        self.assertTrue(self.followers.present)
        self._live()
        self.followers.remove(first)
        self.followers.remove(first)
        self.assertTrue(self.followers.present)
        self._live()
        whole = ["begun", "first_byte", "tool_call search_recall", "ended"]
        self.assertEqual((first.heard, second.heard), (whole, whole * 2))
        self.followers.remove(second)
        self.assertFalse(self.followers.present)

    def test_harmless(self) -> None:
        """One that raises is logged and told no more; neither the request nor the others notice."""
        clumsy, other = Onlooker(clumsy=True), Onlooker()
        self.followers.add(clumsy)
        self.followers.add(other)
        self._live()
        self.assertEqual((len(clumsy.heard), len(other.heard)), (1, 4))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
