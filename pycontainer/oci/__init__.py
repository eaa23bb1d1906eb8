"""Containers as OCI runtime bundles, out and in: ``to_spec``, ``from_spec``, ``write_bundle``,
``run_bundle``.

Names are imported when they are first used, and the two that are pure need no compiled helper.
"""

from __future__ import annotations

from ..lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .bundle import Bundle, write_bundle
    from .reading import from_spec
    from .running import run_bundle
    from .spec import to_spec

__all__ = ["Bundle", "from_spec", "run_bundle", "to_spec", "write_bundle"]

_HOMES = {
    "Bundle": "bundle",
    "from_spec": "reading",
    "run_bundle": "running",
    "to_spec": "spec",
    "write_bundle": "bundle",
}


if not TYPE_CHECKING:
    __getattr__ = lazy_names(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
