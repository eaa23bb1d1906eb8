"""Row 12: code that is loaded late, from a hostile root (Docker CVE-2019-14271).

A process that has joined a container and then needs a codec, a name service or a library finds
the container's.  What an excursion needs is loaded before, or is of the host's standard library,
which comes with it (row 44); what is neither is not found.
"""

from __future__ import annotations

import codecs
import encodings
import importlib.machinery
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from pycontainer import (
    NAMESPACES,
    bind,
    call_with_container,
    container_excursion,
    start_container,
)
from pycontainer._native import lib

PLANTED = """
import builtins
builtins.planted = True
open("/tmp/planted", "a").write(__name__ + "\\n")
def getregentry():
    raise LookupError("planted")
"""

LIBRARY = r"""
#include <fcntl.h>
#include <unistd.h>
__attribute__((constructor)) static void planted(void)
{
    int fd = open("/tmp/planted", O_WRONLY | O_CREAT | O_APPEND, 0600);
    (void)!write(fd, NAME "\n", sizeof(NAME));
    close(fd);
}
"""

# Where the loader looks without a cache, and where Debian and others put their libraries.
LIBRARY_PLACES = (
    "/lib",
    "/usr/lib",
    "/lib64",
    "/usr/lib64",
    f"/lib/{os.uname().machine}-linux-gnu",
    f"/usr/lib/{os.uname().machine}-linux-gnu",
)
MODULES = (
    "_strptime", "colorsys", "encodings/cp1140", "encodings/idna", "encodings/planted", "evil",
    "locale", "stringprep",
)  # fmt: skip
SWITCH = """
passwd: evil [NOTFOUND=continue] files
group: evil files
shadow: evil files
initgroups: evil files
hosts: evil files dns
networks: evil files
services: evil files
protocols: evil files
rpc: evil files
ethers: evil files
netgroup: evil files
aliases: evil files
"""


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    """Hostile libraries that say so when they are loaded, by name."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("a C compiler is needed to make a hostile library")
    directory = tmp_path_factory.mktemp("libraries")
    (directory / "evil.c").write_text(LIBRARY)
    names = [f"libnss_{name}.so.2" for name in services_of_the_host() | {"evil", "db", "nis"}]
    # Loaded by the C library itself when a thread is cancelled, and for a name that is not ASCII.
    names += ["libgcc_s.so.1", "libidn2.so.0"]
    # Needed by modules of the standard library.
    names += ["libffi.so.8", "libffi.so.7", "libm.so.6", "libcrypto.so.3", "libuuid.so.1"]
    made = {}
    for name in names:
        library = directory / name
        subprocess.run(
            [compiler, "-shared", "-fPIC", f'-DNAME="{name}"', f"-Wl,-soname,{name}",
             str(directory / "evil.c"), "-o", str(library)],
            check=True,
        )  # fmt: skip
        made[name] = library.read_bytes()
    return made


def services_of_the_host():
    """What nsswitch.conf of the host names, installed or not."""
    found: set[str] = set()
    try:
        lines = Path("/etc/nsswitch.conf").read_text().splitlines()
    except OSError:
        return found
    for line in lines:
        words = line.partition("#")[0].partition(":")[2].split()
        found |= {word for word in words if word.isalnum()}
    return found - {"files", "dns"}


@pytest.fixture(scope="module")
def root(libraries):
    """The files of a container, all of them traps."""
    root = Path(tempfile.mkdtemp(prefix="traps-"))
    root.chmod(0o755)
    for name in ("proc", "sys", "dev", "tmp", "etc"):
        (root / name).mkdir()
    (root / "etc/nsswitch.conf").write_text(SWITCH)
    (root / "etc/passwd").write_text("root:x:0:0:of the container:/:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    for place in LIBRARY_PLACES:
        (root / place.lstrip("/")).mkdir(parents=True)
        for name, content in libraries.items():
            (root / place.lstrip("/") / name).write_bytes(content)
    for entry in {str(Path(encodings.__file__).parents[1]), *sys.path}:
        if entry.startswith("/") and not entry.startswith("/tmp"):
            package = root / entry.lstrip("/") / "encodings"
            package.mkdir(parents=True, exist_ok=True)
            (package / "__init__.py").write_text(PLANTED)
            for module in MODULES:
                (package.parent / f"{module}.py").write_text(PLANTED)
    yield root
    shutil.rmtree(root)


@pytest.fixture
def hostile(root):
    with start_container([], rootfs=root) as running:
        yield running


def planted(running):
    """What has run of the container's traps."""

    def fn():
        import builtins
        import os

        seen = ["in this process"] if hasattr(builtins, "planted") else []
        if os.path.exists("/tmp/planted"):
            with open("/tmp/planted") as log:
                seen += log.read().split()
        return seen

    return container_excursion(running, fn)


