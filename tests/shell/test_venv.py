"""Virtual environments: what of the host their Python needs, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer.declare.arrangement import place_of
from pycontainer.declare.container import Container
from pycontainer.host import venv
from pycontainer.shell import SoftwareError, Venv, provide, shell_container

INSIDE = sys.prefix != sys.base_prefix


@pytest.fixture
def environment(tmp_path):
    """A virtual environment of the base interpreter, without pip."""

    def environment_(*options, name="env"):
        directory = tmp_path / name
        base = getattr(sys, "_base_executable", sys.executable)
        subprocess.run([base, "-m", "venv", "--without-pip", *options, directory], check=True)
        return directory

    return environment_


def run(software, script):
    """What a script says that the software's own python runs."""
    path = ":".join(software.search_paths["PATH"])
    done = pc.run_command(
        list(software.mounts),
        ["python", "-c", script],
        env={**software.env, "PATH": path},
        stdout=pc.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def places(software):
    return {place_of(item) for item in Container(software.mounts).mounts}


@pytest.mark.skipif(not INSIDE, reason="the tests run outside a virtual environment")
def test_numpy_and_nothing_else():
    """The environment of the tests: its packages are there, the host's programs are not."""
    software = provide(Venv(sys.prefix))
    script = """
import numpy, os, shutil
print(numpy.arange(4).sum(), [shutil.which(name) for name in ("sh", "ls", "gcc", "git")])
print(os.path.exists("/home"), os.path.exists("/root"), os.path.exists("/var"))
print(sorted(os.listdir("/usr/bin")) if os.path.exists("/usr/bin") else [])
"""
    lines = run(software, script).splitlines()
    assert lines[0] == "6 [None, None, None, None]"
    places = ("/home", "/root", "/var")  # one of them may hold the interpreter
    assert lines[1].split() == [str(sys.base_prefix.startswith(f"{one}/")) for one in places]
    assert all("python" in name for name in eval(lines[2]))


def test_standard_library_and_prefix(environment):
    directory = environment()
    software = provide(Venv(directory))
    script = "import ssl, sqlite3, ctypes, json, sys; print(sys.prefix, sys.base_prefix)"
    assert run(software, script) == f"{directory} {sys.base_prefix}"
    assert software.env == {"VIRTUAL_ENV": str(directory)}
    assert software.search_paths["PATH"] == (f"{directory}/bin",)


def test_in_a_shell(environment, tmp_path):
    directory = environment()
    site = directory / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    (site / "here.py").write_text("words = 'a module of the environment'")
    project = tmp_path / "project"
    project.mkdir()
    box = shell_container(Venv(directory), cwd=project)
    done = pc.run_command(
        box,
        ["python", "-c", "import here, os; print(here.words, os.getcwd())"],
        stdout=pc.PIPE,
        text=True,
    )
    assert done.stdout == f"a module of the environment {project}\n"


def test_usr_is_not_shown_as_a_whole(environment):
    if sys.base_prefix not in ("/usr", "/usr/local"):
        pytest.skip("came with Python 3.x in a prefix of its own")
    shown = places(provide(Venv(environment())))
    assert not shown & {"/usr", "/usr/bin", "/usr/share", "/usr/local", "/etc"}


def test_environment_in_the_top_directory_of_a_project(environment):
    directory = environment()
    (directory / "secrets").mkdir()
    (directory / "notes.txt").write_text("mine")
    shown = places(provide(Venv(directory)))
    assert str(directory) not in shown
    assert f"{directory}/bin" in shown
    assert f"{directory}/secrets" not in shown
    assert run(provide(Venv(directory)), "import sys; print(sys.prefix)") == str(directory)


def test_environment_behind_a_link(environment, tmp_path):
    directory = environment()
    link = tmp_path / "link"
    link.symlink_to(directory)
    assert run(provide(Venv(link)), "import sys; print(sys.prefix)") == str(link)


@pytest.mark.parametrize(
    ("name", "label"), [("numbers", "numbers"), (".venv", None), ("venv", None)]
)
def test_label(environment, tmp_path, name, label):
    assert provide(Venv(environment(name=name))).label == (label or tmp_path.name)


def test_label_is_the_prompt(environment):
    assert provide(Venv(environment("--prompt", "mine"))).label == "mine"


def test_no_interpreter_is_started(environment, monkeypatch):
    directory = environment()

    def refuse(*_, **__):
        raise AssertionError("started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(os, "posix_spawn", refuse)
    assert provide(Venv(directory))


# ---- environments of other tools: only their files matter ----


def foreign(tmp_path, settings, prefix="python", stdlib="lib/python3.9/os.py"):
    """An environment made of an interpreter that is not the one that runs."""
    base = tmp_path / prefix
    (base / "bin").mkdir(parents=True)
    (base / "bin/python3.9").write_text("")
    (base / "bin/python3.9").chmod(0o755)
    (base / stdlib).parent.mkdir(parents=True)
    (base / stdlib).write_text("")
    env = tmp_path / "env"
    (env / "bin").mkdir(parents=True)
    (env / "lib/python3.9/site-packages").mkdir(parents=True)
    (env / "bin/python").symlink_to(base / "bin/python3.9")
    (env / "pyvenv.cfg").write_text(settings.format(base=base))
    return env, base


@pytest.mark.parametrize(
    "settings",
    [
        "home = {base}/bin\nversion = 3.9.1\n",
        "home = {base}/bin\nversion_info = 3.9.1.final.0\nimplementation = CPython\n",
        "home={base}/bin\n",
        "home = /gone/bin\nversion = 3.9\n",  # the link says where it is
        "version = 3.9\n",
    ],
)
def test_whole_prefix_of_an_interpreter_of_its_own(tmp_path, settings):
    env, base = foreign(tmp_path, settings)
    assert {str(env), str(base)} <= places(provide(Venv(env)))


def test_platlibdir(tmp_path):
    env, base = foreign(tmp_path, "home = {base}/bin\n", stdlib="lib64/python3.9/os.py")
    assert str(base) in places(provide(Venv(env)))


def test_parts_of_a_shared_prefix(tmp_path, monkeypatch):
    env, base = foreign(
        tmp_path, "home = {base}/bin\ninclude-system-site-packages = true\n", prefix="usr"
    )
    (base / "lib/python3/dist-packages").mkdir(parents=True)
    (base / "lib/libpython3.9.so.1.0").write_text("")
    monkeypatch.setattr(venv, "is_crowded", lambda prefix: prefix == str(base))
    shown = {place for place in places(provide(Venv(env))) if place.startswith(str(base))}
    assert shown == {
        f"{base}/bin/python3.9",
        f"{base}/lib/libpython3.9.so.1.0",
        f"{base}/lib/python3.9",
        f"{base}/lib/python3/dist-packages",
    }


# ---- what is none ----


def test_absent(tmp_path):
    with pytest.raises(SoftwareError, match=r"does not exist; `python3 -m venv .*` makes one"):
        provide(Venv(tmp_path / "absent"))


def test_no_environment(tmp_path):
    with pytest.raises(SoftwareError, match=r"it has no pyvenv\.cfg; `python3 -m venv"):
        provide(Venv(tmp_path))


def test_a_directory_of_an_environment(environment):
    directory = environment()
    with pytest.raises(SoftwareError, match=f"did you mean {directory}[?]"):
        provide(Venv(directory / "bin"))


def test_interpreter_that_is_gone(environment):
    directory = environment()
    (directory / "bin/python").unlink()
    (directory / "bin/python").symlink_to("/gone/python")
    with pytest.raises(SoftwareError, match=r"the interpreter is gone \(/gone/python\).* --clear"):
        provide(Venv(directory))


# ---- environments that came with somebody's project: links lead where they like ----


@pytest.fixture
def secrets(tmp_path):
    place = tmp_path / "secrets"
    place.mkdir()
    (place / "key").write_text("secret")
    return place


@pytest.mark.parametrize("name", [".", "key"])
def test_an_interpreter_that_is_none(environment, secrets, name):
    directory = environment()
    (directory / "bin/python").unlink()
    (directory / "bin/python").symlink_to(secrets / name)
    with pytest.raises(SoftwareError, match="the interpreter is no program"):
        provide(Venv(directory))


def test_links_out_of_a_crowded_environment(environment, secrets):
    directory = environment()
    (directory / "src").mkdir()
    (directory / "share").symlink_to(secrets)
    assert str(secrets) not in places(provide(Venv(directory)))


def test_links_out_of_an_environment_that_is_its_own_prefix(tmp_path, secrets):
    env, _ = foreign(tmp_path, "version = 3.9\nhome = %s/bin\n" % (tmp_path / "env"))
    (env / "lib/python3.9/os.py").write_text("")
    (env / "src").mkdir()
    (env / "lib64").mkdir()
    (env / "lib64/python3.9").symlink_to(secrets)
    (env / "lib/libpython3.9.so").symlink_to(secrets)
    shown = places(provide(Venv(env)))
    assert shown & {f"{env}/lib", f"{env}/bin"}
    assert not shown & {str(secrets), f"{env}/lib64/python3.9", f"{env}/lib/libpython3.9.so"}


def test_a_library_that_a_link_has_replaced(environment, tmp_path, monkeypatch, secrets):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    directory = environment()
    site = directory / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    compile_ = ["gcc", "-w", "-x", "c", "-", "-shared", "-o"]
    code = b"int f() { return 0; }"
    # "libc.so.6" would bring a libgcc_s.so.1 that is beside it.
    for name in ("key", "libc.so.6"):
        target = libraries / name
        subprocess.run([*compile_, target, f"-Wl,-soname={name}"], input=code, check=True)
    (libraries / "libgcc_s.so.1").symlink_to(secrets / "key")
    options = ["-Wl,--no-as-needed", f"-Wl,-rpath,{libraries}", "-x", "none"]
    subprocess.run(
        [*compile_, site / "x.so", *options, libraries / "key", libraries / "libc.so.6"],
        input=code,
        check=True,
    )
    for _ in range(2):
        shown = places(provide(Venv(directory)))
        assert str(libraries / "key") in shown
        assert str(libraries / "libgcc_s.so.1") not in shown
    libraries.rename(tmp_path / "aside")
    libraries.symlink_to(secrets)
    assert str(libraries / "key") not in places(provide(Venv(directory)))


def test_standard_library_that_is_gone(tmp_path):
    env, base = foreign(tmp_path, "home = {base}/bin\n")
    Path(base, "lib/python3.9/os.py").unlink()
    with pytest.raises(SoftwareError, match="the standard library is gone"):
        provide(Venv(env))


def test_an_extension_module_shows_libraries_only(environment, tmp_path):
    """Whatever a hostile one names as its libraries or its loader."""
    directory = environment()
    secret = tmp_path / "secret"
    secret.write_text("secret")
    os.mkfifo(tmp_path / "fifo")
    site = directory / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    stub = tmp_path / "stub.so"
    compile_ = ["gcc", "-w", "-x", "c", "-", "-o"]
    options = ["-shared", "-fPIC", f"-Wl,-soname={secret}"]
    subprocess.run([*compile_, stub, *options], input=b"int f() { return 0; }", check=True)
    for number, linker in enumerate((secret, tmp_path / "fifo", "/etc/passwd")):
        subprocess.run(
            [*compile_, site / f"x{number}.so", "-Wl,--no-as-needed", "-Wl,--dynamic-linker",
             f"-Wl,{linker}", "-x", "none", stub],
            input=b"int main() { return 0; }",
            check=True,
        )  # fmt: skip
    shown = places(provide(Venv(directory)))
    assert not shown & {str(secret), str(tmp_path / "fifo"), "/etc/passwd"}
