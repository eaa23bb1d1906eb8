"""A wrapper: a program that always runs in a container which was settled before.

Here it is sort(1): it sees one directory, read-only, and what it takes to start it; no network, no
other process, and no variable but those that wrappers hand on.
"""

import os
import subprocess
import tempfile

import pycontainer as pc
from pycontainer.shell import wrap

with tempfile.TemporaryDirectory() as folder:
    os.chmod(folder, 0o755)
    with open(f"{folder}/names", "w") as file:
        file.write("Grace\nAda\n")
    container = pc.Container([pc.bind(folder, "/data")], cwd="/data", capabilities=[])
    wrapper = wrap(container, "sort", libraries=True)
    print("it sees", len(wrapper.container.mounts), "places of the host")

    path = f"{folder}/sort"
    with open(path, "w") as file:
        file.write(str(wrapper))
    os.chmod(path, 0o755)

    def call(*arguments: str) -> None:
        done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False)
        print(done.returncode, *(done.stdout + done.stderr).splitlines())

    call("names")
    call("--reverse", "names")
    call("/etc/shadow")
    call("names", "--output=/data/sorted")
    print("outside:", sorted(os.listdir(folder)))
