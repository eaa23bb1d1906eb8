"""An image of the OCI image layout, its layers laid over each other into one root file system.

https://github.com/opencontainers/image-spec: image-layout.md, image-index.md, manifest.md,
config.md, layer.md.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any

from attrs import frozen

from ..cache import Cache, key_of
from ..software import OciImage, Progress, Software, SoftwareError
from .rootfs import system_paths

__all__ = ["provide"]

ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "i686": "386",
    "ppc64le": "ppc64le",
    "riscv64": "riscv64",
    "s390x": "s390x",
}
"""The machine as uname(2) has it → as Go has it, whose names images use."""

INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
NAME = "org.opencontainers.image.ref.name"
DOCUMENT_MAX = 4 << 20  # registries refuse manifests beyond that
DIGEST = re.compile(r"(sha256):([0-9a-f]{64})|(sha512):([0-9a-f]{128})")


def provide(request: OciImage, *, cache: Cache | None, progress: Progress | None) -> Software:
    """The root file system of the image, with its environment and working directory."""
    layout = _Layout.of(request.path)
    manifest_digest, manifest = layout.manifest()
    config = layout.document(_descriptor(manifest.get("config"), layout))
    layers = [_descriptor(one, layout) for one in _list(manifest.get("layers"))]
    what = layout.what
    cache = Cache() if cache is None else cache

    settings = config.get("config")
    settings = settings if isinstance(settings, dict) else {}
    start = os.path.join("/", str(settings.get("WorkingDir") or "/"))

    def make(directory: str) -> None:
        _unpack(layout, layers, os.path.join(directory, "root"), start, progress)

    key = key_of(1, manifest_digest)
    entry = cache.entry("oci-image", key, make, what=what, progress=progress)
    root = os.path.join(entry, "root")
    env = dict(str(one).partition("=")[::2] for one in _list(settings.get("Env")))
    path = env.pop("PATH", "")
    return Software(
        label=layout.label,
        rootfs=root,
        env=env,
        search_paths={"PATH": path.split(":")} if path else system_paths(root),
        cwd=start if start != "/" else None,
    )


@frozen
class _Descriptor:
    """Where something is, by its digest."""

    digest: str
    size: int
    media_type: str

    @property
    def algorithm(self) -> str:
        return self.digest.partition(":")[0]


@frozen
class _Layout:
    directory: str
    name: str | None  # which image of several

    @staticmethod
    def of(path: str) -> _Layout:
        """DIR, or DIR:NAME."""
        name = None
        if not os.path.isdir(path) and ":" in os.path.basename(path):
            path, _, name = path.rpartition(":")
        if not os.path.isdir(path):
            hint = ""
            if os.path.isfile(path):
                hint = f"; unpack it first: mkdir image && tar -xf {path} -C image"
            raise SoftwareError(f"oci-image {path} is not a directory{hint}")
        if not os.path.isfile(os.path.join(path, "index.json")):
            raise SoftwareError(
                f"oci-image {path} is no OCI image layout: it has no index.json; `skopeo copy "
                "docker://IMAGE oci:DIRECTORY` makes one"
            )
        return _Layout(path, name)

    @property
    def what(self) -> str:
        return f"oci-image {self.directory}" + (f":{self.name}" if self.name else "")

    @property
    def label(self) -> str:
        return self.name or os.path.basename(self.directory)

    def wrong(self, words: str) -> SoftwareError:
        return SoftwareError(f"{self.what}: {words}")

    def open(self, descriptor: _Descriptor) -> Any:
        from ..archives import Digesting, open_regular

        path = os.path.join(self.directory, "blobs", *descriptor.digest.split(":"))
        if not os.path.exists(path):
            raise self.wrong(f"the blob {descriptor.digest} is missing; copy the image again")
        return Digesting(open_regular(path), descriptor.algorithm)

    def check(self, descriptor: _Descriptor, blob: Any) -> None:
        """*blob* has been read; it must be what the descriptor says."""
        found = f"{descriptor.algorithm}:{blob.hexdigest()}"
        if found != descriptor.digest or blob.size != descriptor.size:
            raise self.wrong(
                f"the blob {descriptor.digest} of {descriptor.size} bytes has the digest {found} "
                f"and {blob.size} bytes: it is damaged or was changed; copy the image again"
            )

    def document(self, descriptor: _Descriptor) -> dict[str, Any]:
        """A blob of JSON."""
        if descriptor.size > DOCUMENT_MAX:
            raise self.wrong(f"{descriptor.digest} is too large for a document")
        blob = self.open(descriptor)
        text = blob.read(DOCUMENT_MAX + 1)
        self.check(descriptor, blob)
        return self.parsed(text, descriptor.digest)

    def parsed(self, text: bytes, name: str) -> dict[str, Any]:
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self.wrong(f"{name} is no JSON: {error}") from error
        if not isinstance(document, dict):
            raise self.wrong(f"{name} is not an object of JSON")
        return document

    def manifest(self) -> tuple[str, dict[str, Any]]:
        """The manifest for this machine, and its digest."""
        with open(os.path.join(self.directory, "index.json"), "rb") as file:
            index = self.parsed(file.read(DOCUMENT_MAX), "index.json")
        entries = [one for one in _list(index.get("manifests")) if isinstance(one, dict)]
        if self.name is not None:
            names = [_name(one) for one in entries]
            if self.name not in names:
                raise self.wrong(f"there is no image of that name; there are {', '.join(names)}")
            entries = [one for one, name in zip(entries, names, strict=True) if name == self.name]
        candidates = list(self._for_this_machine(entries, 3))
        if not candidates:
            raise self.wrong(f"no image in it is for linux/{_architecture()}")
        if len({one.digest for one in candidates}) > 1:
            names = [_name(one) for one in entries]
            raise self.wrong(
                f"several images in it are for this machine; name one: {self.directory}:NAME, of "
                + ", ".join(names)
            )
        return candidates[0].digest, self.document(candidates[0])

    def _for_this_machine(self, entries: list[Any], depth: int) -> Iterator[_Descriptor]:
        for entry in entries:
            if isinstance(entry, dict) and not _fits(entry.get("platform")):
                continue
            descriptor = _descriptor(entry, self)
            if descriptor.media_type not in INDEXES:
                yield descriptor
            elif depth:
                inner = _list(self.document(descriptor).get("manifests"))
                yield from self._for_this_machine(inner, depth - 1)


def _architecture() -> str:
    machine = os.uname().machine
    return ARCHITECTURES.get(machine, machine)


def _list(given: Any) -> list[Any]:
    """*given*, if it is the list that it should be."""
    return given if isinstance(given, list) else []


def _name(entry: dict[str, Any]) -> str:
    """The name of an image among several."""
    annotations = entry.get("annotations")
    return str(annotations.get(NAME)) if isinstance(annotations, dict) else "None"


def _fits(platform: Any) -> bool:
    if not isinstance(platform, dict) or not platform:
        return True
    return (platform.get("os"), platform.get("architecture")) == ("linux", _architecture())


def _descriptor(given: Any, layout: _Layout) -> _Descriptor:
    """*given*, checked: its digest becomes part of a path."""
    digest = given.get("digest") if isinstance(given, dict) else None
    size = given.get("size") if isinstance(given, dict) else None
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest) or not isinstance(size, int):
        raise layout.wrong(f"{digest!r} is no digest that an image may have")
    return _Descriptor(digest, size, str(given.get("mediaType", "")))


def _unpack(
    layout: _Layout, layers: list[_Descriptor], root: str, start: str, progress: Progress | None
) -> None:
    from ..archives import open_archive
    from ..unpacking import Unpacker

    told = None if progress is None else lambda done: progress(layout.what, done, None)
    os.mkdir(root, 0o755)
    unpacker = Unpacker(root, layout.what, whiteouts=True, told=told)
    for layer in layers:
        blob = layout.open(layer)
        with open_archive(blob) as archive:
            unpacker.unpack(archive)
        layout.check(layer, blob)
    unpacker.make_directory(start)  # as container engines do where no layer has it
    unpacker.finish()
