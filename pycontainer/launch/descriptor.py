"""A descriptor with an owner."""

from __future__ import annotations

import os

__all__ = ["Descriptor"]


class Descriptor:
    """Closes when the last reference to it has gone, however that comes: an exception, Ctrl-C."""

    fd = -1

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def close(self) -> None:
        """Close it now.  Once it is closed this does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()
