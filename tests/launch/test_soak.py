"""Ten thousand calls from one process leave nothing: no descriptor, process, mount, file or memory.

The program looks after 500 calls of every kind and again at the end.  Descriptors, processes,
mounts and files must be the same.  Memory may move by what allocators keep: 2 MiB of the caller,
512 KiB of the helper, 60 and 600 bytes a call.
"""

from __future__ import annotations

import json
import os

import pytest

SOAK = """
    import gc, json, signal

    WARM, CALLS = 500, int(sys.argv[1])

    def memory(pid, field):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1])

    def settled(look, wanted):
        # What has ended a moment ago is reaped in the next.
        deadline = time.monotonic() + 5
        while (found := look()) != wanted and time.monotonic() < deadline:
            time.sleep(0.01)
        return found

    def look():
        gc.collect()
        server = helper()
        spares = settled(lambda: len(children(server)), 2)
        return {
            "helper": server,
            "descriptors": len(os.listdir("/proc/self/fd")),
            "descriptors of the helper": len(os.listdir(f"/proc/{server}/fd")),
            "children": children("self"),
            "children of the helper": spares,
            "threads": len(os.listdir("/proc/self/task")),
            "mounts": Path("/proc/self/mountinfo").read_text().count("\\n"),
            "files": os.listdir(os.environ["TMPDIR"]),
            "signals": [str(signal.getsignal(number)) for number in (2, 15)],
            "memory": memory("self", "RssAnon"),
            "memory of the helper": memory(server, "RssAnon"),
        }

    def fail():
        raise ValueError("of the function")

    def raises(kind, call):
        try:
            call()
        except kind:
            return
        raise AssertionError(kind)

    def one(number, visited):
        # Every kind comes at a place of its own in twenty calls.
        kind = number % 20
        if kind == 1:
            assert container_excursion(visited, lambda: number) == number
        elif kind == 2:
            raises(ValueError, lambda: call_with_container([], fail))
        elif kind == 3:
            raises(ValueError, lambda: container_excursion(visited, fail))
        elif kind == 4:
            missing = [bind("/does/not/exist", "/x")]
            raises(FileNotFoundError, lambda: call_with_container(missing, fail))
        elif kind == 5:
            assert call_with_container([], lambda: number, child_is_pid1=False) == number
        elif kind == 6:
            data = call_with_container([], lambda: b"x" * 100_000)
            assert len(data) == 100_000
        elif kind == 7:
            raises(ResultError, lambda: call_with_container([], object))
        elif kind == 8:
            assert run_container([], lambda: os._exit(3)).returncode == 3
        elif kind == 9:
            print_it = lambda: print(number)
            done = run_container([], print_it, capture_output=True)
            assert done.stdout == b"%d\\n" % number
        elif kind == 10 and number % 200 == 10:
            sleep = lambda: time.sleep(60)
            raises(ContainerTimeoutError, lambda: call_with_container([], sleep, timeout=0.01))
        elif kind == 11 and number % 200 == 11:
            sleep = lambda: time.sleep(60)
            raises(
                ContainerTimeoutError,
                lambda: container_excursion(visited, sleep, timeout=0.01),
            )
        elif kind == 12 and number % 200 == 12:
            assert call_with_container([], lambda: number, start_method="fork") == number
        elif kind == 13 and number % 60 == 13:
            big = b"y" * 300_000  # the request goes by memfd
            assert call_with_container([], lambda: len(big)) == 300_000
        elif kind == 14 and number % 60 == 14:
            start_container([]).end()
        else:
            assert call_with_container([], lambda: number) == number

    def calls(first, last):
        with start_container([]) as visited:
            for number in range(first, last):
                one(number, visited)
        call_with_container([], lambda: None)

    calls(0, WARM)
    before = look()
    calls(WARM, CALLS)
    print(json.dumps([before, look()]))
"""


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_ten_thousand_calls(run_program, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "empty"))
    (tmp_path / "empty").mkdir()
    # Root's other tests may mount something meanwhile.
    before = ("unshare", "--mount") if os.geteuid() == 0 else ()
    calls = os.environ.get("PYCONTAINER_SOAK", "10000")
    first, last = json.loads(run_program(SOAK, calls, before=before, timeout=590))
    grown = last.pop("memory") - first.pop("memory")
    helper_grown = last.pop("memory of the helper") - first.pop("memory of the helper")
    assert first == last
    assert last["files"] == []
    assert last["children"] == [last["helper"]]
    assert grown < 2048, f"{grown} KiB more"
    assert helper_grown < 512, f"{helper_grown} KiB more in the helper"
