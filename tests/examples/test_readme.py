"""The README's Python runs and prints what the README says it prints."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[2] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", README.read_text(), re.S)


def test_there_are_blocks():
    assert len(BLOCKS) == README.read_text().count("```python") >= 2


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_block(number, tmp_path):
    code, output = BLOCKS[number]
    # The README's place in /tmp may belong to another user's run.
    code = code.replace("/tmp/pc-readme", str(tmp_path))
    script = tmp_path / "readme.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == output
