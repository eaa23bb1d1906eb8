"""Row 1, and rows 2 and 3 with it: the places that are made for a build step's mounts, and removed.

The root file system is what earlier steps have made of it.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import threading

import pytest

from pycontainer import SetupError, bind
from pycontainer.build import Step, run_step
from pycontainer.build.places import Places, remove_places


@pytest.fixture
def root(tmp_path):
    made = tmp_path / "root"
    for name in ("proc", "dev", "sys", "etc", "usr"):
        (made / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        (made / name).symlink_to(f"usr/{name}")
    return made


@pytest.fixture
def record(tmp_path):
    return str(tmp_path / "record")


@pytest.fixture
def places(root, tmp_path):
    """Make places, each time with a record of its own."""
    numbers = itertools.count()
    return lambda *wanted: Places(str(root), wanted, str(tmp_path / f"record{next(numbers)}"))


LINKS = {
    "absolute": lambda victim: str(victim),
    "climbing": lambda victim: "../" * 20 + str(victim).lstrip("/"),
    "magic": lambda victim: f"/proc/self/root{victim}",
    "of a link": lambda victim: "other",
}


@pytest.mark.parametrize("link", LINKS)
def test_place_below_a_link_to_the_host(root, victim, tmp_path, link):
    """It is made where the link leads from the container's root: inside."""
    (root / "run").symlink_to(LINKS[link](victim))
    (root / "other").symlink_to(victim)
    step = Step(
        ["/bin/sh", "-c", "cat /run/new/deep/key"],
        mounts=[bind("/usr")],
        secrets={"/run/new/deep/key": b"hush"},
    )
    log: list[bytes] = []
    try:
        done = run_step(root, step, log=log.append, state=tmp_path / "state")
    except SetupError:
        assert link == "magic"  # which is no path to a mount
    else:
        assert (done.returncode, b"".join(log)) == (0, b"hush")


def test_place_that_is_a_link_to_the_host(root, victim, record):
    (root / "etc/hosts").symlink_to(victim / "new")
    (root / "etc/other").symlink_to(victim / "x")
    with Places(str(root), [("/etc/hosts", False), ("/etc/other", True)], record):
        assert (root / str(victim / "new").lstrip("/")).is_file()
    assert not (root / str(victim).lstrip("/")).exists()


def test_links_are_made_inside(root, victim, places):
    (root / "way").symlink_to(victim)
    with places(("/way/l", str(victim)), ("/l", str(victim)), ("/etc/l", "x")):
        assert os.readlink(root / "l") == str(victim)
        assert os.readlink(f"{root}{victim}/l") == str(victim)
    assert not os.path.lexists(root / "l") and not os.path.lexists(root / "etc/l")


def test_places_of_the_dead_wait_for_the_living(root, record, places):
    dead = Places(str(root), [("/run/x", True)], record)
    os.close(dead._root)  # as the kernel does
    living = places(("/run/x", True))
    assert not remove_places(record)
    assert (root / "run/x").is_dir()
    living.remove()
    assert remove_places(record)
    assert not (root / "run").exists()
    assert remove_places(record + "absent")


def test_links_that_never_end(root, record):
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    with pytest.raises(SetupError, match="Too many levels"):
        Places(str(root), [("/a/x", True)], record)


def test_directory_and_link_change_places(root, victim, places):
    """While places are made and removed, what is above them becomes a link to the host."""
    (root / "link").symlink_to(victim)
    (root / "at").mkdir()
    stop = threading.Event()
    libc = ctypes.CDLL(None)
    names = os.fsencode(root / "at"), os.fsencode(root / "link")

    def exchange():
        while not stop.is_set():
            libc.renameat2(-100, names[0], -100, names[1], 2)  # AT_FDCWD, RENAME_EXCHANGE
            stop.wait(0)

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        for _ in range(500):
            try:
                with places(("/at/x/new", True), ("/at/x/f", False)):
                    pass
            except SetupError:
                pass  # it met neither
    finally:
        stop.set()
        thread.join()


def test_what_is_removed_was_made(root, victim, record):
    """A step replaces the directory above by a link, and puts things where places were."""
    wanted = [("/run/x", True), ("/run/f", False), ("/etc/kept", False), ("/etc/empty", False)]
    places = Places(str(root), wanted, record)
    (root / "run").rename(root / "away")
    (root / "run").symlink_to(victim)
    (root / "etc/kept").write_text("written by the step")
    (root / "etc/new").touch()
    (root / "etc/new").rename(root / "etc/empty")
    places.remove()
    assert (victim / "x").is_dir() and (victim / "f").is_file()
    assert (root / "etc/kept").read_text() == "written by the step"
    assert (root / "etc/empty").exists()  # the step's own


def test_what_is_removed_later_was_made(root, victim, record):
    """The same by whoever cleans up after a caller that was killed."""
    places = Places(str(root), [("/run/x", True), ("/run/f", False)], record)
    os.close(places._root)  # as the kernel does
    (root / "run").rename(root / "away")
    (root / "run").symlink_to(victim)
    remove_places(record)
    (root / "run").unlink()
    (root / "away").rename(root / "run")
    remove_places(record)
    assert not (root / "run").exists()


def test_places_that_others_use_stay(root, places):
    """unlink(2) of a place takes the mount away in every other mount namespace."""
    first = places(("/run/x", True))
    second = places(("/run/x", True))
    first.remove()
    assert (root / "run/x").is_dir()
    second.remove()


def test_many_make_the_same_place_at_once(root, places):
    errors = []

    def work():
        try:
            for _ in range(50):
                with places(("/run/deep/x", True), ("/run/deep/f", False)):
                    assert (root / "run/deep/x").is_dir() and (root / "run/deep/f").is_file()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
