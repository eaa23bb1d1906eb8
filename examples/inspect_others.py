"""Look into a container that another program made: bwrap, runc, podman, or here unshare(1).

    python examples/inspect_others.py [PID]

PID is a process of the container, as the host sees it.
"""

import os
import socket
import subprocess
import sys

import pycontainer as pc


def look() -> str:
    processes = []
    for pid in sorted(filter(str.isdigit, os.listdir("/proc")), key=int):
        try:
            with open(f"/proc/{pid}/comm") as comm:
                processes.append(f"{pid} {comm.read().strip()}")
        except FileNotFoundError:
            pass  # it has ended
    interfaces = [name for _, name in socket.if_nameindex()]
    return f"{os.uname().nodename}, uid {os.getuid()}: {', '.join(processes)}; {interfaces}"


if len(sys.argv) > 1:
    print(pc.container_excursion(int(sys.argv[1]), look))
    sys.exit()

# cat ends when its stdin does; the word "up" says that the container is there.
command = "hostname elsewhere; echo up; cat"
other = subprocess.Popen(
    ["unshare", "--map-root-user", "-muinpf", "--mount-proc", "sh", "-c", command],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
)
assert other.stdin is not None and other.stdout is not None
other.stdout.readline()
with open(f"/proc/{other.pid}/task/{other.pid}/children") as children:
    inside = int(children.read().split()[0])  # unshare itself stays outside the pid namespace
print(pc.container_excursion(inside, look))
other.stdin.close()
other.wait()
