"""Installing into a virtual environment of the cache.

What is installed may run code of its own (PEP 517), so it is done in a container that can write
nothing but the entry.  The environment is made where it will be seen, because the first lines of
its scripts and its compiled files hold that path.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata

from attrs import frozen

from ...declare.mounts import bind
from ...declare.part import Part
from ...host.mounts import host_python
from ...launch.results import Completed
from ..cache import remove_tree
from ..fetching import growth, network_settings, paths_in, run_fetcher, trouble
from ..software import Progress, SoftwareError
from .index_settings import uv_settings

__all__ = ["install"]


def install(
    requirements: Sequence[str],
    directory: str,
    place: str,
    python: str,
    settings: Mapping[str, str],
    what: str,
    progress: Progress | None,
) -> None:
    """Make a virtual environment in *directory*, seen at *place*, with *requirements* in it.

    Raises:
        SoftwareError: one does not exist, they contradict each other, no network, a full disk.
    """
    scratch = os.path.join(directory, ".scratch")  # on the disk: /tmp is memory there
    os.mkdir(scratch, 0o700)
    env = {"HOME": f"{place}/.scratch", "TMPDIR": f"{place}/.scratch", **network_settings()}
    parts: list[Part] = [host_python()]
    uv = shutil.which("uv")
    wanted = uv_settings(settings) if uv else None
    if uv is not None and wanted is not None:
        parts.append(bind(os.path.realpath(uv), "/uv"))
        env |= wanted
        command = ["/uv", "pip", "install", "--python", f"{place}/bin/python"]
    else:
        env |= {f"PIP_{name.upper().replace('-', '_')}": text for name, text in settings.items()}
        env["PIP_CONFIG_FILE"] = os.devnull  # it is all in the variables
        command = [*_pip(python), "--python", f"{place}/bin/python", "install", *PIP_OPTIONS]
    shown = _with_files(paths_in(env.values()))

    def run(argv: list[str]) -> Completed[None]:
        return run_fetcher(argv, {directory: place}, parts=parts, shown=shown, env=env)

    with growth(progress, what, directory):
        made = run([python, "-m", "venv", "--without-pip", place])
        if made.returncode:
            raise trouble(what, made, directory)
        interpreter = _Interpreter.of(directory)
        done = run([*command, "--", *requirements])
    if done.returncode:
        raise _refusal(what, done) or trouble(what, done, directory)
    interpreter.restore(what)
    remove_tree(scratch)


@frozen
class _Interpreter:
    """What leads from an environment to the Python that it was made from.

    Starting a shell follows it, outside of any container.  What was installed had the environment
    to itself and could have led it to any file, so it is made again.
    """

    directory: str
    settings: bytes
    links: dict[str, str]

    @staticmethod
    def of(directory: str) -> _Interpreter:
        with open(os.path.join(directory, "pyvenv.cfg"), "rb") as file:
            settings = file.read()
        links = {}
        with os.scandir(os.path.join(directory, "bin")) as entries:
            for entry in entries:
                if entry.is_symlink():
                    links[entry.name] = os.readlink(entry.path)
        return _Interpreter(directory, settings, links)

    def restore(self, what: str) -> None:
        """Put everything back.

        Raises:
            SoftwareError: that is impossible.
        """
        try:
            top = os.open(self.directory, _DIRECTORY)
            programs = os.open("bin", _DIRECTORY, dir_fd=top)
            try:
                for name, to in self.links.items():
                    os.unlink(name, dir_fd=programs)
                    os.symlink(to, name, dir_fd=programs)
                os.unlink("pyvenv.cfg", dir_fd=top)
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                with os.fdopen(os.open("pyvenv.cfg", flags, 0o644, dir_fd=top), "wb") as file:
                    file.write(self.settings)
            finally:
                os.close(programs)
                os.close(top)
        except OSError as error:
            raise SoftwareError(
                f"{what}: what was installed took the environment apart ({error}); it was not "
                "made in good faith, so none of it was kept"
            ) from error


def _with_files(paths: list[str]) -> list[str]:
    """*paths*, and of an index on the disk what is beside it.

    A directory "simple" (PEP 503) has the pages, and most often the files are in another next to
    it.
    """
    beside = [os.path.dirname(path) for path in paths if os.path.basename(path) == "simple"]
    return [*paths, *(path for path in beside if path != "/")]


_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


PIP_OPTIONS = (
    "--no-input",
    "--no-cache-dir",
    "--no-color",
    "--disable-pip-version-check",
    "--no-warn-script-location",
    "--progress-bar=off",
    "--retries=2",
)


def _pip(python: str) -> list[str]:
    """The command that is a pip which can install elsewhere (``--python`` came with 22.3)."""
    try:
        version = tuple(map(int, metadata.version("pip").split(".")[:2]))
    except (metadata.PackageNotFoundError, ValueError):
        version = (0, 0)
    if version >= (22, 3):
        return [sys.executable, "-m", "pip"]
    wheel = _bundled_pip()
    if wheel is None:
        raise SoftwareError(
            "pip: this Python has neither pip nor the one that comes with ensurepip; install it "
            "(Debian: apt-get install python3-venv), or uv"
        )
    return [python, os.path.join(wheel, "pip")]  # a wheel is a zip that Python runs


def _bundled_pip() -> str | None:
    """The wheel of pip that ensurepip installs; distributions keep it apart (WHEEL_PKG_DIR)."""
    import sysconfig
    from glob import glob

    places = [os.path.join(sysconfig.get_paths()["stdlib"], "ensurepip", "_bundled")]
    places.append(sysconfig.get_config_var("WHEEL_PKG_DIR") or "")
    for place in places:
        wheels = sorted(glob(os.path.join(place, "pip-*.whl"))) if place else []
        if wheels:
            return wheels[-1]
    return None


# pip's words and uv's.  Of an absent package pip says the same as of one that it cannot reach.
_ABSENT = re.compile(
    r"No matching distribution found for (?P<pip>.+)|Because (?P<uv>\S+) was not found in the "
)


def _refusal(what: str, done: Completed[None]) -> SoftwareError | None:
    """That there is no such package or version, or that the requirements contradict each other."""
    output = f"{done.stdout}\n{done.stderr}"
    if "Failed to establish a new connection" in output or "Retrying (Retry" in output:
        return None
    absent = _ABSENT.search(output)
    if absent:
        name = absent["pip"] or absent["uv"]
        versions = re.search(r"\(from versions: (?!none\))([^)]+)\)", output)
        if versions:
            newest = ", ".join(versions[1].split(", ")[-5:])
            return SoftwareError(f"{what}: no version fits {name.strip()}; there are {newest}")
        return SoftwareError(
            f"{what}: the package index has no {name.strip()} for this Python; look its name up at "
            "https://pypi.org, or at your own index (PIP_INDEX_URL)"
        )
    version = re.search(r"there is no version of (\S+) and", output)  # uv's words
    if version:
        return SoftwareError(f"{what}: no version fits {version[1]}")
    if "ResolutionImpossible" in output or "No solution found" in output:
        error = SoftwareError(f"{what}: these requirements contradict each other")
        error.add_note("\n".join(done.stderr.strip().splitlines()[-12:]))
        return error
    return None
