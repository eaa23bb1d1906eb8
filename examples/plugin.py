"""A plugin that gets data in, gives data back, and reaches nothing else.

What comes back is decoded as data: whatever the plugin returns, no code of its choosing runs here.
A Container keeps a trusted plugin's mistakes away from the host; it has no filter of system calls,
so it is no jail for a hostile one.
"""

from dataclasses import dataclass

import pycontainer as pc


@dataclass
class Score:
    name: str
    points: float


def plugin(rows: list[tuple[str, int]]) -> list[Score]:
    """Imagine this came from somebody else."""
    return [Score(name, points * 1.5) for name, points in rows]


def greedy() -> object:
    return open("/etc/shadow").read()


rows = [("ada", 4), ("grace", 6)]
scores = pc.call_with_container([], lambda: plugin(rows), allow=[Score], timeout=5)
print(scores)

try:
    pc.call_with_container([], greedy)
except FileNotFoundError as error:
    print("refused:", error)

try:
    pc.call_with_container([], lambda: plugin(rows))  # without allow=
except pc.ResultError as error:
    print("refused:", error)
