"""Every example runs and says what it is there to say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

SAYS = {
    "explain.py": ["bind /srv/data read-only at /data", "lock the mounts"],
    "inspect_others.py": ["elsewhere"],
    "neighbours.py": ["'site'", "in its network:   hello from inside"],
    "plugin.py": ["Score(name='ada', points=6.0)", "refused: result[0] is a __main__.Score"],
    "populate.py": ["greeting = hello; Read-only file system"],
    "python_inside.py": ["a holds b; process 2"],
    "scratch_copy.py": [
        "inside:  ['DONE', 'main.c']",
        "outside: ['a.log', 'b.log', 'main.c']",
    ],
    "threads.py": ["[0, 1, 4, 9, 16, 25, 36, 49, 64, 81]"],
    "tour.py": ["counted in a container", "Read-only file system", "interfaces: lo"],
}


def test_every_example_is_here():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SAYS)


@pytest.mark.parametrize("name", sorted(SAYS))
def test_example(name):
    done = subprocess.run(
        [sys.executable, EXAMPLES / name], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    for words in SAYS[name]:
        assert words in done.stdout
