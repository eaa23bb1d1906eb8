"""The README's Python runs and prints what the README says it prints; its names exist."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pycontainer

TEXT = (Path(__file__).resolve().parents[2] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", TEXT, re.DOTALL)


def test_every_block_has_its_output():
    assert len(BLOCKS) == TEXT.count("```python") >= 3


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_block(number, tmp_path):
    code, output = BLOCKS[number]
    script = tmp_path / "readme.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == output


def test_keywords_exist():
    doors = (
        pycontainer.call_with_container,
        pycontainer.run_container,
        pycontainer.start_container,
        pycontainer.container_excursion,
        pycontainer.run_command,
        pycontainer.Container,
        pycontainer.bind,
        pycontainer.Limits,
    )
    known = {name for door in doors for name in inspect.signature(door).parameters}
    named = {
        name for span in re.findall("`([^`\n]+)`", TEXT) for name in re.findall(r"(\w+)=", span)
    }
    assert named <= known
    assert len(named) > 15


def test_functions_exist():
    for name in re.findall(r"^\| `(\w+)\(", TEXT, re.MULTILINE):
        assert name in pycontainer.__all__


def test_links_lead_somewhere():
    root = Path(__file__).resolve().parents[2]
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert "://" in target or (root / target).exists()
