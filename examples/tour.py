"""A tour: read the host, write to it, and step into a running container.

Run by ``make demo``.
"""

import os
import socket
import tempfile
from collections import Counter
from pathlib import Path

import pycontainer as pc

# A function of this script, run in fresh namespaces: it sees two directories of the host, the
# first read-only, and nothing else of it.
source = Path("/usr/share/common-licenses")
if not source.is_dir():  # not a Debian: this file's own directory will do
    source = Path(__file__).resolve().parent


def count_words() -> dict[str, int]:
    words: Counter[str] = Counter()
    for name in os.listdir("/texts"):
        with open(f"/texts/{name}", errors="replace") as text:
            words.update(word.lower() for word in text.read().split() if len(word) > 7)
    most = dict(sorted(words.items(), key=lambda item: -item[1])[:3])
    with open("/report/words.txt", "w") as report:
        report.write("\n".join(most))
    return most


with tempfile.TemporaryDirectory() as report:
    most = pc.call_with_container(
        [pc.bind(source, "/texts"), pc.bind(report, "/report", writable=True)], count_words
    )
    print(f"words of {source}, counted in a container: {most}")
    print(f"and written to the host from inside: {Path(report, 'words.txt').read_text().split()}")


# What the function was not given, it cannot see.
def forbidden() -> list[str]:
    met = [f"/ holds {sorted(os.listdir('/'))}"]
    try:
        os.mkdir("/texts/new")
    except OSError as error:
        met.append(str(error))
    return met


for line in pc.call_with_container([pc.bind(source, "/texts")], forbidden):
    print("inside:", line)


# An excursion: a function runs inside a container that is already running, whoever made it.
def look_around() -> tuple[list[str], list[str], list[str]]:
    processes = []
    for pid in sorted(filter(str.isdigit, os.listdir("/proc")), key=int):
        with open(f"/proc/{pid}/comm") as comm:
            processes.append(f"{pid} {comm.read().strip()}")
    with open("/proc/self/mounts") as mounts:
        points = sorted({line.split()[1] for line in mounts})
    return processes, points, [name for _, name in socket.if_nameindex()]


with pc.start_container([pc.bind(source, "/texts")], hostname="box") as box:
    processes, points, interfaces = pc.container_excursion(box, look_around)
    print(f"excursion into process {box.pid}:")
    print("  processes: ", ", ".join(processes))
    print("  mounts:    ", " ".join(points))
    print("  interfaces:", ", ".join(interfaces))
