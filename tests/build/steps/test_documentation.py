"""docs/steps.md: its Python prints what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from pycontainer.build import Step
from pycontainer.build.sandbox import CAPABILITIES

TEXT = (Path(__file__).resolve().parents[3] / "docs/steps.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", TEXT, re.DOTALL)


def test_every_block_has_its_output():
    assert len(BLOCKS) == TEXT.count("```python") == 2


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_block(number, tmp_path):
    code, output = BLOCKS[number]
    script = tmp_path / "script.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == output


def test_fields_and_capabilities_are_all_there():
    table = TEXT[TEXT.index("| field |") : TEXT.index("**What it may do.**")]
    assert {field.name for field in attrs.fields(Step)} == set(
        re.findall(
            r"`(\w+)`", "\n".join(line.split("|")[1] for line in table.splitlines() if "|" in line)
        )
    )
    said = re.search(r"capabilities `([A-Z_\s]+)`", TEXT)
    assert said is not None
    assert tuple(f"CAP_{name}" for name in said[1].split()) == CAPABILITIES
