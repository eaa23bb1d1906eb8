"""SIGKILL at any moment of a fetch, while another process wants the same thing."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer.shell import OciImage, provide, shell_container

PROVIDE = """
import sys
from pycontainer.shell import Cache, OciImage, provide
print("begin", flush=True)
print(provide(OciImage(sys.argv[2]), cache=Cache(sys.argv[1])).rootfs)
"""


@pytest.fixture
def image(layout, tar_of, small_system):
    """One that takes a while."""
    many = [(f"usr/share/{number}", os.urandom(200)) for number in range(500)]
    return layout.index(layout.image([tar_of(small_system), tar_of(many)]))


@pytest.mark.parametrize("seed", range(2))  # forty have passed, too
def test_kill_at_any_moment(image, cache, started, seed):
    wait = random.Random(seed).random() * 0.4
    command = [sys.executable, "-c", PROVIDE, cache.directory, str(image)]
    several = [started(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in several:
        assert process.stdout is not None
        process.stdout.readline()
    try:
        several[0].wait(wait)
    except subprocess.TimeoutExpired:
        several[0].kill()
    output, _ = several[1].communicate(timeout=60)
    assert several[1].returncode == 0
    software = provide(OciImage(image), cache=cache)
    assert output.strip() == software.rootfs
    assert len(os.listdir(f"{software.rootfs}/usr/share")) == 500
    shelf = Path(cache.directory, "oci-image")
    assert [name for name in os.listdir(shelf) if "." in name] == []
    done = pc.run_command(
        shell_container(software, cwd=None), ["greet"], stdout=pc.PIPE, text=True, check=True
    )
    assert done.stdout == "greeting from a file\n"
