"""A Ctrl-C at any line of a call: nothing goes on, nothing is left, and nothing waits for long.

``sys.settrace`` raises KeyboardInterrupt at the first line that the call runs, at the second, ...
A run takes one line of six, other ones each time; PYCONTAINER_EVERY_LINE=1 takes all, in minutes.
"""

from __future__ import annotations

import pytest

PROGRAM = """
    import gc, linecache, signal, warnings
    warnings.simplefilter("ignore")

    def quick():
        return 5

    def slow():
        import time
        time.sleep(60)

    def wait():
        try:
            call_with_container([], slow, timeout=0.02)
        except ContainerTimeoutError:
            return 5

    def started():
        with start_container([], quick) as running:
            return running.result()

    # One bind: each has a line of its own, see below.
    programs = [bind("/usr"), symlink("/lib", "usr/lib"), symlink("/lib64", "usr/lib64")]
    kinds = {
        "plain": lambda: call_with_container([], quick),
        "hook": lambda: call_with_container([], quick, process_spawned_hook=lambda running: None),
        "fork": lambda: call_with_container([], quick, start_method="fork"),
        "timeout": wait,
        "started": started,
        "command": lambda: run_command(programs, ["/usr/bin/true"], capture_output=True),
    }
    call = kinds[sys.argv[1]]
    caller = os.getpid()
    lines = stop_at = 0
    place = ""

    def trace(frame, event, argument):
        code = frame.f_code
        if "/pycontainer/" not in code.co_filename or "payload" in code.co_filename:
            return None
        outer = frame
        while outer is not None:  # what is raised there is only printed
            if outer.f_code.co_name in ("__del__", "_forget"):
                return None
            outer = outer.f_back
        return trace_line

    def trace_line(frame, event, argument):
        global lines, place, stop_at
        if event == "line":
            lines += 1
            if lines == stop_at:
                source = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
                if "lock:" in source:
                    # Seen again before __exit__, where the interpreter looks for no signal.
                    stop_at += 1
                    return trace_line
                place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                raise KeyboardInterrupt
        return trace_line

    def attempt():
        global lines
        lines = 0
        sys.settrace(trace)
        try:
            call()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)

    def sleepers():
        found = []
        for pid in children(server):
            try:
                if "nanosleep" in Path(f"/proc/{pid}/wchan").read_text():
                    found.append(pid)
            except OSError:
                pass
        return found

    def zombies():
        return [pid for pid in children(caller) if state(pid) == "Z"]

    def gone(what):
        deadline = time.monotonic() + 5
        while what():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)
            call_with_container([], quick, start_method="fork")  # looks after those left
        return True

    # What a fork of the caller does is not interrupted here.
    os.register_at_fork(after_in_child=lambda: sys.settrace(None))
    attempt()
    attempt()
    server, total = helper(), lines
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    before = len(os.listdir("/proc/self/fd"))
    leaks = []
    every = int(os.environ.get("PYCONTAINER_EVERY_LINE", 6))
    for stop_at in range(1 + os.getpid() % every, total + 1, every):
        start = time.monotonic()
        attempt()
        took = time.monotonic() - start
        assert took < 5, (place, took)
        now = len(os.listdir("/proc/self/fd"))
        leaks += [place] * (now > before)
        before = max(now, before)
        if "signals.py" in place:  # the handlers are a relay's there, which raises nothing
            for number, handler in zip((signal.SIGINT, signal.SIGTERM), handlers):
                signal.signal(number, handler)
        assert handlers == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)], place
        assert gone(sleepers), place
        assert gone(zombies), place
        assert helper() == server
    # A line or two lie between the kernel's giving a descriptor and the object that closes it.
    assert len(leaks) < 16, leaks
"""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["plain", "hook", "fork", "timeout", "started", "command"])
def test_at_any_line(run_program, kind):
    run_program(PROGRAM, kind, timeout=110)
