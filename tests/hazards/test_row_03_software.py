"""Row 3 · what is half made in the cache is removed without a link being followed."""

from __future__ import annotations

import os
import stat

import pytest

from pycontainer.shell import Cache
from pycontainer.shell.cache import remove_tree


@pytest.fixture
def outside(tmp_path):
    victim = tmp_path / "outside"
    (victim / "below").mkdir(parents=True)
    (victim / "below/file").write_text("kept")
    (victim / "below").chmod(0o511)
    yield victim
    assert stat.S_IMODE((victim / "below").stat().st_mode) == 0o511
    assert (victim / "below/file").read_text() == "kept"


def test_a_place_that_has_become_a_link(tmp_path, outside):
    (tmp_path / "place").symlink_to(outside)
    remove_tree(str(tmp_path / "place"))
    assert not os.path.lexists(tmp_path / "place")


def test_links_in_what_is_removed(tmp_path, outside):
    def fail(directory):
        os.symlink(outside, os.path.join(directory, "link"))
        os.mkdir(os.path.join(directory, "closed"))
        os.symlink(outside / "below", os.path.join(directory, "closed/link"))
        os.chmod(os.path.join(directory, "closed"), 0)
        raise LookupError

    with pytest.raises(LookupError):
        Cache(tmp_path / "cache").entry("kind", "key", fail, what="a thing")
    assert os.listdir(tmp_path / "cache/kind") == []
