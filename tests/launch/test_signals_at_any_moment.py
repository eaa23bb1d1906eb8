"""A signal that comes at any moment of a call ends it, soon, and reaches the caller's handler once.

Soon: sooner than the five seconds after which whatever has lost its signal is killed.
"""

from __future__ import annotations

import pytest

PRELUDE = """
    import gc, signal, threading

    heard = []
    def count(number, frame):
        heard.append(number)

    def slow():
        # Not in one go: the interpreter sleeps through a signal that comes between its last look
        # and the system call.
        for _ in range(3000):
            time.sleep(0.01)

    idle = start_container(host_system())
    sleep = ["sleep", "30"]
    kinds = {
        "plain": lambda: call_with_container([], slow),
        "init": lambda: call_with_container([], slow, child_is_pid1=False),
        "no pid": lambda: call_with_container([], slow, namespaces=NAMESPACES - {"pid"}),
        "hook": lambda: call_with_container([], slow, process_spawned_hook=lambda running: None),
        "populate": lambda: call_with_container([], slow, populate_filesystem=lambda: None),
        "output": lambda: run_container([], slow, capture_output=True).result(),
        "fork": lambda: call_with_container([], slow, start_method="fork"),
        "excursion": lambda: container_excursion(idle, slow),
        "command": lambda: run_command(host_system(), sleep).check_returncode(),
        "command without pid": lambda: run_command(
            host_system(), sleep, namespaces=NAMESPACES - {"pid"}
        ).check_returncode(),
        "command inside": lambda: exec_command(idle, sleep).check_returncode(),
    }
    call = kinds[sys.argv[1]]

    # Before that the call checks what it was given.
    from pycontainer.launch.signals import Relay
    taken = threading.Event()
    install = Relay.install
    def tell(self):
        install(self)
        taken.set()
    Relay.install = tell

    number = signal.SIGTERM if sys.argv[2] == "SIGTERM" else signal.SIGINT
    signal.signal(signal.SIGTERM, count)
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]

    def attempt(where):
        heard.clear()
        start = time.monotonic()
        try:
            call()
        except KeyboardInterrupt:
            ending = signal.SIGINT
        except ContainerExitError as error:
            ending = signal.SIGTERM
            assert "signal 15" in str(error) or "SIGTERM" in str(error), (where(), error)
        sys.settrace(None)
        took = time.monotonic() - start
        assert took < 4, (where(), took)
        assert ending == number, where()
        assert heard == ([number] if number == signal.SIGTERM else []), (where(), heard)
        assert handlers == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)], where()
        return took
"""

EACH_LINE = """
    # What the caller does once in a second while it waits is soon reached then.
    from pycontainer.launch import exchange
    exchange._GLANCE = 0.1

    lines = stop_at = waited = 0
    place = ""
    files = set()

    def trace(frame, event, argument):
        return trace_line if "/pycontainer/" in frame.f_code.co_filename else None

    def trace_line(frame, event, argument):
        global lines, place
        if event == "line" and taken.is_set() and lines >= 0:
            lines += 1
            if lines == stop_at:
                place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                files.add(Path(frame.f_code.co_filename).name)
                os.kill(os.getpid(), number)
        return trace_line

    def wait_no_longer():
        global lines
        lines = -1
        os.kill(os.getpid(), number)

    os.register_at_fork(after_in_child=lambda: sys.settrace(None))
    stop_at = 1
    threading.Timer(0.5, os.kill, (os.getpid(), number)).start()
    attempt(lambda: "the first time")  # with lines that run only then
    while waited < 20:  # all its lines are behind it, and those of a glance too
        lines, place = 0, ""
        timer = threading.Timer(2.5, wait_no_longer)
        timer.start()
        taken.clear()
        sys.settrace(trace)
        waited = waited + 1 if attempt(lambda: place) > 0.08 else 0
        timer.cancel()
        timer.join()
        if lines < 0:
            break
        stop_at += 2
    assert stop_at > 100 and {"start.py", "dispatch.py", "exchange.py"} <= files, (stop_at, files)
"""

EACH_MOMENT = """
    moment = 0.0
    while moment < 0.008:
        def send():
            taken.wait()
            time.sleep(moment)
            os.kill(os.getpid(), number)
        taken.clear()
        thread = threading.Thread(target=send)
        thread.start()
        attempt(lambda: moment)
        thread.join()
        moment += 0.00013
"""

KINDS = [
    "plain",
    "init",
    "no pid",
    "hook",
    "populate",
    "output",
    "fork",
    "excursion",
    "command",
    "command without pid",
    "command inside",
]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("kind", KINDS)
def test_at_any_line_of_the_caller(run_program, kind, number):
    run_program(PRELUDE + EACH_LINE, kind, number, timeout=110)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("kind", KINDS)
def test_at_any_moment_of_the_container(run_program, kind, number):
    run_program(PRELUDE + EACH_MOMENT, kind, number, timeout=110)
