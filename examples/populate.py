"""Fill the root file system before it becomes read-only."""

import os

import pycontainer as pc


def populate() -> None:
    os.makedirs("/srv/config")
    with open("/srv/config/app.ini", "w") as config:
        config.write("[app]\ngreeting = hello\n")


def main() -> str:
    with open("/srv/config/app.ini") as config:
        greeting = config.read().splitlines()[1]
    try:
        os.remove("/srv/config/app.ini")
    except OSError as error:
        return f"{greeting}; {error.strerror}"
    return "the root was writable"


print(pc.call_with_container([], main, populate_filesystem=populate))
