"""All kinds of calls at once, from many threads, and nothing left of them."""

from __future__ import annotations

import json

import pytest

MIXED = """
    import gc, json, random, threading

    THREADS, CALLS = 64, 6

    def one(number, visited):
        kind = number % 9
        if kind == 0:
            assert call_with_container([], lambda: number) == number
        elif kind == 1:
            try:
                call_with_container([], lambda: {}[number])
            except KeyError as error:
                assert error.args == (number,)
            else:
                raise AssertionError
        elif kind == 2:
            code = number % 200 + 1
            assert run_container([], lambda: os._exit(code)).returncode == code
        elif kind == 3:
            data = call_with_container([], lambda: number.to_bytes(4, "big") * 50_000)
            assert data == number.to_bytes(4, "big") * 50_000
        elif kind == 4:
            assert container_excursion(visited, lambda: (number, os.uname().nodename)) == (
                number, "visited")
        elif kind == 5:
            try:
                container_excursion(visited, lambda: 1 // (number - number))
            except ZeroDivisionError:
                pass
        elif kind == 6:
            done = run_container([], lambda: print(number), capture_output=True)
            assert done.stdout == b"%d\\n" % number, done
        elif kind == 7:
            try:
                call_with_container([], lambda: time.sleep(60), timeout=0.05)
            except ContainerTimeoutError as error:
                assert error.timeout == 0.05
            else:
                raise AssertionError
        elif number % 4 == 0:
            found = call_with_container([], lambda: number, start_method="fork")
            assert found == number
        else:
            options = {"guest_uid": number % 20 + 1, "child_is_pid1": False}
            assert call_with_container([], os.getuid, **options) == number % 20 + 1

    problems = []

    def several(first, visited):
        start.wait()
        for turn in range(CALLS):
            try:
                one(first + turn * THREADS, visited)
            except BaseException as error:
                problems.append(f"{first + turn * THREADS}: {error!r}")

    def look():
        gc.collect()
        deadline = time.monotonic() + 5
        while len(children(helper())) > 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        return [
            len(os.listdir("/proc/self/fd")),
            children("self") == [helper()],
            len(children(helper())) <= 2,
            len(os.listdir("/proc/self/task")),
            Path("/proc/self/mountinfo").read_text().count("\\n"),
        ]

    for number in range(8):
        call_with_container([], lambda: None, guest_uid=number)  # host root keeps a few maps
    before = look()
    first = helper()
    with start_container([], hostname="visited") as visited:
        start = threading.Barrier(THREADS)
        threads = [threading.Thread(target=several, args=(n, visited)) for n in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    print(json.dumps([problems, before, look(), first == helper()]))
"""


@pytest.mark.timeout(120)
def test_mixed(run_program):
    problems, before, after, same = json.loads(run_program(MIXED, timeout=110))
    assert problems == []
    assert before == after
    assert same


def test_calls_while_other_threads_fork(run_program):
    """Programs that are started meanwhile inherit nothing that would keep a call from ending."""
    run_program("""
        import subprocess, threading
        ended = threading.Event()

        def spawn():
            while not ended.is_set():
                subprocess.run(["sleep", "0.2"], close_fds=False)

        threads = [threading.Thread(target=spawn) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(60):
            done = run_container([], lambda: print(number), capture_output=True, timeout=5)
            assert done.stdout == b"%d\\n" % number
        ended.set()
        for thread in threads:
            thread.join()
    """)


def test_limits_that_change_between_threads(run_program):
    """Each new helper takes over; no call of another thread is lost with the old one."""
    run_program("""
        import resource, threading
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        problems = []

        def calls(first):
            for number in range(first, first + 12):
                try:
                    found = call_with_container([], lambda: (number, time.sleep(0.03))[0])
                    assert found == number
                except BaseException as error:
                    problems.append(error)

        threads = [threading.Thread(target=calls, args=(100 * n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for number in range(6):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft - number % 2, hard))
            time.sleep(0.1)
        for thread in threads:
            thread.join()
        assert not problems, problems
    """)


def test_garbage_that_holds_a_container(run_program):
    """A Running in a cycle is closed by the collector in whatever thread it runs."""
    run_program("""
        import gc, threading, warnings
        warnings.simplefilter("ignore", ResourceWarning)
        gc.disable()
        def leave():
            for _ in range(5):
                running = start_container([], lambda: None)
                running.itself = running
        leave()
        thread = threading.Thread(target=gc.collect)
        thread.start()
        thread.join()
        deadline = time.monotonic() + 5
        while len(children(helper())) > 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(children(helper())) <= 1
        assert len(os.listdir("/proc/self/fd")) < 12, os.listdir("/proc/self/fd")
    """)


def test_supervisor_of_a_fork_holds_nothing_of_the_callers(run_program, tmp_path):
    """Whoever reads a pipe of the caller sees its end, and a lock of the caller's goes with it."""
    (tmp_path / "locked").touch()
    output = run_program(
        """
        import fcntl
        read, write = os.pipe()
        locked = open(sys.argv[1], "w")
        fcntl.flock(locked, fcntl.LOCK_EX)
        running = start_container([], lambda: time.sleep(30), start_method="fork")
        os.close(write)
        locked.close()
        print(os.read(read, 1))
        fcntl.flock(open(sys.argv[1], "w"), fcntl.LOCK_EX | fcntl.LOCK_NB)
        # It sleeps in poll(2): a descriptor that is closed would keep it busy.
        supervisor, = set(children("self")) - {helper()}
        time.sleep(0.5)
        ticks = Path(f"/proc/{supervisor}/stat").read_text().rpartition(")")[2].split()[11:13]
        assert sum(map(int, ticks)) < 20, ticks
        if os.geteuid() == 0:  # it is not dumpable: its own user may not look
            assert len(os.listdir(f"/proc/{supervisor}/fd")) <= 8
        running.end()
        """,
        str(tmp_path / "locked"),
    )
    assert output == "b''\n"
