"""Measures pycontainer beside the floor and beside other programs: ``python benchmarks/run.py``."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

if __name__ == "__main__":
    installed = find_spec("pycontainer") is not None
    # At the end: an installed pycontainer is measured rather than the sources beside this file.
    sys.path.append(str(ROOT))
    from benchmarks.harness import main

    sys.exit(main(ROOT, installed=installed))
