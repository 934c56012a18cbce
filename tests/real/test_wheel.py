"""Tests of the wheel: what is in it, and that it is all `twistd` needs to know the service."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tools.pure import PROJECT

RUN_SECONDS = 60.0
"""The longest that one program may take on a busy machine; each takes about a second."""
BUILD_SECONDS = 600.0
"""The longest that making a package may take where the web client has to be built first."""

TWISTD = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"


def run(
    command: list[str | Path],
    folder: Path,
    environment: dict[str, str] | None = None,
    seconds: float = RUN_SECONDS,
) -> subprocess.CompletedProcess[str]:
    """Run a program in `folder`, to its end."""
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def bound_by_modes() -> list[str | Path]:
    """What to put before a command so that file modes bind it even if we are root.

    :raises SkipTest: if nothing here can do that.
    """
    if os.geteuid():
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise SkipTest("root may write anywhere, and setpriv is not installed (Debian package util-linux)")
    return [setpriv, "--bounding-set=-dac_override,-dac_read_search"]


class WheelTests(SynchronousTestCase):
    """The wheel of this tree."""

    def setUp(self) -> None:
        if find_spec("hatchling") is None:
            raise SkipTest("hatchling is not installed (requirements/build.lock)")
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.wheel = self.build("wheel", "*.whl")

    def build(self, target: str, pattern: str) -> Path:
        """Make a package of this tree."""
        command: list[str | Path] = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", self.folder]
        done = run(command, PROJECT, seconds=BUILD_SECONDS)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        (package,) = self.folder.glob(pattern)
        return package

    def install(self) -> Path:
        """Unpack the wheel as pip does; the result is the only copy of ours on the path of :meth:`twistd`."""
        packages = self.folder / "site-packages"
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        done = run([*pip, "--no-deps", "--no-index", "--target", packages, self.wheel], self.folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        return packages

    def twistd(self, packages: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `twistd` with `packages` before the installed ones, which are bare: -S leaves the checkout out."""
        path = os.pathsep.join([str(packages), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
        keep = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        elsewhere = self.folder / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        command = [*bound_by_modes(), sys.executable, "-S", "-c", TWISTD, *arguments]
        return run(command, elsewhere, {**keep, "PYTHONPATH": path})

    def test_it_holds_the_package_the_plugin_and_the_defaults(self) -> None:
        """The plugin's folders stay Twisted's, the defaults are those of `etc`, and no test is shipped."""
        with ZipFile(self.wheel) as wheel:
            names = {name for name in wheel.namelist() if ".dist-info/" not in name}
            self.assertEqual(wheel.read("hadesgw/defaults.toml"), (PROJECT / "etc" / "hadesgw.toml").read_bytes())
        ours = {name for name in names if name.startswith("hadesgw/")}
        self.assertEqual(names - ours, {"twisted/plugins/hadesgw_plugin.py"})
        modules = {str(path.relative_to(PROJECT)) for path in (PROJECT / "hadesgw").rglob("*.py")}
        self.assertEqual({name for name in ours if name.endswith(".py")}, modules)
        self.assertIn("hadesgw/py.typed", ours)

    def test_wheel_and_source_package_carry_the_web_client(self) -> None:
        """Built, with all that the page refers to; the source package also has what it is built from."""
        built = PROJECT / "hadesgw" / "webclient_dist"
        if not (built / "index.html").is_file():
            raise SkipTest("the web client is not built, and nothing here can build it (Debian packages nodejs, npm)")
        files = {str(path.relative_to(PROJECT)) for path in built.rglob("*") if path.is_file()}
        with ZipFile(self.wheel) as wheel:
            self.assertEqual({name for name in wheel.namelist() if "/webclient_dist/" in name}, files)
            page = wheel.read("hadesgw/webclient_dist/index.html").decode()
        referred = {f"hadesgw/webclient_dist/{name}" for name in re.findall(r'(?:src|href)="\./([^"]+)"', page)}
        self.assertTrue(referred and referred <= files, referred - files)
        with tarfile.open(self.build("sdist", "*.tar.gz")) as source:
            names = {name.partition("/")[2] for name in source.getnames()}
        self.assertLessEqual(files | {"webclient/package-lock.json", "tools/webclient_build.py"}, names)
        self.assertEqual([name for name in names if "node_modules" in name], [])

    def test_twistd_knows_the_service_where_nothing_can_be_written(self) -> None:
        """In read-only packages Twisted cannot keep its cache of plugins, works without, and is quiet about it."""
        packages = self.install()
        for path in [packages, *packages.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        done = self.twistd(packages, "--help")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"\n +hadesgw +The front door of a vLLM server")
        self.assertEqual(done.stderr, "")
        self.assertFalse((packages / "twisted" / "plugins" / "dropin.cache").exists())

    def test_the_service_starts_from_the_wheel_alone(self) -> None:
        """With the built-in defaults, up to the point where they are refused: there is no client yet."""
        done = self.twistd(self.install(), "-n", "--pidfile=", "hadesgw")
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertRegex(done.stderr, r"\Ahadesgw: .*hadesgw token new.*\n\Z")
