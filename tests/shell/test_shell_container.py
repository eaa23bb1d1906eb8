"""``shell_container``: who one is, what is there, and what is not."""

from __future__ import annotations

import grp
import os
import pwd
import re
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer.declare.entries import File
from pycontainer.shell import Rootfs, Software, Venv, shell_container

VENV = Venv(sys.prefix)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A directory to be in, that the container may write to."""
    tmp_path.chmod(0o777)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sh(container, script, **options):
    done = pc.run_command(
        container, ["sh", "-c", script], capture_output=True, text=True, **options
    )
    assert done.stderr == "", done.stderr
    return done.stdout


def python(container, script):
    done = pc.run_command(container, ["python", "-c", script], capture_output=True, text=True)
    assert done.stderr == "", done.stderr
    return done.stdout


# ---- the directory


def test_the_current_directory_is_shared_and_kept(project):
    (project / "in").write_text("text\n")
    container = shell_container()
    assert sh(container, "pwd; read line < in; echo $line; echo new > out") == f"{project}\ntext\n"
    assert (project / "out").read_text() == "new\n"
    made = (project / "out").stat()
    assert (made.st_uid, made.st_gid) == (os.getuid(), os.getgid())


def test_what_is_beside_it_is_not_there(project):
    assert sh(shell_container(), "echo ../*") == f"../{project.name}\n"


def test_without_the_current_directory(project):
    container = shell_container(cwd=None)
    assert sh(container, f'pwd; test "$PWD" = "$HOME"; echo $?; test -e {project}; echo $?') == (
        f"{container.env['HOME']}\n0\n1\n"
    )


@pytest.mark.parametrize("directory", ["/", "/etc", "/proc", "/proc/self", "/dev", "/tmp", "/run"])
def test_directories_that_cannot_be_shared(directory):
    with pytest.raises(ValueError, match="the current directory") as caught:
        shell_container(cwd=directory)
    assert "--no-cwd" in caught.value.__notes__[0]


def test_neither_can_the_home(tmp_path, monkeypatch):
    home = tmp_path / "home/me"
    home.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    with pytest.raises(ValueError, match="is your home"):
        shell_container(cwd=home)
    with pytest.raises(ValueError, match="holds your home"):
        shell_container(cwd=home.parent)
    (tmp_path / "link").symlink_to(home)
    with pytest.raises(ValueError, match="is your home"):
        shell_container(cwd=tmp_path / "link")
    shell_container(cwd=None, share=[home])  # who asks for it gets it


def test_a_directory_that_is_gone(tmp_path):
    with pytest.raises(FileNotFoundError):
        shell_container(cwd=tmp_path / "missing")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        shell_container(cwd=tmp_path / "file")


# ---- the user


def test_the_user_is_the_caller(project):
    def who():
        entry = pwd.getpwuid(os.getuid())
        return entry.pw_name, entry.pw_dir, os.getuid(), os.getgid(), grp.getgrgid(os.getgid())[0]

    own = pwd.getpwuid(os.getuid())
    assert pc.call_with_container(shell_container(), who) == (
        own.pw_name,
        os.environ.get("HOME", own.pw_dir),
        os.getuid(),
        os.getgid(),
        grp.getgrgid(os.getgid()).gr_name,
    )


def test_an_invented_user(tmp_path, monkeypatch):
    (tmp_path / "proj/sub").mkdir(parents=True)
    (tmp_path / "proj").chmod(0o777)
    monkeypatch.setenv("HOME", str(tmp_path))
    container = shell_container(
        cwd=tmp_path / "proj",
        user="alice",
        expose=[tmp_path / "proj/sub", ("/etc/hostname", tmp_path / "x")],
    )
    assert sh(container, 'pwd; echo "$HOME $USER $LOGNAME"; echo ~; echo /home/*; echo ~/*') == (
        "/home/alice/proj\n/home/alice alice alice\n/home/alice\n/home/alice\n"
        "/home/alice/proj /home/alice/x\n"
    )
    sh(container, "echo x > made")
    assert (tmp_path / "proj/made").stat().st_uid == os.getuid()
    name = pc.call_with_container(container, lambda: (os.getuid(), pwd.getpwuid(1000).pw_dir))
    assert name == (1000, "/home/alice")


@pytest.mark.parametrize("name", ["", "a:b", "a/b", "..", "-x", "a\nb", "a b", "x" * 40])
def test_names_that_no_user_has(name):
    with pytest.raises(ValueError, match="a name has"):
        shell_container(user=name)


def test_no_capabilities_but_roots(project):
    text = sh(shell_container(), "while read a b; do echo $a $b; done < /proc/self/status")
    [effective] = [line.split()[1] for line in text.splitlines() if line.startswith("CapEff")]
    assert (int(effective, 16) == 0) == (os.getuid() != 0)


def test_files_of_its_own(project):
    def look():
        found = {}
        for name in (os.environ["HOME"], "/tmp", os.environ["XDG_RUNTIME_DIR"]):
            with open(f"{name}/x", "w") as file:
                file.write("x")
            found[name] = oct(stat.S_IMODE(os.stat(name).st_mode)), os.stat(name).st_uid
        return found

    uid = os.getuid()
    container = shell_container()
    assert pc.call_with_container(container, look) == {
        container.env["HOME"]: ("0o700", uid),
        "/tmp": ("0o1777", uid),
        f"/run/user/{uid}": ("0o700", uid),
    }
    with pytest.raises(OSError, match="Read-only"):
        pc.call_with_container(container, lambda: os.mkdir("/new"))
    pc.call_with_container(shell_container(writable_root=True), lambda: os.mkdir("/new"))


# ---- variables


def test_variables(project, monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    monkeypatch.delenv("TERM", raising=False)
    env = shell_container().env
    home = env["HOME"]
    assert dict(env) == {
        "HOME": home,
        "LANG": "C.UTF-8",
        "LOGNAME": env["USER"],
        "PATH": "/bin",
        "PS1": r"\u@\h \w [env]\$ ",
        "SHELL": "/bin/bash",
        "TEMP": "/tmp",
        "TEMPDIR": "/tmp",
        "TMP": "/tmp",
        "TMPDIR": "/tmp",
        "USER": pwd.getpwuid(os.getuid()).pw_name,
        "XDG_RUNTIME_DIR": f"/run/user/{os.getuid()}",
    }
    assert shell_container(terminal="xterm").env["TERM"] == "xterm"


def test_preserved_variables(project, monkeypatch):
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    monkeypatch.setenv("MY_TOKEN", "x")
    monkeypatch.setenv("PS1", "> ")
    monkeypatch.setenv("TMPDIR", "/somewhere")
    env = shell_container(preserve=["^LANG$", "TOKEN", "PS1", "^(HOME|PATH|TMPDIR)$"]).env
    assert (env["LANG"], env["MY_TOKEN"], env["PS1"]) == ("de_DE.UTF-8", "x", "> ")
    # These would be wrong inside.
    assert (env["PATH"], env["TMPDIR"]) == ("/bin", "/tmp")
    with pytest.raises(ValueError, match="no regular expression"):
        shell_container(preserve="(")


def test_search_paths_are_joined(project):
    one = Software("one", search_paths={"PATH": ["/one/bin"], "MANPATH": ["/one/man"]})
    two = Software("two", search_paths={"PATH": ["/two/bin", "/one/bin"]}, env={"TWO": "2"})
    env = shell_container([one, two]).env
    assert env["PATH"] == "/one/bin:/two/bin:/bin"
    assert (env["MANPATH"], env["TWO"]) == ("/one/man", "2")


# ---- software


def test_a_virtual_environment_has_numpy(project):
    script = "import numpy, sys; print(numpy.arange(4).sum(), sys.prefix)"
    assert python(shell_container(VENV), script) == f"6 {sys.prefix}\n"


def test_a_virtual_environment_brings_nothing_else(project):
    """Of the host there is the Python behind it, with its libraries, and a shell."""
    # A prefix that is Python's alone is all its own.
    base = "" if sys.base_prefix in ("/usr", "/usr/local") else sys.base_prefix
    script = f"""
