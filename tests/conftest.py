"""What every test may use, and the two promises that the whole run must keep.

With PYCONTAINER_REQUIRE set (CI sets it), a skip is a failure unless its reason stands in
``MAY_SKIP``: a kernel without user namespaces must not look like a passing run.  And whatever the
tests started, mounted or made in /tmp is gone at the end.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT_ONLY = "needs root; the run as root has it"
UNPRIVILEGED_ONLY = "needs an ordinary user; the run as one has it"

# Parts of reasons.  Anything else that cannot run in CI is a hole in CI.
MAY_SKIP = (
    ROOT_ONLY,
    UNPRIVILEGED_ONLY,
    "the OCI runtime schema lies outside of the repository and is not here",
    "came with Python 3.",  # syntax or a module that CI's interpreter is too old for
)


# Scripts that tests start with -c would find the sources, which are not compiled, in the current
# directory, before the installed package.
os.environ["PYTHONSAFEPATH"] = "1"

# A shell without job control, as under CI, leaves these ignored in what it starts with "&"; then
# whatever the tests start would ignore them too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN:
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


def pytest_report_header() -> list[str]:
    import pycontainer

    who = f"uid {os.geteuid()}, Linux {os.uname().release}"
    return [f"pycontainer: {Path(pycontainer.__file__).parent} ({who})"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    root = os.geteuid() == 0
    for item in items:
        if not root and item.get_closest_marker("is_root"):
            item.add_marker(pytest.mark.skip(reason=ROOT_ONLY))
        if root and item.get_closest_marker("unprivileged"):
            item.add_marker(pytest.mark.skip(reason=UNPRIVILEGED_ONLY))


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not os.environ.get("PYCONTAINER_REQUIRE"):
        return
    if report.outcome != "skipped" or hasattr(report, "wasxfail"):
        return
    where = report.longrepr
    reason = where[2] if isinstance(where, tuple) else str(where)
    if any(allowed in reason for allowed in MAY_SKIP):
        return
    report.outcome = "failed"
    report.longrepr = f"{report.nodeid}: {reason}\n(PYCONTAINER_REQUIRE makes a skip a failure)"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.fixture(scope="session")
def is_root() -> bool:
    """Whether the caller is root; a test that differs between the two asks here."""
    return os.geteuid() == 0


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A new directory that anyone can enter.

    pytest's own lies under a directory of mode 0700, and the root of a container that host root
    started is an unprivileged id there.
    """
    folder = Path(tempfile.mkdtemp(prefix="pytest-container-"))
    folder.chmod(0o755)
    yield folder
    # A test may have left directories that their owner cannot list.
    for parent, directories, _ in os.walk(folder):
        for name in directories:
            path = Path(parent, name)
            if not path.is_symlink():
                path.chmod(0o700)
    shutil.rmtree(folder)


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """No process, no mount and no file of ours outlives the tests."""
    looks: list[Callable[[], set[str]]] = [_children, _mounts, _temporary_files]
    before = [look() for look in looks]
    yield
    # The helper process lives as long as its caller, who is still here.  An earlier one may hang
    # on a Running that a test has not let go of.
    gc.collect()
    forkserver: Any = sys.modules.get("pycontainer.launch.forkserver")
    if forkserver is not None:
        forkserver._end()
    deadline = time.monotonic() + 5.0
    while True:
        left = [look() - known for look, known in zip(looks, before, strict=True)]
        if not any(left):
            return
        if time.monotonic() > deadline:
            pytest.fail("left behind: " + "; ".join(sorted(set().union(*left))))
        time.sleep(0.05)


def _children() -> set[str]:
    """This process's children, zombies too: "process 123 (name)"."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            try:
                command = Path("/proc", pid, "cmdline").read_bytes().replace(b"\0", b" ")
            except OSError:
                continue
            # The standard library keeps this one until the interpreter ends.
            if b"multiprocessing.resource_tracker" not in command:
                found.add(f"process {pid} ({command.decode(errors='replace').strip()})")
    return found


def _mounts() -> set[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return {f"mount at {line.split()[4]}" for line in lines}


def _temporary_files() -> set[str]:
    return {str(path) for path in Path(tempfile.gettempdir()).glob("pycontainer*")}
