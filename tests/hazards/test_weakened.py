"""Every row's tests fail where their wall is missing (``make weakened``; not collected otherwise).

Takes minutes: for each wall the tree is copied, weakened, built, and the row's tests run.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("weaken", Path(__file__).with_name("weaken.py"))
assert _spec is not None and _spec.loader is not None
weaken = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(weaken)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("key", weaken.WEAKENINGS)
def test_is_seen_to_fail(key, is_root):
    if key in weaken.AS_ROOT and not is_root:
        pytest.skip("needs root; the run as root has it")
    if key in weaken.AS_USER and is_root:
        pytest.skip("needs an ordinary user; the run as one has it")
    assert weaken.run_weakened(key, show=False)


def test_every_row_has_a_weakening():
    rows = {path.name[9:11] for path in Path(__file__).parent.glob("test_row_*.py")}
    assert os.environ["PYCONTAINER_WEAKENED"]
    assert rows == {weaken.row_of(key) for key in weaken.WEAKENINGS}
