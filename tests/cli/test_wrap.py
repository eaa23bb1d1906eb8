"""``pycontainer wrap``: wrappers of real programs, and what is checked when they are written."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest

import pycontainer as pc
from pycontainer.shell import Wrapper
from pycontainer.shell import wrap as wrap_program
from pycontainer.shell.wrapper import PRESERVED

PROGRAM = [sys.executable, "-m", "pycontainer", "wrap"]


def call(wrapper, *arguments, **rest):
    rest = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True} | rest
    return subprocess.run([wrapper, *arguments], timeout=40, check=False, **rest)


def script(place, name, text):
    path = place / name
    path.write_text(text)
    path.chmod(0o755)
    return path


SHOW = '#!/bin/sh\nprintf \'<%s>\' "$0" "$@"\n'


# ---- what it runs


def test_a_program_of_path(write, place):
    done = write("--host-system", program="uname", output="./name")
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE((place / "name").stat().st_mode) & 0o111
    assert call(place / "name", "-n").stdout == "localhost\n"


def test_its_own_name_by_default(place):
    done = subprocess.run([*PROGRAM, "--host-system", "true"], cwd=place, check=False)
    assert done.returncode == 0
    assert call(place / "true").returncode == 0


def test_nothing_but_the_program_and_what_it_takes_to_start_it(wrapped):
    cat = wrapped("--libraries", program="cat")
    assert call(cat, "/etc/hosts").stdout.startswith("127.0.0.1 localhost\n")
    for place in ("/bin/sh", "/usr/bin/ls", "/etc/shadow", __file__):
        done = call(cat, place)
        assert done.returncode == 1
        assert "No such file" in done.stderr


def test_a_script_and_its_interpreter(place, wrapped):
    program = script(place, "show", SHOW)
    show = wrapped("--libraries", program=program)
    assert call(show, "a").stdout == f"<{program}><a>"


def test_a_script_in_a_bind(place, wrapped):
    script(place, "show", SHOW)
    show = wrapped("--host-system", "--ro-bind", ".", str(place), program="./show")
    assert call(show, "a").stdout == f"<{place}/show><a>"


def test_what_is_missing_is_said_when_it_is_written(write, place):
    program = script(place, "show", SHOW)
    done = write(program=program)
    assert done.returncode == 0
    assert "may not start: its container lacks /bin/sh" in done.stderr
    assert "--libraries" in done.stderr
    done = call(place / "wrapper")
    assert done.returncode == 127
    assert "interpreter is not in the container: /bin/sh" in done.stderr
    assert done.stderr.startswith("wrapper: ")


@pytest.fixture
def rootfs(place):
    """A root file system with a program that the host lacks."""
    root = place / "root"
    for name in ("bin", "dev", "etc", "proc", "sys", "tmp", "usr/bin", "dev/pts", "dev/shm"):
        (root / name).mkdir(parents=True)
    script(root / "usr/bin", "tool-of-the-root", SHOW)
    return root


@pytest.mark.parametrize("program", ["tool-of-the-root", "/usr/bin/tool-of-the-root"])
def test_a_program_of_a_root_file_system(place, wrapped, rootfs, program):
    for name in ("bin", "lib", "lib64"):
        (rootfs / name).mkdir(exist_ok=True)
    binds = [f"--ro-bind /{name} /{name}" for name in ("bin", "lib", "lib64")]
    tool = wrapped("--rootfs", str(rootfs), *" ".join(binds).split(), program=program)
    done = call(tool, "a")
    assert done.stdout == "</usr/bin/tool-of-the-root><a>", done.stderr


# ---- its container


def test_paths_are_those_of_the_wrapping(place, wrapped, monkeypatch):
    (place / "data").write_text("of then")
    cat = wrapped("--host-system", "--ro-bind", "data", "/data", program="cat")
    monkeypatch.chdir("/")
    assert call(cat, "/data").stdout == "of then"
    assert f'bind("{place}/data", "/data")' in cat.read_text()


def test_namespaces_user_names_and_directory(wrapped):
    shell = wrapped(
        *("--host-system", "--user", "7:8", "--hostname", "box", "-w", "/tmp", "--share-net")
    )
    done = call(shell, "-c", "id -u; id -g; uname -n; pwd; readlink /proc/self/ns/net; echo $$")
    net = os.readlink("/proc/self/ns/net")
    assert done.stdout.split() == ["7", "8", "box", "/tmp", net, "2"]  # below an init


def test_limits(wrapped):
    shell = wrapped("--host-system", "--timeout", "0.3", "--ulimit", "nofile=77")
    assert call(shell, "-c", "ulimit -n").stdout == "77\n"
    done = call(shell, "-c", "exec sleep 30")
    assert done.returncode == 137
    assert done.stderr.startswith("wrapper: /bin/sh met its limit wall_time=0.3")


def test_limited_output(wrapped):
    done = call(wrapped("--host-system", "--output-limit", "10", program="yes"))
    assert done.stdout == "y\n" * 5
    assert "met its limit output=10" in done.stderr


def test_the_sandbox(wrapped):
    shell = wrapped("--sandbox", "--host-system")
    assert "seccomp=UNTRUSTED" in shell.read_text()
    done = call(shell, "-c", "id -u; unshare -U true || echo refused")
    assert done.stdout == "1000\nrefused\n"


def test_a_file_by_descriptor(place, wrapped):
    read, write_end = os.pipe()
    os.write(write_end, b'it\'s "quoted"\n')
    os.close(write_end)
    line = [*PROGRAM, "-o", "wrapper", "--libraries", "--file", str(read), "/f", "cat"]
    subprocess.run(line, cwd=place, pass_fds=[read], check=True)
    os.close(read)
    assert call(place / "wrapper", "/f").stdout == 'it\'s "quoted"\n'


# ---- writing it


def test_it_is_shown(write, place):
    done = write("--host-system", program="true", output="-")
    assert done.stdout.startswith(f"#!{sys.executable} -I\n")
    assert 'PROGRAM = "/' in done.stdout
    assert not list(place.iterdir())


def test_dry_run(write, place):
    done = write("--ro-bind", "/srv", "/data", "--dry-run", program="true")
    assert "bind /srv read-only at /data" in done.stdout
    assert not list(place.iterdir())


def test_only_a_wrapper_is_replaced(write, place, wrapped):
    wrapped("--libraries", program="true")
    assert call(wrapped("--libraries", program="false")).returncode == 1
    (place / "mine").write_text("mine")
    done = write("--libraries", program="true", output="mine")
    assert done.returncode == 125
    assert "is no wrapper" in done.stderr
    os.mkfifo(place / "fifo")  # which nobody ever writes to
    done = write("--libraries", program="true", output="fifo")
    assert "is no wrapper" in done.stderr
    assert (place / "mine").read_text() == "mine"
    assert {path.name for path in place.iterdir()} == {"wrapper", "mine", "fifo"}


@pytest.mark.parametrize(
    ("options", "program", "words"),
    [
        ([], "no-such-program", "no such program in PATH"),
        ([], "./no-such-program", "No such file"),
        ([], "/etc", "it is no file"),
        ([], "/etc/passwd", "execute"),
        (["--ro-bind", "/no/such", "/x"], "true", "/no/such"),
        (["--rootfs", "/no/such"], "true", "/no/such"),
        (["--json"], "true", "exit status"),
        (["--as-pid-1"], "true", "below an init"),
        (["--preserve", "A=b"], "true", "contains '='"),
        (["--output-limit", "1k", "--tty"], "true", "not with --tty"),
        (["--memory", "x"], "true", "memory"),
        (["--presrve", "A"], "true", "did you mean --preserve"),
    ],
    ids=lambda value: "_".join(value)[:20] if isinstance(value, list) else "",
)
def test_mistakes_are_found_when_it_is_written(write, place, options, program, words):
    done = write(*options, program=program)
    assert done.returncode == 125
    assert words in done.stderr
    assert done.stderr.startswith("pycontainer wrap: ")
    assert "Traceback" not in done.stderr
    assert not list(place.iterdir())


def test_one_program(place):
    done = subprocess.run(
        [*PROGRAM, "true", "--bind"], cwd=place, capture_output=True, text=True, check=False
    )
    assert done.returncode == 125
    assert "one program is wrapped" in done.stderr


def test_no_wrapper_of_a_wrapper(write, wrapped):
    wrapper = wrapped("--libraries", program="true")
    done = write(program=wrapper, output="second")
    assert done.returncode == 125
    assert "is a wrapper already" in done.stderr


# ---- from Python


def test_from_python(place):
    made = wrap_program(pc.Container([pc.host_system()], hostname="box"), "uname")
    assert made.container.child_is_pid1 is False
    assert made == Wrapper(made.program, made.container)
    wrapper = script(place, "wrapper", str(made))
    assert call(wrapper, "-n").stdout == "box\n"


def test_hostile_texts_stay_texts(place):
    text = 'a"; raise SystemExit(9) #\n\'"""\nraise SystemExit(9)\n{x}'
    program = script(place, 'it\'s "x"', SHOW)
    container = pc.Container([pc.host_system()], env={"A": text})
    made = wrap_program(container, str(program), preserve=[*PRESERVED, text.replace("=", "")])
    done = call(script(place, "wrapper", str(made)), "a")
    assert done.stdout == f"<{program}><a>", done.stderr


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"interpreter": "/a b/python"}, "blank"),
        ({"interpreter": "/" + "x" * 300}, "longer"),
        ({"interpreter": "python"}, "absolute"),
        ({"preserve": "HOME"}, "preserve takes names"),
        ({"container": pc.Container(child_is_pid1=True)}, "child_is_pid1"),
        ({"container": None}, "must be a Container"),
    ],
    ids=["blank", "long", "relative", "text", "pid 1", "no container"],
)
def test_bad_fields(fields, words):
    with pytest.raises(ValueError, match=words):
        Wrapper(**{"program": "/bin/true", "container": pc.Container()} | fields)
