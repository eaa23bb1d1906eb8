"""Steps of a build, as OBuilder runs them: a root file system that each of them changes.

python examples/steps.py [native|runc|crun]
"""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

from pycontainer import host_system
from pycontainer.build import Step, run_step, stream_step

runtime: Any = sys.argv[1] if len(sys.argv) > 1 else "native"
environment = {"PATH": "/usr/bin:/bin"}


def step(script: str, **fields: Any) -> Step:
    # A real root file system has programs of its own; this one borrows the host's.
    return Step(["/bin/sh", "-c", script], mounts=[host_system()], env=environment, **fields)


async def follow(root: Path, one: Step) -> None:
    async with stream_step(root, one, runtime=runtime) as stream:
        async for data in stream:
            print(f"streamed: {data!r}")
    assert stream.completed is not None
    print(f"ended:    {stream.completed.status}")


with (
    tempfile.TemporaryDirectory() as directory
):  # of mode 700: a step of root's may hold set-id files
    root = Path(directory) / "root"
    (root / "srv").mkdir(parents=True)

    log: list[bytes] = []
    token = {"/run/secrets/token": b"hunter2"}
    one = step("wc -c < /run/secrets/token; echo fetched > /srv/source", secrets=token)
    print("secrets:", one.secrets)
    done = run_step(root, one, runtime=runtime, log=log.append)
    print("secret of", int(b"".join(log)), "bytes;", done.status)

    asyncio.run(follow(root, step("cat /srv/source; ls /run; echo built > /srv/program")))
    print("in the root:", sorted(path.name for path in (root / "srv").iterdir()))

    offline = step("ls /sys/class/net")
    run_step(root, offline, runtime=runtime, log=Path(directory) / "log")
    print("network:", (Path(directory) / "log").read_text().split())
