"""Builds in containers: steps, and requests with inputs and outputs, with a store of results.

Names are imported when they are first used, as in the package above.
"""

from __future__ import annotations

from ..lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .builds import BuildOutput, BuildResult, build
    from .constraints import (
        AvailableReadOnlyPath,
        MinMemory,
        NetworkAccess,
        ProvideBinSh,
        System,
    )
    from .failures import BuildCancelledError, BuildError, ConstraintError
    from .request import BuildRequest
    from .sandbox import step_spec
    from .spec import request_spec
    from .step import Step
    from .stepping import run_step
    from .store import DirectoryStore, Store
    from .streaming import StepStream, stream_step

__all__ = [
    "AvailableReadOnlyPath",
    "BuildCancelledError",
    "BuildError",
    "BuildOutput",
    "BuildRequest",
    "BuildResult",
    "ConstraintError",
    "DirectoryStore",
    "MinMemory",
    "NetworkAccess",
    "ProvideBinSh",
    "Step",
    "StepStream",
    "Store",
    "System",
    "build",
    "request_spec",
    "run_step",
    "step_spec",
    "stream_step",
]

_HOMES = {
    "builds": ("BuildOutput", "BuildResult", "build"),
    "constraints": (
        "AvailableReadOnlyPath",
        "MinMemory",
        "NetworkAccess",
        "ProvideBinSh",
        "System",
    ),
    "failures": ("BuildCancelledError", "BuildError", "ConstraintError"),
    "request": ("BuildRequest",),
    "spec": ("request_spec",),
    "step": ("Step",),
    "sandbox": ("step_spec",),
    "stepping": ("run_step",),
    "store": ("DirectoryStore", "Store"),
    "streaming": ("StepStream", "stream_step"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:
    __getattr__ = lazy_names(__name__, _HOME)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