def visit(running, fn, **options):
    """Make an excursion in which *fn* may well fail."""

    def careful():
        try:
            return "value", repr(fn())
        except Exception as error:
            import builtins

            assert not hasattr(builtins, "planted")
            return type(error).__name__, str(error)

    return container_excursion(running, careful, timeout=20, **options)


def test_codec(hostile):
    assert visit(hostile, lambda: codecs.lookup("planted"))[0] == "LookupError"
    assert visit(hostile, lambda: "e".encode("cp1140")) == ("value", repr(b"\x85"))
    assert planted(hostile) == []


def test_codec_that_is_loaded(hostile):
    name = visit(hostile, lambda: "e".encode("cp1140"), preload=["encodings.cp1140"])
    assert name == ("value", repr(b"\x85"))
    assert planted(hostile) == []


def test_decoding_of_output(hostile):
    """Streams and file names have their codecs already."""

    def fn():
        with open("/tmp/ä", "w") as out:
            out.write("ä")
        return os.listdir("/tmp"), os.fsencode("ä"), str(b"\xe4", "latin-1")

    assert visit(hostile, fn)[0] == "value"
    assert planted(hostile) == []


def test_parsing_of_times(hostile):
    """time.strptime() imports _strptime, which imports locale."""
    kind, said = visit(hostile, lambda: time.strptime("2024", "%Y"))
    assert kind == "value", said
    kind, said = visit(hostile, lambda: time.strptime("2024", "%Y"), preload=["_strptime"])
    assert kind == "value", said
    assert planted(hostile) == []


def test_import_of_the_standard_library(hostile):
    """What is imported is the host's, whatever lies in the container at the same place."""

    def fn():
        import colorsys

        return colorsys.rgb_to_hsv(1, 0, 0)

    assert visit(hostile, fn) == ("value", repr((0.0, 1.0, 1)))
    assert planted(hostile) == []


def test_container_has_its_own_files_first(root):
    """A function that lives in a container is its own master there, unlike one that visits."""

    def fn():
        import builtins
        import colorsys

        return hasattr(builtins, "planted"), colorsys.__file__

    by, file = call_with_container([], fn, rootfs=root, writable_root=False)
    assert by
    assert file.endswith("/colorsys.py")


def test_shared_library_with_needs(hostile):
    """_ctypes needs libffi, which the loader would look for in the container."""

    def fn():
        import _ctypes

        return _ctypes.__file__

    kind, _ = visit(hostile, fn)
    assert kind in ("ModuleNotFoundError", "value")  # built in, or with libffi in it
    assert planted(hostile) == []


def test_shared_library_by_a_proc_that_lies(libraries, tmp_path):
    """Where the container's /proc says that the standard library is, there are traps."""
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    stdlib = Path(encodings.__file__).parents[1]
    there = stdlib / "lib-dynload" / f"_lsprof{suffix}"
    (tmp_path / there.name).write_bytes(libraries["libnss_evil.so.2"])
    place = f"/proc/self/fd/{lib.PC_FD_STDLIB}"
    mounts = [bind(stdlib, place), bind(tmp_path, f"{place}/lib-dynload")]

    def fn():
        import _lsprof

        return hasattr(_lsprof, "Profiler"), os.path.exists("/tmp/planted")

    with start_container(mounts, namespaces=NAMESPACES - {"pid"}) as running:
        assert visit(running, fn) == ("value", "(True, False)")
        listing = container_excursion(running, lambda: os.listdir(f"{place}/lib-dynload"))
    assert listing == [there.name]


