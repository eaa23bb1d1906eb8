"""Prefixes: their own files, and of a store all that they refer to, and no more."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer.declare.arrangement import place_of
from pycontainer.declare.container import Container
from pycontainer.shell import Profile, SoftwareError, provide, shell_container
from pycontainer.shell.providers import profile

HASH = "0123456789abcdfghijklmnpqrsvwx{:02}"  # 32 characters of the stores' alphabet


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store of this test's."""
    directory = tmp_path / "store"
    directory.mkdir()
    monkeypatch.setattr(profile, "STORES", (str(directory),))
    monkeypatch.setenv("PATH", "/nowhere")  # no nix-store, no guix
    return directory


def item(store, number, name, files):
    """An item: files by their path; a content that begins with "-> " is a link."""
    place = store / f"{HASH.format(number)}-{name}"
    for path, content in files.items():
        file = place / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str) and content.startswith("-> "):
            file.symlink_to(content[3:])
        else:
            file.write_bytes(content if isinstance(content, bytes) else content.encode())
            file.chmod(0o755)
    return place


@pytest.fixture
def software(store, tmp_path, program):
    """A profile as Guix and Nix have them, and what it needs."""
    data = item(store, 1, "greeting-2.0", {"greeting": "of a store"})
    unused = item(store, 2, "greeting-1.0", {"greeting": "of nothing"})
    greet = item(
        store,
        3,
        "greet-1.0",
        {"bin/real-greet": program, "share/doc/greet": f"\0\0{data}/greeting\0", "lib/a": "b"},
    )
    made = item(
        store,
        4,
        "profile",
        {
            "bin/greet": f"-> {greet}/bin/real-greet",
            "share/man/man1/greet.1": "",
            "lib/pkgconfig/greet.pc": "",
            "etc/profile": (
                "# Source this file.\n"
                f'export PATH="${{GUIX_PROFILE:-{store}/x-profile}}/bin${{PATH:+:}}$PATH"\n'
                f'export WORDS="${{GUIX_PROFILE:-{store}/x}}/share${{WORDS:+:}}$WORDS"\n'
                f'export GREETING_FILE="${{GUIX_PROFILE:-{store}/x}}/etc/greeting"\n'
                'export ODD="$(id)"\n'
            ),
        },
    )
    return {"data": data, "unused": unused, "greet": greet, "profile": made}


def places(one):
    return {place_of(item) for item in Container(one.mounts).mounts}


def test_closure_and_nothing_else(software, cache):
    found = provide(Profile(software["profile"]), cache=cache)
    assert places(found) == {str(software[name]) for name in ("profile", "greet", "data")}
    assert found.label == software["profile"].name


def test_program_of_a_profile(software, cache, tmp_path):
    link = tmp_path / ".guix-profile"
    link.symlink_to(software["profile"])
    found = provide(Profile(link), cache=cache)
    assert found.label == "guix-profile"
    done = pc.run_command(
        shell_container(found, cwd=None),
        ["greet", f"{software['data']}/greeting"],
        stdout=pc.PIPE,
        text=True,
    )
    assert done.stdout == "greeting of a store\n"


def test_variables_of_a_profile(software, cache):
    found = provide(Profile(software["profile"]), cache=cache)
    prefix = str(software["profile"])
    assert found.search_paths == {
        "PATH": (f"{prefix}/bin",),
        "WORDS": (f"{prefix}/share",),
        "MANPATH": (f"{prefix}/share/man",),
        "XDG_DATA_DIRS": (f"{prefix}/share",),
        "PKG_CONFIG_PATH": (f"{prefix}/lib/pkgconfig",),
    }
    assert found.env == {"GREETING_FILE": f"{prefix}/etc/greeting"}


def test_closure_is_looked_for_once(software, cache, monkeypatch):
    first = provide(Profile(software["profile"]), cache=cache)

    def refuse(*_):
        raise AssertionError("looked for again")

    monkeypatch.setattr(profile, "_scanned", refuse)
    assert provide(Profile(software["profile"]), cache=cache) == first


