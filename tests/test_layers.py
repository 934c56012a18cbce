"""The arrows of the architecture: who may import whom, read from the sources."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase

from tools.pure import PROJECT, module_name, pure_modules

ORDER = (
    "cli",
    "client",
    "tap",
    "service",
    "demo",
    "tree",
    "resources",
    "sessions",
    "telemetry",
    "http",
    "interfaces",
    "config",
    "policy",
)
"""The parts of hadesgw from top to bottom: a part imports from itself and from what stands below it.

`interfaces` stands above `policy` because it speaks of policy's values (and of Deferreds, which policy may
not).
"""

REACTOR_HOLDERS = {"hadesgw.tap", "hadesgw.demo.__main__"}
"""The composition root, and the entry points of child processes: nobody else takes the global reactor."""

REACTOR = "twisted.internet.reactor"
IMPURE = ("twisted.internet", "twisted.web")

DEPENDENCIES = {
    "OpenSSL",
    "cryptography",
    "httptools",
    "msgspec",
    "opentelemetry",  # the extra `otel`
    "prometheus_client",
    "service_identity",
    "treq",
    "twisted",
    "wsproto",
    "xllamacpp",  # the extra `local`
    "zope",
}
"""What may be imported besides the standard library: what pyproject.toml asks for, and Twisted's own."""


class Import(NamedTuple):
    """One imported thing.

    :ivar name: the module, or the module and what is taken from it: the source does not tell which.
    :ivar typing_only: whether only type checkers see it.
    """

    name: str
    typing_only: bool


def imports(tree: ast.AST, typing_only: bool = False) -> Iterator[Import]:
    """Every import in `tree`, in functions too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, typing_only) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (Import(f"{node.module}.{alias.name}", typing_only) for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            yield from imports(ast.Module(node.body, []), True)
            yield from imports(ast.Module(node.orelse, []), typing_only)
        else:
            yield from imports(node, typing_only)


def within(name: str, module: str) -> bool:
    """Whether the dotted `name` is `module` or something in it."""
    return name == module or name.startswith(f"{module}.")


def part(name: str) -> str:
    """The part of hadesgw that a dotted name is in; empty for the package itself, which holds a version."""
    word = name.partition(".")[2].partition(".")[0]
    return "" if word == "__version__" else word


def wrong_arrows(module: str, tree: ast.AST) -> list[str]:
    """The imports of `module` that point upwards."""
    own = part(module)
    below = {"", *ORDER[ORDER.index(own) :]} if own else {""}
    return [name for name, _ in imports(tree) if within(name, "hadesgw") and part(name) not in below]


def takes_reactor(tree: ast.AST) -> bool:
    """Whether the global reactor is imported, or reached through its package."""
    if any(within(name, REACTOR) for name, _ in imports(tree)):
        return True
    return any(isinstance(node, ast.Attribute) and ast.unparse(node) == REACTOR for node in ast.walk(tree))


def sources() -> dict[str, ast.Module]:
    """Every module of hadesgw by its dotted name, parsed."""
    paths = sorted(PROJECT.glob("hadesgw/**/*.py"))
    return {module_name(path.relative_to(PROJECT)): ast.parse(path.read_text()) for path in paths}


def packages(module: str) -> set[str]:
    """The packages that a module is in."""
    words = module.split(".")
    return {".".join(words[:count]) for count in range(1, len(words))}


def needs(module: str, known: Mapping[str, ast.AST]) -> set[str]:
    """The modules of hadesgw that `module` imports when it runs, but for the packages it is in itself."""
    names = {name for name, typing_only in imports(known[module]) if not typing_only}
    return (names.union(*map(packages, names)) & known.keys()) - packages(module)


def reach(module: str, known: Mapping[str, ast.AST]) -> set[str]:
    """All modules of hadesgw that importing `module` brings in, itself among them."""
    reached: set[str] = set()
    ahead = {module}
    while ahead:
        current = ahead.pop()
        reached.add(current)
        ahead |= (needs(current, known) | packages(current)) & known.keys() - reached
    return reached


def is_layer(tree: ast.AST) -> bool:
    """Whether a module defines a resource that stands around another."""
    return any(isinstance(node, ast.ClassDef) and "Layer" in map(ast.unparse, node.bases) for node in ast.walk(tree))


class ArrowTests(SynchronousTestCase):
    """What holds of the sources as they are."""

    def setUp(self) -> None:
        self.sources = sources()

    def test_every_part_has_its_place(self) -> None:
        """Whatever is in hadesgw stands somewhere in the order."""
        self.assertEqual({part(name) for name in self.sources} - {"", *ORDER}, set())

    def test_arrows_point_down(self) -> None:
        """No part imports from one that stands above it, not even for its types."""
        wrong = {name: wrong_arrows(name, tree) for name, tree in self.sources.items()}
        self.assertEqual({name: found for name, found in wrong.items() if found}, {})

    def test_no_import_goes_in_circles(self) -> None:
        """No module of hadesgw needs itself in order to be imported."""
        # A package that shows what a module of its own makes needs that module, not itself.
        order = TopologicalSorter({name: needs(name, self.sources) - {name} for name in self.sources})
        self.assertEqual(set(order.static_order()), set(self.sources))

    def test_only_the_composition_root_takes_the_global_reactor(self) -> None:
        """Everybody else is given a reactor."""
        takers = {name for name, tree in self.sources.items() if takes_reactor(tree)}
        self.assertEqual(takers - REACTOR_HOLDERS, set())

    def test_pure_modules_know_neither_reactor_nor_web(self) -> None:
        """Nor does anything they import."""
        impure = {
            module: name
            for module in map(module_name, pure_modules(PROJECT))
            for reached in reach(module, self.sources)
            for name, typing_only in imports(self.sources[reached])
            if not typing_only and any(within(name, root) for root in IMPURE)
        }
        self.assertEqual(impure, {})

    def test_layers_do_not_know_each_other(self) -> None:
        """Nobody in resources imports a layer: which stands around which is the configuration's business."""
        resources = {name: tree for name, tree in self.sources.items() if part(name) == "resources"}
        layers = {name for name, tree in resources.items() if is_layer(tree)}
        known = {name: needs(name, resources) & layers for name in resources}
        self.assertEqual({name: found for name, found in known.items() if found}, {})

    def test_nothing_but_the_declared_dependencies_is_imported(self) -> None:
        """What runs needs the standard library and the packages that pyproject.toml names."""
        roots = {name.split(".")[0] for tree in self.sources.values() for name, _ in imports(tree)}
        self.assertEqual(roots - DEPENDENCIES - {"hadesgw"} - sys.stdlib_module_names, set())


