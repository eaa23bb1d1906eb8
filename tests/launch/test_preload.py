"""``preload=``: a helper of its own with modules loaded, and never one with threads."""

from __future__ import annotations

import sys
import threading
import time

import pytest

from pycontainer import (
    HelperError,
    bind,
    call_with_container,
    container_excursion,
    start_container,
    tmpfs,
)
from pycontainer.launch import forkserver as forkservers


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Make modules on the caller's path."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return make


def helpers():
    return {server.pid for server in forkservers._running.values()}


def test_a_helper_for_each_set_of_modules():
    call_with_container([], lambda: None)
    plain = forkservers.forkserver().pid
    first = forkservers.forkserver(("colorsys",)).pid
    assert first != plain
    assert forkservers.forkserver(("colorsys",)).pid == first
    assert forkservers.forkserver(("colorsys", "wave")).pid not in (first, plain)
    assert call_with_container([], lambda: "colorsys" in sys.modules, preload=["colorsys"])
    assert forkservers.forkserver(("colorsys",)).pid == first
    assert not call_with_container([], lambda: "colorsys" in sys.modules)


def test_loaded_once_and_inherited(module):
    name = module("counts_loads", "import time\nloaded = time.monotonic()\nloads = [0]\n")

    def fn():
        import counts_loads  # type: ignore[import-not-found]

        counts_loads.loads[0] += 1
        return counts_loads.loaded, counts_loads.loads[0]

    found = [call_with_container([], fn, preload=[name]) for _ in range(3)]
    assert len({loaded for loaded, _ in found}) == 1
    assert [loads for _, loads in found] == [1, 1, 1]


def test_in_an_empty_root_and_in_an_excursion(module):
    name = module("used_later", "def fn(): return 'found'\n")

    def fn():
        import used_later  # type: ignore[import-not-found]

        return used_later.fn()

    assert call_with_container([tmpfs("/x")], fn, preload=[name]) == "found"
    with start_container([]) as running:
        assert container_excursion(running, fn, preload=[name]) == "found"
        with pytest.raises(ModuleNotFoundError, match="preload="):
            container_excursion(running, fn)


def test_submodule_and_package():
    assert call_with_container(
        [], lambda: "xml.dom.minidom" in sys.modules, preload=["xml.dom.minidom"]
    )


THREADED = (
    "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
)


def test_module_that_starts_a_thread(module):
    before = helpers()
    name = module("starts_one", THREADED)
    with pytest.raises(HelperError, match="'starts_one' started a thread"):
        call_with_container([], lambda: None, preload=["colorsys", name])
    # The one to blame is named, though it came in by another's import.
    outer = module("imports_it", f"import {name}\n")
    with pytest.raises(HelperError, match="'imports_it' started a thread"):
        call_with_container([], lambda: None, preload=[outer])
    assert helpers() == before


def test_module_whose_thread_has_ended(module):
    name = module(
        "has_ended", "import threading\nt = threading.Thread(target=int)\nt.start()\nt.join()\n"
    )
    assert call_with_container([], lambda: name in sys.modules, preload=[name])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("raise ValueError('of the module')", "ValueError: of the module"),
        ("import no_such_module", "No module named 'no_such_module'"),
        ("import sys; sys.exit('gone')", "SystemExit: gone"),
        ("import os; os._exit(3)", "ended at once"),
        ("import os; os.kill(os.getpid(), 9)", "ended at once"),
        ("no python", "SyntaxError"),
    ],
)
def test_module_that_fails(module, text, words):
    name = module("fails", text)
    before = helpers()
    with pytest.raises(HelperError, match="did not start") as caught:
        call_with_container([], lambda: None, preload=[name])
    assert words in str(caught.value)
    assert helpers() == before
    assert call_with_container([], lambda: 1) == 1


def test_missing_module():
    with pytest.raises(HelperError, match="No module named 'absent_module'"):
        call_with_container([], lambda: None, preload=["absent_module"])


def test_module_that_prints(module, capfd):
    """What modules print at import goes nowhere: a helper has no terminal."""
    name = module(
        "prints", "import os\nprint('at import')\nos.write(1, b'raw')\nos.write(2, b'raw')\n"
    )
    assert call_with_container([], lambda: 1, preload=[name]) == 1
    assert "at import" not in capfd.readouterr().out


def test_module_that_opens_a_file(module, tmp_path):
    """Descriptors that a module keeps are no container's."""
    name = module(
        "opens", f"import os\nfile = open({str(tmp_path / 'opens.py')!r})\nnumber = file.fileno()\n"
    )

    def fn():
        import os

        import opens  # type: ignore[import-not-found]

        try:
            os.fstat(opens.number)
        except OSError as error:
            return error.errno
        return os.listdir("/proc/self/fd")

    assert call_with_container([], fn, preload=[name]) == 9


def test_numpy(tmp_path):
    """Its pool of threads is not started; a function may start threads of its own."""
    pytest.importorskip("numpy")

    def fn():
        import numpy

        matrix = numpy.ones((300, 300))
        thread = threading.Thread(target=lambda: matrix.sum())
        thread.start()
        thread.join()
        return numpy.arange(10).sum(), float((matrix @ matrix)[0, 0])

    assert call_with_container([bind(tmp_path, "/x")], fn, preload=["numpy"]) == (45, 300.0)
    times = []
    for _ in range(5):
        start = time.monotonic()
        assert call_with_container([], fn, preload=["numpy"])[0] == 45
        times.append(time.monotonic() - start)
    assert min(times) < 0.1
    with start_container([]) as running:
        assert container_excursion(running, fn, preload=["numpy"])[0] == 45


def test_many_threads_ask_for_it_at_once():
    """One helper is started, not eight."""
    found = []

    def ask():
        call_with_container(
            [], lambda: None, preload=["chunk" if sys.version_info < (3, 13) else "cmd"]
        )
        found.append(len(forkservers._running))

    before = len(forkservers._running)
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [found[0]] * 8
    assert found[0] <= before + 1