def test_item_that_is_gone(software, cache):
    provide(Profile(software["profile"]), cache=cache)
    subprocess.run(["/bin/rm", "-r", software["data"]], check=True)
    with pytest.raises(SoftwareError, match=r"refers to .*greeting-2\.0, which is gone"):
        provide(Profile(software["profile"]), cache=cache)


@pytest.mark.parametrize("works", [True, False])
def test_what_the_store_itself_says(store, cache, tmp_path, monkeypatch, software, works):
    """nix-store is asked when it is there, and not believed when it fails."""
    monkeypatch.setattr(profile, "_NIX", f"{store}/")
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "nix-store").write_text(
        f'#!/bin/sh\necho "$2"\necho {software["unused"]}\nexit {0 if works else 1}\n'
    )
    (programs / "nix-store").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/bin:/usr/bin")
    found = places(provide(Profile(software["profile"]), cache=cache))
    expected = {"profile", "unused"} if works else {"profile", "greet", "data"}
    assert found == {str(software[name]) for name in expected}


def test_prefix_of_its_own(tmp_path, cache, program, store):
    prefix = tmp_path / "prefix"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin/greet").write_bytes(program)
    (prefix / "bin/greet").chmod(0o755)
    (prefix / "lib").mkdir()
    (prefix / "lib/libgreet.so.1").touch()
    found = provide(Profile(prefix), cache=cache)
    assert found.search_paths["LD_LIBRARY_PATH"] == (f"{prefix}/lib",)
    done = pc.run_command(
        shell_container(found, cwd=None), ["greet"], stdout=pc.PIPE, text=True, check=True
    )
    assert done.stdout == "greeting \n"


def test_prefix_with_a_program_of_the_hosts_libraries(tmp_path, cache):
    prefix = tmp_path / "prefix"
    (prefix / "bin").mkdir(parents=True)
    source = 'int main() { return puts("dynamic") < 0; }'
    command = ["gcc", "-w", "-include", "stdio.h", "-x", "c", "-", "-o", prefix / "bin/say"]
    subprocess.run(command, input=source.encode(), check=True)
    done = pc.run_command(
        shell_container(Profile(prefix), cwd=None, cache=cache), ["say"], stdout=pc.PIPE, text=True
    )
    assert done.stdout == "dynamic\n"


def test_prefix_that_refers_to_a_store(tmp_path, cache, software):
    prefix = tmp_path / "prefix"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin/greet").symlink_to(f"{software['greet']}/bin/real-greet")
    found = places(provide(Profile(prefix), cache=cache))
    assert {str(software["greet"]), str(software["data"])} <= found
    assert str(software["unused"]) not in found


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda place: None, "does not exist"),
        (lambda place: place.touch(), "is not a directory"),
        (lambda place: place.mkdir(), "has no bin, lib or share"),
        (lambda place: place.symlink_to("/usr"), "is the host itself"),
    ],
)
def test_what_is_no_profile(tmp_path, cache, make, message):
    make(tmp_path / "place")
    with pytest.raises(SoftwareError, match=message):
        provide(Profile(tmp_path / "place"), cache=cache)


def test_hashes_across_a_file(tmp_path):
    file = tmp_path / "file"
    reference = HASH.format(7)
    file.write_bytes(b"x" * 5000 + f"aaaa{reference}-name".encode() + b"y" * 5000)
    assert list(profile._hashes_in(str(file))) == [reference.encode()]
    (tmp_path / "empty").touch()
    assert list(profile._hashes_in(str(tmp_path / "empty"))) == []
    os.mkfifo(tmp_path / "fifo")
    assert list(profile._hashes_below(str(tmp_path))) == [reference.encode()]
    assert Path(tmp_path, "fifo").is_fifo()


def test_a_prefix_with_a_backslash(tmp_path):
    place = tmp_path / r"profile\1"
    (place / "bin").mkdir(parents=True)
    (place / "etc").mkdir()
    (place / "etc/profile").write_text('export WHERE="${GUIX_PROFILE:-/x}/etc"\n')
    assert provide(Profile(place)).env == {"WHERE": f"{place}/etc"}
