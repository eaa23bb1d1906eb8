"""Run code that nobody trusts: what it may do, what it hears, and how it ends."""

import errno
import os
from collections.abc import Callable

import pycontainer as pc


def tempted() -> list[str]:
    attempts: list[tuple[str, Callable[..., object], tuple[object, ...]]] = [
        ("read the host's files", os.listdir, ("/home",)),
        ("leave a set-id program", os.chmod, ("/tmp", 0o4755)),
        ("change the root", os.chroot, ("/tmp",)),
        ("work in /tmp", os.mkdir, ("/tmp/notes",)),
    ]
    said = []
    for name, attempt, arguments in attempts:
        try:
            attempt(*arguments)
            said.append(f"{name}: yes")
        except OSError as error:
            said.append(f"{name}: {errno.errorcode[error.errno or 0]}")
    return said


for line in pc.call_with_container(pc.SANDBOX, tempted, timeout=10):
    print(line)

# A program is as easily caged.  The container is opened for what it needs, and no further.
cage = pc.extend(pc.SANDBOX, pc.host_system(), limits=pc.Limits(processes=8, wall_time=5))
done = pc.run_command(cage, ["unshare", "--user", "id"], capture_output=True, text=True)
print("unshare:", done.stderr.strip())

# A filter of one's own: no further process, and the first that tries ends with the verdict.
judge = pc.extend(cage, seccomp=pc.UNTRUSTED | pc.NO_FORK)
done = pc.run_command(judge, ["sh", "-c", "id; true"], capture_output=True)
print("the shell forked:", done.verdict.name)