class ReadingTests(SynchronousTestCase):
    """That the tests above would notice."""

    def test_an_arrow_upwards_is_found_wherever_it_stands(self) -> None:
        """At the top, in a function, for types only, with or without `from`."""
        for text in (
            "from hadesgw.resources.guard import Guard",
            "from hadesgw import tree",
            "import hadesgw.tap",
            "def later():\n    from hadesgw.resources import guard",
            "if TYPE_CHECKING:\n    from hadesgw.service.drain import Drain",
            "if TYPE_CHECKING:\n    pass\nelse:\n    from hadesgw.service.drain import Drain",
        ):
            self.assertEqual(len(wrong_arrows("hadesgw.http.site", ast.parse(text))), 1, text)

    def test_an_arrow_downwards_is_right(self) -> None:
        """To what stands below, to the part itself, to the version and to other packages."""
        for text in (
            "from hadesgw.policy import refusals",
            "from hadesgw.http.framing import RequestHead",
            "from hadesgw import __version__",
            "import httptools",
        ):
            self.assertEqual(wrong_arrows("hadesgw.http.site", ast.parse(text)), [], text)

    def test_the_reactor_is_found_by_any_way_to_it(self) -> None:
        """By import or through its package; a reactor that was given is not it."""
        for text in (
            "from twisted.internet import reactor",
            "import twisted.internet.reactor",
            "def start():\n    from twisted.internet import defer, reactor",
            "import twisted.internet\ntwisted.internet.reactor.run()",
        ):
            self.assertTrue(takes_reactor(ast.parse(text)), text)
        self.assertFalse(takes_reactor(ast.parse("def start(reactor):\n    reactor.run()")))

    def test_what_an_import_brings_in_is_followed(self) -> None:
        """Through modules and the packages around them, but not through imports for types."""
        known = {
            "hadesgw": ast.parse(""),
            "hadesgw.a": ast.parse("from hadesgw.b.c import thing\nif TYPE_CHECKING:\n    import hadesgw.d"),
            "hadesgw.b": ast.parse(""),
            "hadesgw.b.c": ast.parse("import json"),
            "hadesgw.d": ast.parse(""),
        }
        self.assertEqual(reach("hadesgw.a", known), {"hadesgw", "hadesgw.a", "hadesgw.b", "hadesgw.b.c"})
