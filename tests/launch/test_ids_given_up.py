"""A caller that gives up root while its containers run can still end them."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.is_root

PROGRAM = """
    import signal

    def slow():
        for _ in range(3000):
            time.sleep(0.01)

    def obedient():
        signal.signal(signal.SIGUSR1, lambda *_: os._exit(7))
        print("ready", flush=True)
        slow()

    starts = {
        "idle": lambda: start_container([]),
        "function": lambda: start_container([], slow),
        "init": lambda: start_container([], slow, child_is_pid1=False),
        "fork": lambda: start_container([], slow, start_method="fork"),
        "no pid": lambda: start_container([], slow, namespaces=NAMESPACES - {"pid"}),
        "own ids": lambda: start_container([], slow, host_uid_start=0),
        "command": lambda: start_command(host_system(), ["sleep", "30"]),
        "limited": lambda: start_container([], slow, limits=Limits(memory="200m", strict=False)),
    }
    gone = {
        "for a while": lambda: os.seteuid(65534),
        "for good": lambda: os.setresuid(65534, 65534, 65534),
    }[sys.argv[2]]
    start = starts[sys.argv[1]]
    server = helper()
"""

END = """
    running = start()
    pid, before = running.pid, len(os.listdir("/proc/self/fd"))
    start_time = time.monotonic()
    gone()
    running.end()
    assert time.monotonic() - start_time < 10
    assert ended(pid)
    assert running.poll() is None or running.returncode == -9, running.returncode
    assert len(os.listdir("/proc/self/fd")) <= before
    while [child for child in children(server) if state(child) == "Z"]:
        assert time.monotonic() - start_time < 15, children(server)
        time.sleep(0.01)
"""

BLOCK = """
    class Odd(Exception):
        pass

    try:
        with start() as running:
            pid = running.pid
            gone()
            raise Odd
    except Odd:
        assert ended(pid)
    else:
        raise AssertionError
"""

SIGNALS = """
    with start_container([], obedient, stdout=PIPE) as running:
        assert running.stdout.readline() == b"ready\\n"
        gone()
        running.send_signal(signal.SIGUSR1)
        assert running.wait(10).returncode == 7
    with start_container([], slow) as running:  # of a helper with the ids of now
        running.terminate()
        assert running.wait(10).returncode == -15
"""

HELPER_HAS_DIED = """
    running = start()
    gone()
    os.seteuid(0)
    os.kill(server, signal.SIGKILL)
    gone()
    running.end()
    assert ended(running.pid)
"""

KINDS = ["idle", "function", "init", "fork", "no pid", "own ids", "command", "limited"]
WAYS = ["for a while", "for good"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("act", [END, BLOCK], ids=["end", "with"])
def test_it_is_ended(run_program, act, kind, way):
    run_program(PROGRAM + act, kind, way)


@pytest.mark.parametrize("way", WAYS)
def test_it_has_its_signals(run_program, way):
    run_program(PROGRAM + SIGNALS, "idle", way)


@pytest.mark.parametrize("kind", ["idle", "function"])
def test_it_ends_with_the_helper(run_program, kind):
    run_program(PROGRAM + HELPER_HAS_DIED, kind, "for a while")
