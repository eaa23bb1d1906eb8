"""Exactly this software: a program and a function in a container of one virtual environment."""

import os
import sys
import tempfile

import pycontainer as pc
from pycontainer.shell import Venv, shell_container

if sys.prefix == sys.base_prefix:
    raise SystemExit("run this by the Python of a virtual environment")

with tempfile.TemporaryDirectory() as project:
    os.chmod(project, 0o777)
    # The project is writable; the environment is not; nothing else of the host is there.
    box = shell_container(Venv(sys.prefix), cwd=project, user="ada")
    code = "import os, sys; print('in', sys.prefix != sys.base_prefix, os.environ['HOME'])"
    print(pc.run_command(box, ["python", "-c", code], text=True, stdout=pc.PIPE).stdout, end="")

    def build() -> tuple[list[str], list[str]]:
        with open("result", "w") as file:
            file.write("made inside")
        return sorted(os.listdir("/home")), sorted(os.listdir("/usr"))

    print("there are", *pc.call_with_container(box, build))
    print("left in the project:", os.listdir(project))

    # A name with a mistake in it, before anything is started.
    try:
        shell_container(Venv(os.path.join(sys.prefix, "bin")), cwd=project)
    except pc.ContainerError as error:
        print("no environment:", str(error).rpartition("; ")[2])
