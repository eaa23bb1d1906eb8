"""Rows for limits: not how long something takes, but how far it is from what was asked for."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.subjects import Bench, Subject, asked

__all__ = ["limits"]


def limits(bench: Bench) -> Iterator[Subject]:
    """What a worker sees of its containers' ends."""
    group = "limits: how late, or how far from the truth"
    worker = bench.new_worker()
    for name, question, at_most in (
        ("wall_time=0.2, by the caller's clock", "wall_time_late", 100.0),
        ("cpu_time=0.2, by its usage", "cpu_time_late", 1000.0),
        ("cpu_time=0.4 of four processes, by its usage", "tree_cpu_time_late", 1000.0),
        ("Usage.wall_time, at most", "wall_usage_error", 20.0),
        ("Usage.wall_time of a program, at most", "program_usage_error", 20.0),
    ):
        yield Subject(group, name, asked(worker, question), every=3, at_most=at_most)
