"""A tree of lines, plain or as rich draws it.

Whatever comes in is escaped here, in one place, so that no name that a container has chosen reaches
a terminal as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from ..inspection.escape import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

__all__ = ["Node", "Part", "grow", "show_plain", "show_rich"]

T = TypeVar("T")
Part = str | tuple[str, str]
"""Words, or words and the style that a terminal shows them in."""


class Node:
    """A line and those below it."""

    __slots__ = ("below", "parts")

    def __init__(self, *parts: Part) -> None:
        self.parts = [
            (printable(part), "") if isinstance(part, str) else (printable(part[0]), part[1])
            for part in parts
        ]
        self.below: list[Node] = []

    def add(self, *parts: Part) -> Node:
        """Put a line below this one, and return it."""
        node = Node(*parts)
        self.below.append(node)
        return node

    def row(self, name: str, *parts: Part) -> Node:
        """The same with a name in front, in a column of its own."""
        return self.add((f"{name:12} ", "dim"), *parts)


_DEEPEST = 40
"""What lies deeper is shown at this depth: a container may stack processes and mounts at will."""


def grow(
    node: Node,
    items: Sequence[T],
    number: Callable[[T], int],
    outer: Callable[[T], int],
    line: Callable[[T], Sequence[Part]],
) -> None:
    """Put items below *node*, each under the one that it belongs to, if that is among them.

    Arguments:
        number: what others know an item by.
        outer: the number of the one that it belongs to.
        line: what is shown of it.
    """
    known = {number(item) for item in items}
    inner: dict[int | None, list[T]] = {}
    for item in items:
        above = outer(item)
        own = above not in known or above == number(item)
        inner.setdefault(None if own else above, []).append(item)
    waiting = [(item, node, 0) for item in reversed(inner.pop(None, []))]
    while waiting or inner:
        if not waiting:  # some belong to each other in a circle: they were read one by one
            waiting = [(item, node, 0) for item in inner.pop(next(iter(inner)))]
        item, under, depth = waiting.pop()
        made = under.add(*line(item))
        below = (made, depth + 1) if depth < _DEEPEST else (under, depth)
        waiting += [(each, *below) for each in reversed(inner.pop(number(item), []))]


def show_plain(node: Node, depth: int = 0) -> str:
    """Lines, each two blanks further in than the one that it belongs to."""
    line = "  " * depth + "".join(words for words, _ in node.parts).rstrip() + "\n"
    return line + "".join(show_plain(below, depth + 1) for below in node.below)


def show_rich(node: Node, console: Console) -> None:
    """With lines from one to the other, and colours."""
    from rich.tree import Tree

    tree = Tree(_text(node), guide_style="dim")
    _grow(tree, node)
    console.print(tree)


def _text(node: Node) -> Text:
    from rich.text import Text

    return Text.assemble(*node.parts)  # Text: no word of a container is markup


def _grow(tree: Tree, node: Node) -> None:
    for below in node.below:
        _grow(tree.add(_text(below)), below)
