"""Children that are cloned before they are ordered: at most one for containers and one for
excursions, never older than what they must show, and gone when nobody wants them.
"""

from __future__ import annotations

import pytest

SPARES = """
    import gc

    def spares(count, patience=5.0):
        deadline = time.monotonic() + patience
        while len(found := children(helper())) != count and time.monotonic() < deadline:
            time.sleep(0.01)
        return found

"""


@pytest.fixture
def run(run_program):
    return lambda text, *arguments, **options: run_program(SPARES + text, *arguments, **options)


def test_one_of_a_kind(run):
    run("""
    call_with_container([], lambda: None)
    one = spares(1)
    assert len(one) == 1
    with start_container([]) as running:
        container_excursion(running, lambda: None)
        assert len(spares(3)) == 3  # the container, and a spare of each kind
        for _ in range(10):
            container_excursion(running, lambda: None)
            call_with_container([], lambda: None)
        assert len(spares(3)) == 3
    # Another kind of container: its spare replaces the one that is there.
    call_with_container([], lambda: None, namespaces=NAMESPACES - {"net"})
    two = spares(2)
    call_with_container([], lambda: None, namespaces=NAMESPACES - {"net"})
    time.sleep(0.1)
    assert len(spares(2)) == 2
    assert one[0] not in children(helper())
    """)


def test_used_by_the_next_call(run):
    run("""
    call_with_container([], lambda: None)
    spare, = spares(1)
    time.sleep(0.05)
    seen = []
    run_container([], lambda: None, process_spawned_hook=lambda running: seen.append(running.pid))
    assert seen == [spare], (seen, spare)
    """)


@pytest.mark.timeout(90)
def test_idle_ones_end(run):
    """After ten seconds; a next call works and makes new ones."""
    run("""
    with start_container([]) as running:
        container_excursion(running, lambda: None)
        assert len(spares(3)) == 3
        start = time.monotonic()
        assert spares(1, 15) == [running.pid]
        assert 9 < time.monotonic() - start < 13
        assert container_excursion(running, lambda: 1) == 1
        assert call_with_container([], lambda: 1) == 1
        assert len(spares(3)) == 3
    """)


@pytest.mark.parametrize("number", [9, 15])
def test_die_with_the_helper(run, number):
    """kill -9 leaves it no time to end them."""
    run(
        """
    call_with_container([], lambda: None)
    first, (spare,) = helper(), spares(1)
    os.kill(first, int(sys.argv[1]))
    assert ended(first) and ended(spare)
    assert call_with_container([], lambda: 1) == 1
    """,
        str(number),
    )


def test_killed_spare(run):
    """Nobody notices but the next call, which has a process of its own."""
    run("""
    for _ in range(5):
        call_with_container([], lambda: None)
        spare, = spares(1)
        os.kill(spare, 9)
        assert ended(spare)
        assert call_with_container([], lambda: 1) == 1
    time.sleep(0.2)
    assert [state(pid) for pid in children(helper())].count("Z") == 0
    """)


def test_stopped_spare(run):
    """It holds up the one call that it serves, whose timeout ends it."""
    run("""
    call_with_container([], lambda: None)
    spare, = spares(1)
    os.kill(spare, 19)
    try:
        call_with_container([], lambda: 1, timeout=1)
    except ContainerTimeoutError:
        pass
    assert ended(spare)
    assert call_with_container([], lambda: 1) == 1
    """)


def test_not_used_after_the_caller_has_changed(run):
    run("""
    import resource
    call_with_container([], lambda: None)
    first, (spare,) = helper(), spares(1)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (333, hard))
    look = lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    seen = []
    hook = lambda running: seen.append(running.pid)
    assert run_container([], look, process_spawned_hook=hook).result() == 333
    assert seen != [spare]
    gc.collect()
    assert ended(spare) and ended(first)
    """)


@pytest.mark.is_root
def test_not_used_for_other_ids(run):
    run("""
    call_with_container([], lambda: None)
    spare, = spares(1)
    look = lambda: open("/proc/self/uid_map").read().split()
    with start_container([], host_uid_start=5000) as running:
        assert running.pid != spare
        outside = Path(f"/proc/{running.pid}/uid_map").read_text().split()
        assert outside == ["0", "5000", "1"]
    os.setgroups([])
    os.setegid(1001)
    os.seteuid(1001)
    seen = []
    hook = lambda running: seen.append(
        Path(f"/proc/{running.pid}/status").read_text().split("Uid:")[1].split()[0]
    )
    call_with_container([], lambda: None)
    call_with_container([], lambda: None)
    run_container([], lambda: None, process_spawned_hook=hook)
    assert seen == ["1001"], seen
    """)


@pytest.mark.is_root
def test_mounts_that_were_made_meanwhile(run, tmp_path):
    """A spare has been there before the mount and shows it all the same, and no longer when it
    has gone."""
    run(
        """
    import subprocess
    here = Path(sys.argv[1], "here")
    here.mkdir()
    look = lambda: sorted(os.listdir("/here"))
    for number in range(4):
        assert call_with_container([bind(here, "/here")], look) == []
        spares(1)
        time.sleep(0.05)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(here)], check=True)
        (here / str(number)).touch()
        assert call_with_container([bind(here, "/here")], look) == [str(number)]
        spares(1)
        time.sleep(0.05)
        subprocess.run(["umount", str(here)], check=True)  # EBUSY if a spare held it
    """,
        str(tmp_path),
        before=("unshare", "--mount"),
    )


@pytest.mark.unprivileged
def test_mounts_of_a_user_namespace(run, tmp_path):
    """The same for an ordinary user who is root in a namespace of his own."""
    run(
        """
    import subprocess
    here = Path(sys.argv[1], "here")
    here.mkdir()
    look = lambda: sorted(os.listdir("/here"))
    for number in range(2):
        assert call_with_container([bind(here, "/here")], look) == []
        spares(1)
        time.sleep(0.05)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(here)], check=True)
        (here / str(number)).touch()
        assert call_with_container([bind(here, "/here")], look) == [str(number)]
        spares(1)
        time.sleep(0.05)
        subprocess.run(["umount", str(here)], check=True)
    """,
        str(tmp_path),
        before=("unshare", "--user", "--map-root-user", "--mount"),
    )
