"""Without a pid namespace of its own a container's daemons outlive its first process.

They are killed with it all the same, and nothing of another container is: neither its processes nor
one that is still being loaded.
"""

from __future__ import annotations

import pytest

PROGRAM = """
    import signal
    from pathlib import Path

    names = NAMESPACES - {"pid"}
    made = []

    def start(mark, **options):
        def fn():
            read, write = os.pipe()
            daemons = []
            for _ in range(3):
                if os.fork() == 0:
                    os.setsid()
                    for number in range(1, 32):
                        if number not in (signal.SIGKILL, signal.SIGSTOP):
                            signal.signal(number, signal.SIG_IGN)
                    if os.fork() == 0:
                        os.write(write, f"{os.getpid()}\\n".encode())
                        time.sleep(60)
                    os._exit(0)
                os.wait()
                daemons.append(int(os.read(read, 20)))
            print(*daemons, flush=True)
            time.sleep(60)
        running = start_container([], fn, stdout=PIPE, **options)
        made.append(running)
        return running, [int(pid) for pid in running.stdout.readline().split()]

    def living(pids):
        return [pid for pid in pids if state(pid) not in (None, "Z", "X")]

    def gone(pids):
        return all(ended(pid, 2) for pid in pids)
"""

KILLED = """
    method = sys.argv[1]
    options = {"namespaces": names, "start_method": method}
    others = [start("other", **options), start("pid", start_method=method)]
    others.append(start("after", namespaces=names))
    for _ in range(5):
        running, daemons = start("killed", **options)
        assert living(daemons) == daemons and len(daemons) == 3
        running.kill()
        running.wait(10)
        assert gone(daemons), [(pid, state(pid)) for pid in daemons]
        for other, theirs in others[:1] + others[2:]:
            assert other.poll() is None
            assert living(theirs) == theirs
        assert others[1][0].poll() is None
    for other, _ in others:
        other.end()
    for _, theirs in others[:1] + others[2:]:
        assert gone(theirs)
"""

BESIDE_A_LOADER = """
    # Loaded in a process of its own, as it starts a thread, and that takes its time.
    Path(sys.argv[1], "slow_threads.py").write_text(
        "import threading, time\\n"
        "threading.Thread(target=time.sleep, args=(20,), daemon=True).start()\\n"
        "time.sleep(0.5)\\n"
        "def fn(): return 7\\n"
    )
    sys.path.append(sys.argv[1])
    import slow_threads, threading
    values = []
    thread = threading.Thread(
        target=lambda: values.append(call_with_container([], slow_threads.fn, namespaces=names))
    )
    thread.start()
    deadline = time.monotonic() + 20
    while thread.is_alive():
        running, daemons = start("killed", namespaces=names)
        running.kill()
        running.wait(10)
        assert gone(daemons)
        assert time.monotonic() < deadline
    thread.join()
    assert values == [7]
"""


@pytest.mark.parametrize("method", ["forkserver", "fork"])
def test_daemons_of_a_killed_container(run_program, method):
    run_program(PROGRAM + KILLED, method)


def test_beside_a_container_that_is_being_loaded(run_program, tmp_path):
    tmp_path.chmod(0o755)
    run_program(PROGRAM + BESIDE_A_LOADER, str(tmp_path))
