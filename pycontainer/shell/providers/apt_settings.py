"""How the host's apt is set up, less what it would do to the host."""

from __future__ import annotations

import os
import re
import subprocess

from attrs import frozen

__all__ = ["AptSettings", "apt_settings"]

# What says from where and how packages come.  Hooks that run programs, and where things are kept,
# are not among them.
KEPT = ("Acquire::", "APT::Architecture", "APT::Architectures", "APT::Default-Release", "Dir::Etc")
LEFT_OUT = ("Acquire::IndexTargets", "Acquire::Languages", "Dir::Etc::parts", "Dir::Etc::main")

_LINE = re.compile(r'^(?P<name>[^ ]+) "(?P<value>.*)";$')


@frozen
class AptSettings:
    """Lines of a configuration file of apt (apt.conf(5))."""

    lines: tuple[str, ...]

    def value(self, name: str, default: str = "") -> str:
        """The value of *name*."""
        for line in self.lines:
            found = _LINE.match(line)
            if found and found["name"].lower() == name.lower():
                return found["value"]
        return default

    def source_places(self) -> list[str]:
        """The file and the directory that name package sources."""
        return [
            self._place("sourcelist", "sources.list"),
            self._place("sourceparts", "sources.list.d"),
        ]

    def shown(self) -> list[str]:
        """The host's files that apt reads: /etc/apt, and what the settings name elsewhere."""
        places = [os.path.join("/", self.value("Dir::Etc", "etc/apt"))]
        for line in self.lines:
            found = _LINE.match(line)
            if found and found["value"].startswith("/"):
                places.append(os.path.normpath(found["value"]))
        return [
            place
            for place in places
            if place.strip("/") and (os.path.isfile(place) or os.path.isdir(place))
        ]

    def _place(self, name: str, default: str) -> str:
        base = os.path.join("/", self.value("Dir::Etc", "etc/apt"))
        return os.path.join(base, self.value(f"Dir::Etc::{name}", default))


def apt_settings() -> AptSettings:
    """The host's settings and those of the caller's APT_CONFIG, as ``apt-config dump`` has them."""
    done = subprocess.run(
        ["apt-config", "dump"], capture_output=True, encoding="utf-8", errors="replace", check=True
    )
    return AptSettings(
        tuple(
            line
            for line in done.stdout.splitlines()
            if line.startswith(KEPT) and not line.startswith(LEFT_OUT) and _LINE.match(line)
        )
    )
