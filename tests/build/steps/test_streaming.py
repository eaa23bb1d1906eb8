"""``stream_step``: the output as an asynchronous iterator."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from pathlib import Path

import pytest

from pycontainer import SetupError, Verdict
from pycontainer.build import Step, stream_step
from pycontainer.build.streaming import UNREAD_MOST

from .conftest import shell

WAITS = "while [ ! -e /tmp/go ]; do sleep 0.02; done"


def run(main):
    """In a loop, and nobody waits for ever."""

    async def within():
        async with asyncio.timeout(60):
            return await main()

    return asyncio.run(within())


def test_output_comes_while_the_step_runs(root, state, runtime):
    async def main():
        found = []
        async with stream_step(
            root, shell(f"echo first; {WAITS}; echo last"), runtime=runtime, state=state
        ) as stream:
            async for data in stream:
                found.append(data)
                if b"".join(found) == b"first\n":
                    assert stream.completed is None
                    (root / "tmp/go").touch()
        return b"".join(found), stream.completed

    output, completed = run(main)
    assert output == b"first\nlast\n"
    assert completed.verdict is Verdict.OK
    assert not state.exists()


def test_iteration_alone(root, state):
    async def main():
        stream = stream_step(root, shell("echo said; exit 5"), state=state)
        return [data async for data in stream], stream.completed, await stream.wait()

    found, completed, waited = run(main)
    assert found == [b"said\n"]
    assert completed is waited
    assert (completed.verdict, completed.status.exit_code) == (Verdict.EXIT, 5)


def test_the_loop_is_not_blocked(root, state):
    async def main():
        turns = 0
        stream = stream_step(root, shell(f"{WAITS}"), state=state)
        waiting = asyncio.create_task(stream.wait())
        while turns < 20:
            await asyncio.sleep(0)
            turns += 1
            assert not waiting.done()
        (root / "tmp/go").touch()
        return await waiting

    assert run(main).verdict is Verdict.OK


def test_two_beside_each_other(root, state):
    async def main():
        async def one(word):
            return b"".join(
                [data async for data in stream_step(root, shell(f"echo {word}"), state=state)]
            )

        return await asyncio.gather(one("a"), one("b"), one("c"))

    assert run(main) == [b"a\n", b"b\n", b"c\n"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_cancel(root, state, when):
    async def main():
        stream = stream_step(root, shell("echo said; sleep 60"), state=state)
        if when == "before":
            stream.cancel()
        async for data in stream:
            assert data == b"said\n"
            stream.cancel()
        return stream.completed

    completed = run(main)
    assert (completed.verdict, completed.returncode) == (Verdict.CANCELLED, -9)
    assert not state.exists()


def test_a_task_that_is_cancelled(root, state):
    """Nothing is left of the step when the ``async with`` is."""

    async def main():
        stream = stream_step(root, shell("echo said; sleep 60"), state=state)

        async def read():
            async with asyncio.timeout(0.5), stream:
                async for _ in stream:
                    pass

        with pytest.raises(TimeoutError):
            await read()
        assert not state.exists()
        return stream.completed

    assert run(main).verdict is Verdict.CANCELLED


def test_an_exception_in_the_body(root, state):
    async def main():
        with pytest.raises(KeyError):
            async with stream_step(root, shell("sleep 60"), state=state):
                raise KeyError
        assert not state.exists()

    run(main)


def test_a_stream_that_is_dropped(root, state):
    def threads():
        return [one for one in threading.enumerate() if one.name == "pycontainer step"]

    async def main():
        stream = stream_step(root, shell("echo said; sleep 60"), state=state)
        assert await anext(stream) == b"said\n"
        del stream
        gc.collect()

    run(main)
    deadline = time.monotonic() + 20
    while threads() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not threads()
    assert not state.exists()


def test_an_error(root, state):
    async def main():
        stream = stream_step(root, Step(["/no/such"]), state=state)
        with pytest.raises(SetupError):
            await anext(stream)
        with pytest.raises(SetupError):
            await stream.wait()
        assert stream.completed is None

    run(main)


def test_a_slow_reader_holds_the_step_up(root, state):
    """And memory does not fill with what nobody reads."""
    megabytes = 8
    script = f"head -c {megabytes}M /dev/zero; touch /tmp/written"

    async def main():
        stream = stream_step(root, shell(script), state=state)
        length = len(await anext(stream))
        await asyncio.sleep(0.3)
        assert stream._work is not None
        assert sum(len(data) for data in stream._work.chunks) <= UNREAD_MOST + (1 << 16)
        assert not Path(root, "tmp/written").exists()
        async for data in stream:
            length += len(data)
        assert Path(root, "tmp/written").exists()
        return length

    assert run(main) == megabytes << 20
