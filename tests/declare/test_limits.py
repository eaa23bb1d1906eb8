"""``Limits``: what it takes, and what it says about what it does not."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from pycontainer import Container, Limits


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (4096, 4096),
        ("4096", 4096),
        ("4k", 4096),
        ("512m", 512 << 20),
        ("2G", 2 << 30),
        ("1t", 1 << 40),
    ],
)
def test_sizes(text, number):
    for name in ("memory", "stack", "file_size", "output"):
        assert getattr(Limits(**{name: text}), name) == number


def test_equal_limits_are_equal():
    one = Limits(cpu_time=1, memory="1m", cpu_affinity=[1, 0], cpus=1)
    other = Limits(cpu_time=1.0, memory=1 << 20, cpu_affinity={0, 1}, cpus=1.0)
    assert one == other
    assert hash(one) == hash(other)
    assert pickle.loads(pickle.dumps(one)) == one
    assert Container(limits=one) == Container(limits=other)
    assert Limits() == Limits(strict=True)


def test_a_stack_without_a_bound():
    assert Limits(stack="unlimited").stack == "unlimited"


BAD = [
    ({"cpu_time": 0}, "cpu_time 0 is outside"),
    ({"cpu_time": -1.5}, "cpu_time -1.5 is outside"),
    ({"wall_time": float("nan")}, "wall_time nan is outside"),
    ({"wall_time": float("inf")}, "wall_time inf is outside"),
    ({"wall_time": "2"}, "wall_time must be a number of seconds, not '2'"),
    ({"wall_time": True}, "wall_time must be a number of seconds, not True"),
    ({"cpus": 0}, "cpus 0 is outside"),
    ({"memory": 0}, "memory 0 is outside 1 to"),
    ({"memory": "lots"}, "memory 'lots' is no size"),
    ({"memory": "1.5g"}, "memory '1.5g' is no size"),
    ({"memory": ""}, "memory '' is no size"),
    ({"memory": "-1"}, "memory '-1' is no size"),
    ({"memory": 1.5}, "memory 1.5 is no size"),
    ({"memory": "unlimited"}, "memory 'unlimited' is no size"),
    ({"stack": "endless"}, "stack 'endless' is no size; use bytes or a text as '512m', or 'unl"),
    ({"processes": 0}, "processes 0 is outside 1"),
    ({"processes": "5"}, "processes must be an int, not '5'"),
    ({"open_files": True}, "open_files must be an int, not True"),
    ({"cpu_affinity": []}, "cpu_affinity is empty"),
    ({"cpu_affinity": [-1]}, "cpu_affinity: -1 is no processor's number"),
    ({"cpu_affinity": ["0"]}, "cpu_affinity: '0' is no processor's number"),
    ({"cpu_affinity": 3}, "cpu_affinity takes numbers of processors"),
    ({"cpu_affinity": "0,1"}, "cpu_affinity takes numbers of processors"),
    ({"strict": 1}, "strict must be True or False"),
]


@pytest.mark.parametrize(("fields", "words"), BAD)
def test_bad_fields(fields, words):
    with pytest.raises(ValueError) as caught:
        Limits(**fields)
    assert str(caught.value).startswith(f"limits: {words}")


def test_every_bad_field_at_once():
    fields: Any = {"cpu_time": -1, "memory": "x", "processes": 0, "cpu_affinity": [], "strict": 0}
    with pytest.raises(ValueError) as caught:
        Limits(**fields)
    lines = str(caught.value).splitlines()
    assert lines[0] == "limits: 5 problems"
    assert len(lines) == 6


def test_only_keywords():
    with pytest.raises(TypeError):
        Limits(1.0)  # type: ignore[call-arg]
