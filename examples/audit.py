"""Which containers on this host are less closed than they might be, whoever made them?

    python examples/audit.py

As root it looks at everybody's, as an ordinary user at one's own.
"""

import subprocess
from collections.abc import Iterator

from pycontainer.inspection import Inspection, inspect_container, list_containers, printable


def holes(found: Inspection) -> Iterator[str]:
    shared = [each.kind for each in found.namespaces if not each.own and each.kind != "time"]
    if shared:
        yield f"the host's namespaces: {' '.join(shared)}"
    if "CAP_SYS_ADMIN" in found.capabilities.effective:
        yield "CAP_SYS_ADMIN"
    if found.seccomp.mode == "none":
        yield "no filter of system calls"
    if not found.no_new_privileges:
        yield "set-id programs work"
    for mount in found.mounts:
        if not mount.read_only and mount.fstype not in ("tmpfs", "proc", "devpts", "mqueue"):
            yield f"writable: {printable(mount.target)} ({mount.fstype})"


# Something to look at: a container of unshare(1), which closes little.
command = ["unshare", "-Urmp", "--fork", "--kill-child", "sh", "-c", "echo up; exec cat"]
other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
assert other.stdin is not None and other.stdout is not None
other.stdout.readline()
for container in list_containers():
    try:
        weak = list(holes(inspect_container(container.pid)))
    except ProcessLookupError:
        continue  # it has ended meanwhile
    print(f"{container.pid} {container.maker}: {printable(' '.join(container.command))}")
    for words in weak:
        print(f"    {words}")
other.stdin.close()
other.wait()
