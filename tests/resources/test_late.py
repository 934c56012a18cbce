"""A leaf that is made when somebody first comes to it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import IResource

from hadesgw.resources.late import Late
from tests.wire.door import Door, Leaf, get


class LateTests(SynchronousTestCase):
    """From outside it is the leaf."""

    def test_made_once(self) -> None:
        """By the first request, which it answers as any other."""
        made: list[IResource] = []

        def make() -> IResource:
            made.append(Leaf(lambda request: b"there"))
            return made[-1]

        door = Door(Late(make))
        self.assertEqual(made, [])
        self.assertEqual([door.call().send(get()).answer().body for _ in range(2)], [b"there", b"there"])
        self.assertEqual(len(made), 1)

    def test_one_that_cannot_be_made(self) -> None:
        """Is a defect: it is logged, told as one, and tried again."""

        def make() -> IResource:
            raise ZeroDivisionError

        door = Door(Late(make))
        self.assertEqual([door.call().send(get()).answer().status for _ in range(2)], [500, 500])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
