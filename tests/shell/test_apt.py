"""Debian packages: resolved and verified by apt, unpacked by us, with nothing of them run."""

from __future__ import annotations

import gzip
import hashlib
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer.shell import Apt, Pip, SoftwareError, provide, shell_container
from pycontainer.shell.providers.debian_root import Alternatives, prepare_root, settle_root

PROVIDE = """
import sys
from pycontainer.shell import Apt, Cache, SoftwareError, provide
try:
    print(provide(Apt(sys.argv[2]), cache=Cache(sys.argv[1])).label)
except SoftwareError as error:
    print("SoftwareError:", error)
"""

ARCHITECTURE = subprocess.run(
    ["dpkg", "--print-architecture"], capture_output=True, text=True, check=True
).stdout.strip()

SCRIPT = """#!/bin/sh
set -e
touch "{victim}" /ran
if [ "$1" = configure ]; then
    update-alternatives --install /usr/bin/hi hi /usr/bin/greet 10 \\
        --slave /usr/share/hi.txt hi.txt /etc/greeting || true
fi
"""


class Repository:
    """A flat repository of a registry (sources.list(5)), and its packages."""

    def __init__(self, registry, workshop):
        self.registry = registry
        self.workshop = workshop
        self.index = ""

    def add(self, name, version, files, *, depends="", script=""):
        """Offer a package; files are names and contents, or functions that make them."""
        tree = self.workshop / f"{name}-{version}"
        control = tree / "DEBIAN"
        control.mkdir(parents=True)
        fields = {
            "Package": name,
            "Version": version,
            "Architecture": ARCHITECTURE,
            "Maintainer": "Nobody <nobody@localhost>",
            "Description": "for a test",
        }
        if depends:
            fields["Depends"] = depends
        text = "".join(f"{key}: {value}\n" for key, value in fields.items())
        (control / "control").write_text(text)
        if script:
            (control / "postinst").write_text(script)
            (control / "postinst").chmod(0o755)
        for path, content in files.items():
            place = tree / path
            place.parent.mkdir(parents=True, exist_ok=True)
            if callable(content):
                content(place)
            else:
                place.write_bytes(content)
                place.chmod(0o755)
        file = self.registry.directory / f"{name}_{version}.deb"
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "-Znone", "-b", tree, file],
            check=True,
            capture_output=True,
        )
        content = file.read_bytes()
        self.index += (
            f"{text}Filename: ./{file.name}\nSize: {len(content)}\n"
            f"SHA256: {hashlib.sha256(content).hexdigest()}\n\n"
        )
        packages = self.registry.directory / "Packages.gz"
        packages.write_bytes(gzip.compress(self.index.encode()))
        return file


