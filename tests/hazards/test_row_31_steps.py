"""Row 31: a build step of root's leaves a set-id program where other users can run it.

A step makes them in its root file system, as installing software does; with real ids.
"""

from __future__ import annotations

import shutil
import stat
import tempfile
from pathlib import Path

import pytest

from pycontainer import bind
from pycontainer.build import Step, run_step

pytestmark = pytest.mark.is_root

SCRIPT = """
for place in / /data/; do
    cp /usr/bin/true ${place}tool
    chmod 6755 ${place}tool && echo set
    setcap cap_net_admin+ep ${place}tool 2>/dev/null && echo given
done
grep CapBnd /proc/self/status
"""
SETFCAP = 1 << 31


def filled(root: Path) -> Path:
    for name in ("proc", "dev", "sys", "usr", "etc"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    return root


@pytest.fixture
def shared():
    """A directory that every user can look into."""
    made = Path(tempfile.mkdtemp(prefix="pytest-step-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def private(tmp_path):
    made = tmp_path / "private"
    made.mkdir(mode=0o700)
    return made


def run(root, data, state):
    log: list[bytes] = []
    step = Step(
        ["/bin/sh", "-c", SCRIPT],
        mounts=[bind("/usr"), bind(data, "/data", writable=True)],
        env={"PATH": "/usr/bin:/usr/sbin"},
    )
    run_step(root, step, log=log.append, state=state)
    *lines, capabilities = b"".join(log).decode().splitlines()
    modes = [stat.S_IMODE((place / "tool").stat().st_mode) for place in (root, data)]
    return lines, bool(int(capabilities.split()[1], 16) & SETFCAP), modes


@pytest.mark.parametrize("open_one", ["root", "data"])
def test_refused_where_others_can_get_at_it(private, shared, tmp_path, open_one):
    places = {"root": private, "data": private}
    places[open_one] = shared
    root, data = filled(places["root"] / "root"), places["data"] / "data"
    data.mkdir()
    lines, can_give, modes = run(root, data, tmp_path / "state")
    assert "set" not in lines and "given" not in lines
    assert not can_give
    assert modes == [0o755, 0o755]


def test_refused_below_a_directory_of_root_that_can_be_searched(shared, tmp_path):
    """Without a list of what is in it the names are still guessed."""
    (shared / "searched").mkdir(mode=0o711)
    root, data = filled(shared / "searched/root"), shared / "searched/data"
    data.mkdir()
    lines, _, modes = run(root, data, tmp_path / "state")
    assert "set" not in lines
    assert modes == [0o755, 0o755]


def test_allowed_where_only_root_can_get_at_it(private, tmp_path):
    """So the tests above test where it is."""
    root, data = filled(private / "root"), private / "data"
    data.mkdir()
    lines, can_give, modes = run(root, data, tmp_path / "state")
    assert lines.count("set") == 2
    assert can_give
    assert modes == [0o6755, 0o6755]
