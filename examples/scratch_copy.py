"""Work on a directory as if it were writable, and throw the changes away."""

import os
import tempfile
from pathlib import Path

import pycontainer as pc


def clean_up(directory: str) -> list[str]:
    for name in os.listdir(directory):
        if name.endswith(".log"):
            os.remove(f"{directory}/{name}")
    with open(f"{directory}/DONE", "w"):
        pass
    return sorted(os.listdir(directory))


with tempfile.TemporaryDirectory() as project:
    for name in ("a.log", "b.log", "main.c"):
        Path(project, name).touch()
    inside = pc.call_with_container([pc.overlay(project)], lambda: clean_up(project))
    print("inside: ", inside)
    print("outside:", sorted(os.listdir(project)))
