"""Containers that hold exactly the software that is named, and where that software comes from.

Names are imported when they are first used, as in ``pycontainer`` itself.
"""

from __future__ import annotations

from ..lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .cache import Cache
    from .container import shell_container
    from .software import (
        Apt,
        OciImage,
        Pip,
        Profile,
        Progress,
        Request,
        Rootfs,
        Software,
        SoftwareError,
        Venv,
        provide,
    )
    from .wrapper import Wrapper, wrap

__all__ = [
    "Apt",
    "Cache",
    "OciImage",
    "Pip",
    "Profile",
    "Progress",
    "Request",
    "Rootfs",
    "Software",
    "SoftwareError",
    "Venv",
    "Wrapper",
    "provide",
    "shell_container",
    "wrap",
]

_HOMES = {
    "cache": ("Cache",),
    "container": ("shell_container",),
    "software": (
        "Apt",
        "OciImage",
        "Pip",
        "Profile",
        "Progress",
        "Request",
        "Rootfs",
        "Software",
        "SoftwareError",
        "Venv",
        "provide",
    ),
    "wrapper": ("Wrapper", "wrap"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:  # to a type checker a name that is not above is a mistake
    __getattr__ = lazy_names(__name__, _HOME)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
