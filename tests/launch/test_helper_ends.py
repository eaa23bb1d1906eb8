"""When a helper ends, and what does not end it."""

from __future__ import annotations

import json
import os
import signal

import pytest

START = """
    import json, signal, threading
    running = start_container([])
    call_with_container([], lambda: None)
    deadline = time.monotonic() + 5
    while len(children(helper())) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)  # the spare
    pids = [helper(), running.pid, *children(helper())]
    print(json.dumps(pids), flush=True)

"""

ENDINGS = {
    "the last line": "",
    "sys.exit": "sys.exit(3)",
    "an exception": "raise KeyError",
    "os._exit": "os._exit(3)",
    "SIGKILL": "os.kill(os.getpid(), 9)",
    "SIGTERM": "os.kill(os.getpid(), 15)",
    "abort": "os.abort()",
    "exec": 'os.execv("/bin/sleep", ["sleep", "30"])',
    "exec from a thread": (
        'threading.Thread(target=os.execv, args=("/bin/sleep", ["sleep", "30"])).start()'
    ),
}


@pytest.mark.parametrize("how", ENDINGS)
def test_caller_ends(start_program, wait_for_end, how):
    """The helper, its spare and its container end; with an exec the caller is somebody else."""
    process = start_program(START + "    " + ENDINGS[how])
    pids = json.loads(process.stdout.readline())
    assert len(set(pids)) >= 3
    for pid in pids:
        wait_for_end(pid)
    if "exec" in how:
        assert process.poll() is None


@pytest.mark.parametrize("end", ["os._exit(0)", "os.kill(os.getpid(), 9)"])
def test_caller_ends_and_its_fork_lives(start_program, wait_for_end, end):
    """The fork holds copies of everything."""
    process = start_program(
        START
        + f"""
    child = os.fork()
    if child == 0:
        os.close(1)
        os.close(2)
        time.sleep(30)
        os._exit(0)
    print(child, flush=True)
    {end}
    """
    )
    pids = json.loads(process.stdout.readline())
    child = int(process.stdout.readline())
    try:
        for pid in pids:
            wait_for_end(pid)
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)


def test_exit_does_not_wait_for_a_fork(start_program, wait_for_end):
    """A normal exit waits for the helper, whose socket the fork holds as well."""
    process = start_program(
        START
        + """
    child = os.fork()
    if child == 0:
        os.close(1)
        os.close(2)
        time.sleep(30)
        os._exit(0)
    running.end()
    print(child, flush=True)
    """
    )
    pids = json.loads(process.stdout.readline())
    child = int(process.stdout.readline())
    try:
        assert process.wait(timeout=5) == 0
        wait_for_end(pids[0])
    finally:
        os.kill(child, signal.SIGKILL)


def test_forks_of_the_caller(run_program):
    """Each has its own helper; whatever way it ends, the parent's goes on, and the reverse."""
    output = run_program("""
        running = start_container([])
        first = helper()
        seen = set()
        for end in (lambda: os._exit(0), lambda: sys.exit(0), lambda: os.kill(os.getpid(), 9)):
            read, write = os.pipe()
            child = os.fork()
            if child == 0:
                value = container_excursion(running.pid, lambda: 7)
                own = call_with_container([], lambda: value)
                os.write(write, f"{own} {helper()} {os.getppid()}".encode())
                running.close()
                end()
            os.close(write)
            value, theirs, parent = map(int, open(read).read().split())
            os.waitpid(child, 0)
            assert (value, parent) == (7, os.getpid())
            assert ended(theirs)
            seen.add(theirs)
            assert running.poll() is None
            assert helper() == first
            assert call_with_container([], lambda: 1) == 1
        assert len(seen | {first}) == 4
        running.end()
        print(children("self") == [first])
    """)
    assert output == "True\n"


def test_fork_before_the_first_call_and_after(run_program):
    """Parent and child call at the same time, as multiprocessing's workers do."""
    output = run_program("""
        import multiprocessing

        def work(number):
            return call_with_container([], lambda: number * number), helper()

        context = multiprocessing.get_context("fork")
        for _ in range(2):
            with context.Pool(3) as pool:
                results = pool.map_async(work, range(12), chunksize=1)
                assert call_with_container([], lambda: 1) == 1
                results = results.get(30)
                pool.close()
                pool.join()
            assert [value for value, _ in results] == [n * n for n in range(12)]
            helpers = {pid for _, pid in results}
            assert helper() not in helpers
            assert all(ended(pid) for pid in helpers)
        print("well")
    """)
    assert output == "well\n"


def test_signals_of_the_terminal(start_program, wait_for_end):
    """Ctrl-C, Ctrl-\\ and a hang-up go to the caller's group, and the helper is in another."""
    process = start_program(
        START
        + """
    came = []
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTSTP):
        signal.signal(number, lambda number, frame: came.append(number))
    print("ready", flush=True)
    while len(came) < 4:
        time.sleep(0.01)
    assert running.poll() is None
    assert helper() == pids[0]
    assert call_with_container([], lambda: 1) == 1
    assert os.getsid(helper()) != os.getsid(0)
    # To itself, which a caller with the same user id may do, it is deaf as well.
    os.kill(helper(), signal.SIGINT)
    assert call_with_container([], lambda: 1) == 1
    assert helper() == pids[0]
    print("well", flush=True)
    """,
        start_new_session=True,
    )
    json.loads(process.stdout.readline())
    assert process.stdout.readline() == "ready\n"
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTSTP):
        os.killpg(process.pid, number)
    output, errors = process.communicate(timeout=20)
    assert output == "well\n", errors


def test_its_descriptors(run_program, tmp_path):
    """Nothing of the caller's is in it, inheritable or not; nothing of a call stays in it."""
    (tmp_path / "secret").touch()
    output = run_program(
        """
        import json, socket
        kept = [os.open(sys.argv[1], os.O_RDONLY) for _ in range(40)]
        for fd in kept[::2]:
            os.set_inheritable(fd, True)
        left, right = socket.socketpair()
        os.set_inheritable(left.fileno(), True)
        def look():
            folder = f"/proc/{helper()}/fd"
            return [os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder)]
        call_with_container([], lambda: None)
        with open(sys.argv[1]) as file:
            run_container([], lambda: print(1), stdin=file, capture_output=True)
        while len(children(helper())) < 1:
            time.sleep(0.01)
        print(json.dumps([look(), [os.readlink(f"/proc/self/fd/{fd}") for fd in
                                   (left.fileno(), right.fileno(), 1, 2)]]))
        """,
        str(tmp_path / "secret"),
    )
    held, callers = json.loads(output)
    assert str(tmp_path / "secret") not in held
    assert not set(held) & set(callers)
    assert len(held) < 16, held


def test_its_environment_and_arguments(run_program):
    output = run_program(
        """
        os.environ["SECRET"] = "sesame"
        call_with_container([], lambda: None)
        print("sesame" in Path(f"/proc/{helper()}/environ").read_text())
        print([os.readlink(f"/proc/{pid}/cwd") for pid in (helper(), *children(helper()))])
    """,
        cwd="/tmp",
    )
    hidden, directories = output.splitlines()
    assert hidden == "False"
    assert set(json.loads(directories.replace("'", '"'))) == {"/"}