@pytest.fixture
def repository(registry, tmp_path, monkeypatch, program):
    """Package sources of this machine, instead of the host's."""
    sources = tmp_path / "sources.list"
    sources.write_text(f"deb [trusted=yes] {registry.url} ./\n")
    conf = tmp_path / "apt.conf"
    conf.write_text(
        f'Dir::Etc::sourcelist "{sources}";\nDir::Etc::sourceparts "/dev/null";\n'
        'Acquire::http::Proxy::127.0.0.1 "DIRECT";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(conf))
    made = Repository(registry, tmp_path / "workshop")
    made.add(
        "greet",
        "1.0",
        {"usr/bin/greet": program, "lib/greet/data": b"data"},
        depends="greeting",
        script=SCRIPT.format(victim=tmp_path / "ran"),
    )
    made.add("greeting", "2.0", {"etc/greeting": b"of a package"})
    return made


def run(software, *command):
    done = pc.run_command(
        shell_container(software, cwd=None), command, stdout=pc.PIPE, text=True, check=True
    )
    return done.stdout.strip()


def entries(cache):
    shelf = Path(cache.directory, "apt")
    return sorted(os.listdir(shelf)) if shelf.exists() else []


def test_program_that_the_host_lacks(session_directory, no_cache_of_the_users):
    """By the host's own sources, over the network."""
    assert not os.path.exists("/usr/bin/hello")
    software = provide(Apt("hello"))
    assert software.label == "hello"
    assert run(software, "hello") == "Hello, world!"
    assert run(software, "sh", "-c", 'cat /etc/debian_version >&2; exec basename "$0"') == "sh"
    root = Path(str(software.rootfs))
    assert (root / "etc/ld.so.cache").exists()
    assert "root:x:0:0:" in (root / "etc/passwd").read_text()
    set_id = [path for path in root.rglob("*") if path.lstat().st_mode & 0o6000]
    assert [path for path in set_id if not path.is_symlink()] == []


def test_package_and_what_it_depends_on(repository, cache, tmp_path):
    software = provide(Apt("greet"), cache=cache)
    assert software.label == "greet"
    assert run(software, "greet") == "greeting of a package"
    assert len(entries(cache)) == 1
    assert not Path(str(software.rootfs)).with_name(".scratch").exists()


def test_scripts_do_not_run_and_alternatives_are_there(repository, cache, tmp_path):
    software = provide(Apt("greet"), cache=cache)
    root = Path(str(software.rootfs))
    assert not (tmp_path / "ran").exists()
    assert not (root / "ran").exists()
    assert os.readlink(root / "usr/bin/hi") == "/etc/alternatives/hi"
    assert run(software, "hi") == "greeting of a package"
    assert os.readlink(root / "usr/share/hi.txt") == "/etc/alternatives/hi.txt"


def test_merged_usr(repository, cache):
    root = Path(str(provide(Apt("greet"), cache=cache).rootfs))
    assert os.readlink(root / "lib") == "usr/lib"
    assert (root / "usr/lib/greet/data").read_bytes() == b"data"
    assert os.readlink(root / "bin") == "usr/bin"


def test_what_a_package_may_not_bring(repository, cache, tmp_path):
    def set_id(place):
        place.write_bytes(b"")
        place.chmod(0o6755)

    def link(place):
        place.symlink_to("/../../../../tmp")

    repository.add("odd", "1", {"usr/bin/odd": set_id, "usr/out": link, "usr/fifo": os.mkfifo})
    root = Path(str(provide(Apt("odd"), cache=cache).rootfs))
    assert stat.S_IMODE((root / "usr/bin/odd").stat().st_mode) == 0o755
    assert not (root / "usr/fifo").exists()


@pytest.mark.parametrize("place", ["etc", "var", "usr", "usr/lib"])
def test_links_in_the_place_of_directories(tmp_path, place):
    """What is made at the end is made in the root and nowhere else."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    prepare_root(str(root))
    for name in ("bin", "lib"):
        (outside / name).mkdir(parents=True)
    if (root / place).exists():
        (root / place).rename(tmp_path / "aside")
    (root / place).symlink_to(outside)
    settle_root(str(root), Alternatives())
    assert sorted(outside.rglob("*")) == [outside / "bin", outside / "lib"]
    assert (root / "tmp").is_dir()


def test_cached_without_network(repository, cache):
    first = provide(Apt(["greet", "greeting"]), cache=cache)
    asked = len(repository.registry.asked)
    repository.registry.close()
    assert provide(Apt(["greeting", "greet"]), cache=cache).rootfs == first.rootfs
    assert len(repository.registry.asked) == asked


def test_together_with_other_software(repository, cache, tmp_path):
    box = shell_container([Apt("greet"), Pip("iniconfig")], cwd=None, cache=cache)
    command = ["python", "-c", "import iniconfig, os; os.execvp('greet', ['greet'])"]
    done = pc.run_command(box, command, stdout=pc.PIPE, text=True)
    assert done.stdout == "greeting of a package\n"


def test_two_at_once_fetch_once(repository, cache, started):
    registry = repository.registry
    registry.stalling = "greet_1.0.deb"
    command = [sys.executable, "-c", PROVIDE, cache.directory, "greet"]
    first = started(command, stdout=subprocess.PIPE, text=True)
    assert registry.stalled.wait(40)
    second = started(command, stdout=subprocess.PIPE, text=True)
    registry.released.set()
    assert first.communicate(timeout=60)[0] == "greet\n"
    assert second.communicate(timeout=60)[0] == "greet\n"
    assert len([path for path in registry.asked if path.endswith("/greet_1.0.deb")]) == 1
    assert len(entries(cache)) == 1


def test_sigkill_during_a_fetch_then_again(repository, cache, started):
    registry = repository.registry
    registry.stalling = "greet_1.0.deb"
    killed = started([sys.executable, "-c", PROVIDE, cache.directory, "greet"])
    assert registry.stalled.wait(40)
    killed.send_signal(signal.SIGKILL)
    killed.wait(60)
    assert all(name.endswith((".new", ".lock")) for name in entries(cache))
    registry.stalling = ""
    registry.released.set()
    assert run(provide(Apt("greet"), cache=cache), "greet") == "greeting of a package"
    (entry,) = entries(cache)
    assert not entry.endswith((".new", ".lock"))


def test_package_that_does_not_exist(repository, cache):
    message = "apt gret: the host's package sources have no package gret; did you mean 'greet'[?]"
    with pytest.raises(SoftwareError, match=message):
        provide(Apt("gret"), cache=cache)
    assert entries(cache) == []


def test_version_that_does_not_exist(repository, cache):
    with pytest.raises(SoftwareError, match=r"apt greet=9: no version 9 of greet; there is 1\.0"):
        provide(Apt("greet=9"), cache=cache)


def test_packages_that_cannot_be_installed(repository, cache):
    repository.add("upper", "1", {}, depends="greet (>= 5)")
    with pytest.raises(SoftwareError, match="cannot be installed together") as caught:
        provide(Apt("upper"), cache=cache)
    assert "greet (>= 5)" in caught.value.__notes__[0]


def test_no_network(repository, cache, tmp_path):
    (tmp_path / "sources.list").write_text("deb [trusted=yes] http://127.0.0.1:9 ./\n")
    with pytest.raises(SoftwareError, match="apt greet: lists of packages: no network: nobody"):
        provide(Apt("greet"), cache=cache)
    assert entries(cache) == []


def test_wrong_digest(repository, cache):
    file = repository.registry.directory / "greet_1.0.deb"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(SoftwareError, match="apt greet: what came is not what its source promises"):
        provide(Apt("greet"), cache=cache)
    assert entries(cache) == []


def test_lists_that_are_older_than_the_packages(repository, cache):
    """What was there this morning has been replaced by a newer version since."""
    provide(Apt("greeting"), cache=cache)
    (repository.registry.directory / "greet_1.0.deb").unlink()
    repository.index = ""
    repository.add("greet", "1.1", {"usr/bin/greet": b"#!/bin/sh\n"})
    root = Path(str(provide(Apt("greet"), cache=cache).rootfs))
    assert (root / "usr/bin/greet").read_bytes() == b"#!/bin/sh\n"


def test_full_disk(repository, small_disk, run_script, tmp_path):
    repository.add("big", "1", {"usr/big": os.urandom(3_000_000)})
    script = PROVIDE + "import os; print(sorted(os.listdir(sys.argv[1] + '/apt')))"
    done = run_script(script, tmp_path / "disk", "big", prefix=small_disk(tmp_path / "disk", "4m"))
    assert "SoftwareError: apt big: no space left in the cache" in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_no_apt(cache, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SoftwareError, match="this host has no apt-get and dpkg-deb"):
        provide(Apt("greet"), cache=cache)


# ---- alternatives, from what scripts say ----


def links(script):
    found = Alternatives()
    found.read(script)
    return dict(found.links())


def test_alternative_of_the_highest_priority():
    found = Alternatives()
    for path, priority in (("/usr/bin/mawk", 5), ("/usr/bin/gawk", 10), ("/bin/busybox", 1)):
        found.read(f"update-alternatives --install /usr/bin/awk awk {path} {priority}\n")
    assert dict(found.links()) == {
        "/etc/alternatives/awk": "/usr/bin/gawk",
        "/usr/bin/awk": "/etc/alternatives/awk",
    }


@pytest.mark.parametrize(
    "script",
    [
        "if update-alternatives --install /usr/bin/vi vi /usr/bin/nvi 20; then",
        "  /usr/sbin/update-alternatives --quiet --install '/usr/bin/vi' vi \"/usr/bin/nvi\" 20;",
        "update-alternatives \\\n --install /usr/bin/vi vi \\\n /usr/bin/nvi 20 || true",
    ],
)
def test_alternatives_in_shell(script):
    assert links(script)["/etc/alternatives/vi"] == "/usr/bin/nvi"


@pytest.mark.parametrize(
    "script",
    [
        "update-alternatives --install $BIN/vi vi /usr/bin/nvi 20",
        "update-alternatives --install /usr/bin/vi vi /usr/bin/nvi $priority",
        "update-alternatives --install /usr/bin/vi ../../vi /usr/bin/nvi 20",
        "update-alternatives --remove vi /usr/bin/nvi",
        "update-alternatives --install /usr/bin/vi",
        "echo 'update-alternatives",
        "# update-alternatives --install /usr/bin/vi vi /usr/bin/nvi 20",
    ],
)
def test_no_alternatives(script):
    assert links(script) == {}
