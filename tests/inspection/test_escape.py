"""printable: nothing that a terminal acts on is left."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pycontainer.inspection import printable


@settings(deadline=None)
@given(st.text(st.characters(codec=None)))
def test_all_of_it_prints(text):
    assert printable(text).isprintable()


@settings(deadline=None)
@given(st.binary())
def test_names_of_files_print(name):
    shown = printable(os.fsdecode(name))
    assert shown.isprintable()
    shown.encode()


@settings(deadline=None)
@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S", "Zs"])))
def test_what_prints_stays(text):
    assert printable(text.replace("\\", "/")) == text.replace("\\", "/")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a b", "a b"),
        ("é日", "é日"),
        ("\x1b[31m", r"\x1b[31m"),
        ("a\nb\tc\rd", r"a\nb\tc\rd"),
        ("\\n", r"\\n"),
        ("\x07\x7f\x9b", r"\x07\x7f\x9b"),
        ("\udcff", r"\xff"),
        ("\u202eexe.\u2028", r"\u202eexe.\u2028"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_escapes(text, shown):
    assert printable(text) == shown
