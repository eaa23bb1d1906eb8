"""Look into a container that another program made: here unshare(1), it could be bwrap or runc."""

import os
import subprocess

import pycontainer as pc

# cat ends when its stdin does; its one word says that the container is there.
other = subprocess.Popen(
    ["unshare", "-Urmuinpf", "--mount-proc", "sh", "-c", "hostname elsewhere; echo up; cat"],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
)
assert other.stdin is not None and other.stdout is not None
other.stdout.readline()
with open(f"/proc/{other.pid}/task/{other.pid}/children") as children:
    inside = int(children.read().split()[0])  # unshare itself stays outside the pid namespace


def look() -> tuple[str, list[int], int]:
    pids = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    return os.uname().nodename, pids, os.getuid()


print(pc.container_excursion(inside, look))
other.stdin.close()
other.wait()
