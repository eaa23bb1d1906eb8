"""What a Debian root file system needs besides the files of its packages.

Their scripts are read for the alternatives that they declare, and never run.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator

from attrs import Factory, define, frozen

__all__ = ["Alternatives", "prepare_root", "settle_root"]

MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
"""Links into /usr, which no package holds before Debian 13 (its base-files makes them)."""

PLACES = ("dev", "etc", "home", "mnt", "proc", "root", "run", "sys", "tmp", "var/tmp")

PASSWD = """\
root:x:0:0:root:/root:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
GROUP = """\
root:x:0:
nogroup:x:65534:
"""


@frozen
class _Alternative:
    link: str
    name: str
    path: str
    priority: int


@define
class Alternatives:
    """Programs of which one of several has the common name (update-alternatives(1))."""

    _best: dict[str, _Alternative] = Factory(dict)

    def read(self, script: str) -> None:
        """Note what the shell script *script* would install, as far as it says so literally."""
        for words in _calls(script):
            try:
                start = words.index("--install")
                link, name, path, priority = words[start + 1 : start + 5]
                self._note(_Alternative(link, name, path, int(priority)))
                rest = words[start + 5 :]
                while "--slave" in rest:
                    rest = rest[rest.index("--slave") + 1 :]
                    link, name, path = rest[:3]
                    self._note(_Alternative(link, name, path, int(priority)))
            except ValueError:
                continue  # fewer words, or a variable for the priority

    def _note(self, found: _Alternative) -> None:
        if any("$" in one for one in (found.link, found.name, found.path)) or "/" in found.name:
            return
        best = self._best.get(found.name)
        if best is None or found.priority > best.priority:
            self._best[found.name] = found

    def links(self) -> Iterator[tuple[str, str]]:
        """Links to make, and what each points to."""
        for found in self._best.values():
            yield f"/etc/alternatives/{found.name}", found.path
            yield found.link, f"/etc/alternatives/{found.name}"


def _calls(script: str) -> Iterator[list[str]]:
    """The words of each call of update-alternatives."""
    joined = re.sub(r"\\\n", " ", script)
    for line in joined.splitlines():
        if "update-alternatives" not in line:
            continue
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            continue  # a quote that ends on another line
        if any(word.endswith("update-alternatives") for word in words):
            # "; then" and "|| true" end a call
            yield [word.rstrip(";") for word in words]


def prepare_root(root: str) -> None:
    """Make *root*, with the links into /usr that packages rely on."""
    os.mkdir(root, 0o755)
    for name in MERGED:
        os.makedirs(os.path.join(root, "usr", name), mode=0o755, exist_ok=True)
        os.symlink(f"usr/{name}", os.path.join(root, name))


def settle_root(root: str, alternatives: Alternatives) -> None:
    """Do what the scripts of the packages would have done and programs rely on."""
    for name in MERGED:
        directory = _inside(root, ["usr", name])
        if directory is not None and not os.listdir(directory):
            os.rmdir(directory)
            os.unlink(os.path.join(root, name))
    # A package may have put a link to anywhere in the place of any of them.
    for place in PLACES:
        _inside(root, place.split("/"))
    for link, to in alternatives.links():
        _make_link(root, link, to)
    etc = _inside(root, ["etc"])
    if etc is not None:
        _write_absent(etc, "passwd", _template(root, "passwd") or PASSWD)
        _write_absent(etc, "group", _template(root, "group") or GROUP)
    _gather_certificates(root)


def _template(root: str, name: str) -> str:
    return _text(os.path.join(root, f"usr/share/base-passwd/{name}.master"))


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", opener=_no_links) as file:
            return file.read()
    except OSError:
        return ""


def _no_links(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)


def _make_link(root: str, link: str, to: str) -> None:
    """Make the link *link* of the file system *root* unless something is there."""
    parts = [part for part in link.split("/") if part]
    if not parts or ".." in parts or parts[-1] == ".":
        return
    directory = _inside(root, parts[:-1])
    if directory is None:
        return
    place = os.path.join(directory, parts[-1])
    if not os.path.lexists(place):
        os.symlink(to, place)


def _inside(root: str, parts: list[str]) -> str | None:
    """The directory *parts* of *root*, made if absent; None if a link but those into /usr is on
    the way."""
    path = root
    for number, part in enumerate(parts):
        path = os.path.join(path, part)
        if os.path.islink(path):
            if number or part not in MERGED or os.readlink(path) != f"usr/{part}":
                return None
            path = os.path.join(root, "usr", part)
        if not os.path.lexists(path):
            os.mkdir(path, 0o755)
        if not os.path.isdir(path) or os.path.islink(path):
            return None
    return path


def _write_absent(directory: str, name: str, text: str) -> None:
    path = os.path.join(directory, name)
    if not os.path.lexists(path):
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o644)


def _gather_certificates(root: str) -> None:
    """The one file with all certificates, as update-ca-certificates(8) makes it."""
    source = os.path.join(os.path.realpath(root), "usr/share/ca-certificates")
    if os.path.realpath(source) != source:
        return
    found = []
    for parent, _, names in os.walk(source):
        for name in sorted(names):
            if name.endswith(".crt"):
                found.append(_text(os.path.join(parent, name)).rstrip("\n") + "\n")
    directory = _inside(root, ["etc", "ssl", "certs"]) if found else None
    if directory is not None:
        _write_absent(directory, "ca-certificates.crt", "".join(found))