@pytest.mark.parametrize("module", ["evil", "encodings.planted"])
def test_import(hostile, module):
    kind, said = visit(hostile, lambda: __import__(module))
    assert kind == "ModuleNotFoundError"
    assert "not loaded" in said
    assert planted(hostile) == []


def test_import_through_machinery_of_ones_own(hostile):
    """The ways around sys.meta_path that a library may take without thinking."""

    def fn():
        import importlib

        found = []
        for attempt in (
            lambda: importlib.import_module("evil"),
            lambda: importlib.util.find_spec("evil"),
            lambda: importlib.reload(sys.modules["encodings"]),
        ):
            try:
                found.append(attempt() is None)
            except ImportError:
                found.append(True)
        return found

    visit(hostile, fn, preload=["importlib.util"])
    assert planted(hostile) == []


NAMES = {
    "getpwnam": "__import__('pwd').getpwnam('nobody-at-all')",
    "getpwuid": "__import__('pwd').getpwuid(4242)",
    "getpwall": "__import__('pwd').getpwall()",
    "getgrnam": "__import__('grp').getgrnam('nobody-at-all')",
    "getgrouplist": "__import__('os').getgrouplist('nobody-at-all', 0)",
    "getaddrinfo": "socket.getaddrinfo('nobody.invalid', 80)",
    "getaddrinfo, service": "socket.getaddrinfo('localhost', 'http')",
    "getaddrinfo, IDN": "socket.getaddrinfo('b\\u00fccher.invalid'.encode(), 80, flags=0x40)",
    "gethostbyname": "socket.gethostbyname('nobody.invalid')",
    "gethostbyaddr": "socket.gethostbyaddr('127.0.0.9')",
    "getfqdn": "socket.getfqdn()",
    "getservbyname": "socket.getservbyname('nothing')",
    "getservbyport": "socket.getservbyport(1)",
    "getprotobyname": "socket.getprotobyname('nothing')",
    "getnameinfo": "socket.getnameinfo(('127.0.0.1', 1), 0)",
    "expanduser": "__import__('os').path.expanduser('~nobody-at-all')",
}


@pytest.mark.parametrize("name", NAMES)
def test_name_service(hostile, name):
    text = NAMES[name]
    visit(hostile, lambda: eval(text), preload=["pwd", "grp", "socket"])
    assert socket  # a name of this module's, so that fn has it too
    assert planted(hostile) == []


def test_name_service_of_the_containers_own_files(hostile):
    """The container's own files do answer: they are data, and what the visitor came for."""
    import pwd

    row = container_excursion(hostile, lambda: pwd.getpwuid(0).pw_gecos, preload=["pwd"])
    assert row == "of the container"


def test_threads(hostile):
    """Ended in every way: the C library loads libgcc_s for a cancelled one."""

    def fn():
        import _thread
        import threading

        workers = [threading.Thread(target=target) for target in (int, _thread.exit, sys.exit)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return len(workers)

    assert visit(hostile, fn, preload=["threading"]) == ("value", "3")
    assert planted(hostile) == []


def test_locale(hostile):
    def fn():
        import locale

        for name in ("", "C.UTF-8", "de_DE.UTF-8", "ru_RU.KOI8-R"):
            try:
                locale.setlocale(locale.LC_ALL, name)
            except locale.Error:
                pass
        return locale.localeconv()["decimal_point"], time.strftime("%A")

    assert visit(hostile, fn, preload=["locale"])[0] == "value"
    assert planted(hostile) == []


def test_traps_do_work(hostile):
    """What an excursion gives up, by hand: the traps are where they would be found."""
    from importlib.machinery import FileFinder, PathFinder, SourceFileLoader

    paths = [str(Path(encodings.__file__).parents[1])]

    def fn():
        import ctypes

        sys.path[:] = paths
        sys.meta_path[:] = [PathFinder]
        sys.path_hooks[:] = [FileFinder.path_hook((SourceFileLoader, [".py"]))]
        __import__("evil")
        ctypes.CDLL("libnss_evil.so.2")
        del __import__("builtins").planted

    assert visit(hostile, fn, preload=["ctypes", "importlib.machinery"]) == ("value", "None")
    assert planted(hostile) == ["evil", "libnss_evil.so.2"]