import os, sysconfig
stdlib = sysconfig.get_path("stdlib")
known = (
    {sys.prefix!r}, {base!r}, {str(project)!r}, stdlib, os.path.expanduser("~"),
    "/dev", "/proc", "/sys", "/tmp", "/run",
)
for parent, directories, names in os.walk("/"):
    directories[:] = [one for one in directories if os.path.join(parent, one) not in known]
    print(*(os.path.join(parent, name) for name in names), sep="\\n")
print("end")
"""
    found = python(shell_container(VENV), script).splitlines()
    assert found.pop() == "end"
    usual = r"/etc/(passwd|group|hosts|ld\.so\.cache)|/bin/(ba)?sh"
    mine = r"(/usr)?/lib\S*/(lib[^/]*|ld-[^/]*)\.so[^/]*|.*/python3?(\.\d+)?"
    strange = [one for one in found if one and not re.fullmatch(f"{usual}|{mine}", one)]
    assert strange == []


def test_software_is_read_only(project):
    script = f"""
try:
    open({sys.prefix!r} + "/new", "w")
except OSError as error:
    print(error.strerror)
"""
    assert python(shell_container(VENV), script) == "Read-only file system\n"


def test_a_shell_of_the_software(project):
    tree = project / "tool"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin/sh").write_text("#!/nothing\n")
    (tree / "bin/sh").chmod(0o755)
    software = Software(
        "tool", mounts=(pc.bind(tree, "/tool"),), search_paths={"PATH": ("/tool/bin",)}
    )
    container = shell_container(software)
    assert container.env["SHELL"] == "/tool/bin/sh"
    assert container.env["PS1"] == "$PWD [env]$ "
    assert pc.symlink("/bin/sh", "/tool/bin/sh") in container.mounts
    assert "/bin/bash" not in pc.explain(container)


def test_a_root_file_system(tmp_path, monkeypatch):
    """One that holds nothing but links to the host's programs, shown beside it."""
    rootfs = tmp_path / "rootfs"
    (rootfs / "etc").mkdir(parents=True)
    (rootfs / "bin").mkdir()
    (rootfs / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\ndaemon:x:2:2::/:/bin/false\n")
    (rootfs / "etc/motd").write_text("welcome\n")
    (rootfs / "bin/note").write_text("#!/bin/sh\necho noted\n")
    (rootfs / "bin/note").chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    work.chmod(0o777)
    monkeypatch.chdir(work)
    container = shell_container(Rootfs(rootfs))
    assert sh(container, "pwd; note; read x < /etc/motd; echo $x; echo x > here") == (
        f"{work}\nnoted\nwelcome\n"
    )
    names = pc.call_with_container(container, lambda: [one.pw_name for one in pwd.getpwall()])
    own = pwd.getpwuid(os.getuid()).pw_name
    assert sorted(names) == sorted({own, "root", "daemon"})
    assert sorted(one.name for one in rootfs.iterdir()) == ["bin", "etc"]
    # It brings no description of the terminal.
    described = shell_container(Rootfs(rootfs), terminal="xterm").mounts
    assert any(isinstance(one, File) and one.path.endswith("/xterm") for one in described)


def test_where_software_starts(project):
    image = Software("image", cwd="/opt")
    assert shell_container(image, cwd=None).cwd == "/opt"
    assert shell_container(image).cwd == str(project)


def test_two_root_file_systems():
    with pytest.raises(ValueError, match="one root"):
        shell_container([Software("a", rootfs="/usr"), Software("b", rootfs="/usr")], cwd=None)


# ---- sharing


def test_sharing_and_exposing(project):
    (project / "w").mkdir()
    (project / "r").mkdir()
    for name in "wr":
        (project / name).chmod(0o777)
    container = shell_container(
        cwd=None, share=[(project / "w", "/w")], expose=[(project / "r", "~/r"), project / "w"]
    )

    same = str(project / "w")

    def write():
        done = []
        for place in ("/w", os.path.expanduser("~/r"), same):
            try:
                Path(place, "x").touch()
                done.append(place)
            except OSError as error:
                done.append(str(error.strerror))
        return done

    read_only = "Read-only file system"
    assert pc.call_with_container(container, write) == ["/w", read_only, read_only]


def test_what_is_shared_must_exist(project):
    with pytest.raises(FileNotFoundError, match="missing"):
        shell_container(share=["missing"])
    with pytest.raises(ValueError, match="as /"):
        shell_container(expose=[(project, "/")])


def test_a_device_works(project):
    container = shell_container(expose=[("/dev/zero", "/zero")])
    assert pc.call_with_container(container, lambda: len(open("/zero", "rb").read(3))) == 3


def test_links(project):
    container = shell_container(VENV, symlinks={"/usr/bin/py": "bin/python", "/x": "/bin/sh"})
    assert sh(container, "/usr/bin/py -c 'print(1)'; /x -c 'echo 2'") == "1\n2\n"
    with pytest.raises(ValueError, match="has no bin/missing"):
        shell_container(VENV, symlinks={"/usr/bin/py": "bin/missing"})


# ---- the network


def test_no_network(project):
    assert pc.call_with_container(
        shell_container(), lambda: [name for _, name in socket.if_nameindex()]
    ) == ["lo"]


def test_the_callers_network(project):
    container = shell_container(network=True)
    inside = pc.call_with_container(container, lambda: os.readlink("/proc/self/ns/net"))
    assert inside == os.readlink("/proc/self/ns/net")
    assert Path("/etc/hosts").read_text() == pc.call_with_container(
        container, lambda: Path("/etc/hosts").read_text()
    )


def test_certificates(project):
    """Those that the host's Python trusts are where this one looks for them."""
    script = "import ssl; paths = ssl.get_default_verify_paths(); print(paths.cafile, paths.capath)"
    assert (
        python(shell_container(VENV, network=True), script)
        == subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=True,
            env={name: text for name, text in os.environ.items() if not name.startswith("SSL_")},
        ).stdout
    )


def test_reaching_a_server_of_the_host(project):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        script = f"import socket; socket.create_connection(('localhost', {port})).close()"
        python(shell_container(VENV, network=True), script)
        done = pc.run_command(
            shell_container(VENV), ["python", "-c", script], capture_output=True, text=True
        )
        assert "ConnectionRefusedError" in done.stderr


def test_the_package_is_lean():
    """Nothing heavy is loaded for a shell: each start pays for it."""
    script = (
        "import sys; from pycontainer.shell import shell_container; shell_container(cwd='/srv'); "
        "print(*{'subprocess', 'json', 'click', 'rich', 'tempfile', 'pickle'} & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {script}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("\n", "")
