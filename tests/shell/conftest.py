from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pycontainer.shell import Cache
from pycontainer.shell.cache import remove_tree

Member = tuple[str, Any]

LAYER = "application/vnd.oci.image.layer.v1.tar"

PROGRAM = """
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv) {
    char line[200] = "";
    FILE *file = fopen(argc > 1 ? argv[1] : "/etc/greeting", "r");
    if (file) fgets(line, sizeof line, file);
    printf("greeting %s%s\\n", line, getenv("GREETING") ? getenv("GREETING") : "");
    return 0;
}
"""


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture(scope="session")
def session_directory() -> Iterator[Path]:
    """For what is made or fetched once in a run."""
    folder = Path(tempfile.mkdtemp(prefix="pytest-container-"))
    folder.chmod(0o755)
    yield folder
    remove_tree(str(folder))


@pytest.fixture(scope="session", autouse=True)
def no_cache_of_the_users(session_directory: Path) -> Iterator[None]:
    """What is kept between starts is kept below a directory of the run's."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(session_directory / "cache")
    yield
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture(scope="session")
def program(session_directory: Path) -> bytes:
    """A program without libraries that says "greeting", a file's first line and a variable."""
    path = session_directory / "greeting"
    subprocess.run(
        ["gcc", "-static", "-Os", "-s", "-x", "c", "-", "-o", path],
        input=PROGRAM.encode(),
        check=True,
    )
    return path.read_bytes()


def _tar_of(members: Iterable[Member], mode: str = "w") -> bytes:
    """A tar archive.

    A member is a name and: bytes (a file), None (a directory), "-> to" (a link), "= to" (a hard
    link), or a dict of attributes of TarInfo.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.mode = 0o755
            data = b""
            if isinstance(content, dict):
                data = content.pop("data", b"")
                for key, value in content.items():
                    setattr(info, key, value)
            elif content is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(content, bytes):
                data = content
            elif content.startswith("-> "):
                info.type, info.linkname = tarfile.SYMTYPE, content[3:]
            else:
                info.type, info.linkname = tarfile.LNKTYPE, content[2:]
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture(scope="session")
def tar_of() -> Callable[..., bytes]:
    return _tar_of


@pytest.fixture(scope="session")
def small_system(program: bytes) -> list[Member]:
    """The members of a root file system with one program."""
    return [
        ("./", None),
        ("./usr/bin/greet", program),
        ("./bin", "-> usr/bin"),
        ("./etc/greeting", b"from a file"),
        ("./tmp", {"type": tarfile.DIRTYPE, "mode": 0o1777}),
        ("./proc", None),
        ("./dev", None),
        ("./sys", None),
    ]


class Layout:
    """A directory of the OCI image layout, made by hand."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "blobs/sha256").mkdir(parents=True)
        (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def blob(self, content: bytes | dict[str, Any], media_type: str = "", **more: Any) -> Any:
        """Keep a blob; its descriptor."""
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        digest = hashlib.sha256(data).hexdigest()
        (self.directory / "blobs/sha256" / digest).write_bytes(data)
        return {
            "mediaType": media_type,
            "digest": f"sha256:{digest}",
            "size": len(data),
            **more,
        }

    def image(self, layers: Iterable[bytes], config: Any = None, **more: Any) -> Any:
        """Keep an image; the descriptor of its manifest."""
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": self.blob({"config": config or {}}),
            "layers": [
                self.blob(layer, "application/vnd.oci.image.layer.v1.tar") for layer in layers
            ],
        }
        return self.blob(manifest, manifest["mediaType"], **more)

    def index(self, *manifests: Any) -> Path:
        """Write the index; the layout's directory."""
        index = {"schemaVersion": 2, "manifests": list(manifests)}
        (self.directory / "index.json").write_text(json.dumps(index))
        return self.directory

    def path(self, descriptor: Any) -> Path:
        return self.directory / "blobs" / descriptor["digest"].replace(":", "/")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "image")


@pytest.fixture(scope="session")
def run_script() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a Python script in a process of its own, behind a prefix such as unshare."""
    import sys

    def run(
        script: str, *arguments: Any, prefix: Iterable[str] = (), **env: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*prefix, sys.executable, "-c", script, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **env},
        )

    return run


class Registry:
    """An HTTP server on this machine, which can be told to leave a request waiting.

    Attributes:
        directory: what it serves.
        asked: the paths that have been asked for, in order.
        stalling: the end of the paths whose second half does not come while this is set.
        stalled: set when such a one has been asked for.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.asked: list[str] = []
        self.stalling = ""
        self.stalled = threading.Event()
        self.released = threading.Event()
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry._answer(self)

            do_HEAD = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def _answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        path = handler.path.split("?")[0]
        if handler.command == "GET":
            self.asked.append(path)
        place = self.directory / path.strip("/")
        if place.is_dir():
            place /= "index.html"
        if not place.is_file():
            handler.send_error(404)
            return
        content = place.read_bytes()
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html" if place.suffix == ".html" else "file/file")
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        if handler.command == "HEAD":
            return
        half = len(content) // 2
        try:
            handler.wfile.write(content[:half])
            if self.stalling and path.endswith(self.stalling):
                self.stalled.set()
                self.released.wait(60)
            handler.wfile.write(content[half:])
        except OSError:
            pass  # whoever asked has gone

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    directory = tmp_path / "registry"
    directory.mkdir()
    served = Registry(directory)
    yield served
    served.close()


@pytest.fixture(scope="session")
def small_disk() -> Callable[..., list[str]]:
    """A prefix for a command: it gets a file system of *size* at *place*, which ends with it."""

    def prefix(place: Path, size: str) -> list[str]:
        place.mkdir()
        mount = f'mount -t tmpfs -o size={size},mode=0700 tmpfs "{place}" && exec "$@"'
        user = [] if os.geteuid() == 0 else ["--user", "--map-current-user", "--keep-caps"]
        return ["unshare", *user, "--mount", "sh", "-c", mount, "sh"]

    return prefix


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts processes, and ends those that a test leaves."""
    running: list[subprocess.Popen[str]] = []

    def start(*arguments: Any, **options: Any) -> subprocess.Popen[str]:
        running.append(subprocess.Popen(*arguments, **options))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()
