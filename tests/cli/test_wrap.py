"""``pycontainer wrap``: wrappers of real programs, called in every way that callers have."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys

import pexpect
import pytest

import pycontainer as pc
from pycontainer.shell import Wrapper
from pycontainer.shell import wrap as wrap_program
from pycontainer.shell.wrapper import PRESERVED

PROGRAM = [sys.executable, "-m", "pycontainer", "wrap"]


@pytest.fixture
def place(tmp_path):
    """A directory that wrappers and their programs are written to."""
    tmp_path.chmod(0o777)
    return tmp_path


def write(place, *options, program, output="wrapper", **rest):
    line = [*PROGRAM, "-o", output, *options, str(program)]
    return subprocess.run(
        line, cwd=place, capture_output=True, text=True, timeout=30, check=False, **rest
    )


@pytest.fixture
def wrapped(place):
    """Writes a wrapper, silently, and gives its path."""

    def made(*options, program="/bin/sh", output="wrapper"):
        done = write(place, *options, program=program, output=output)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        return place / output

    return made


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


def test_a_program_of_path(place):
    done = write(place, "--host-system", program="uname", output="./name")
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


def test_what_is_missing_is_said_when_it_is_written(place):
    program = script(place, "show", SHOW)
    done = write(place, program=program)
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


# ---- how it ends


def test_exit_status_and_streams(wrapped):
    shell = wrapped("--host-system")
    done = call(shell, "-c", "cat; echo err >&2; exit 3", stdin=None, input="typed")
    assert (done.stdout, done.stderr, done.returncode) == ("typed", "err\n", 3)


def test_a_signal_is_128_more_and_a_message(wrapped):
    shell = wrapped("--host-system")
    done = call(shell, "-c", "kill -TERM $$")
    assert done.returncode == 128 + signal.SIGTERM
    assert done.stderr == "wrapper: /bin/sh was ended by signal 15 (SIGTERM)\n"
    assert call(shell, "-c", "kill -PIPE $$").stderr == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_signals_are_passed_on(wrapped, number):
    shell = wrapped("--host-system")
    line = [shell, "-c", "echo ready; exec sleep 60"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.wait(10) == (-number if number == signal.SIGINT else 128 + number)


def test_a_terminal_of_its_own(wrapped):
    shell = wrapped("--host-system", "--preserve", "PS1")
    child = pexpect.spawn(
        str(shell), encoding="utf-8", timeout=20, env={**os.environ, "PS1": "ready> "}
    )
    child.delaybeforesend = None
    try:
        child.expect_exact("ready> ")
        child.sendline("tty; echo gone $((6*7))")
        child.expect_exact("/dev/console\r\ngone 42\r\n")
        child.expect_exact("ready> ")
        child.sendline("sh -c 'echo be''gun; exec sleep 100'")
        child.expect_exact("begun\r\n")
        child.sendintr()
        child.expect_exact("ready> ")
        child.sendline("exit 7")
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == 7
    finally:
        child.close(force=True)


# ---- what its caller chooses, and what not


@pytest.mark.parametrize(
    "arguments",
    [
        ["--bind", "/", "/host", "--host-system", "--"],
        ["--help"],
        ["-c", "import os", "-I", "-m", "x"],
        ["", " a  b ", "*", "$HOME", "`id`", "new\nline", "\udcff"],
        ["@file", "--args", "0", "--preserve=SECRET"],
    ],
    ids=["options", "help", "python's", "odd ones", "more options"],
)
def test_arguments_are_the_programs_own(place, wrapped, arguments):
    program = script(place, "show", SHOW)
    done = call(wrapped("--libraries", program=program), *arguments, errors="surrogateescape")
    assert done.stdout == "".join(f"<{one}>" for one in [str(program), *arguments]), done.stderr


def variables(wrapper, **environment):
    done = call(wrapper, env={"PATH": os.environ["PATH"], **environment})
    assert done.returncode == 0, done.stderr
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def test_variables(wrapped):
    named = {name: f"of {name}" for name in PRESERVED if not name.startswith("LISTEN")}
    env = wrapped("--libraries", program="env")
    assert variables(env, **named, SECRET="s", LD_DEBUG="", LANG="C") == named
    env = wrapped("--libraries", "--preserve", "LANG", "-e", "A", "-e", "B=b", program="env")
    assert variables(env, HOME="/h", LANG="C", A="a", B="x", C="c") == {
        "HOME": "/h",
        "LANG": "C",
        "A": "a",
        "B": "b",  # what was settled counts
    }
    env = wrapped("--libraries", "--no-preserve", "--preserve", "TZ", program="env")
    assert variables(env, **named) == {"TZ": "of TZ"}


INJECTED = "import os; os.write(2, b'injected')"


@pytest.mark.parametrize("isolated", [True, False], ids=["as written", "without -I"])
def test_pythons_variables_put_nothing_into_it(place, wrapped, isolated):
    """What is no more than the control sees to it that the test would notice."""
    true = wrapped("--libraries", program="true")
    if not isolated:
        text = true.read_text()
        true.write_text(text.replace(" -I\n", "\n", 1))
    code = place / "code"
    code.mkdir()
    for name in ("sitecustomize", "usercustomize", "attr", "pycontainer", "os", "signal", "cffi"):
        (code / f"{name}.py").write_text(INJECTED)
        script(place, f"{name}.py", INJECTED)
    done = call(
        true,
        cwd=code,
        env={
            **os.environ,
            "PYTHONPATH": str(code),
            "PYTHONSTARTUP": str(code / "os.py"),
            "PYTHONINSPECT": "1",
            "PYTHONHOME": str(code),
            "PYTHONUSERBASE": str(code),
            "PYTHONWARNINGS": "error",
        }
        if isolated
        else {**os.environ, "PYTHONPATH": str(code)},
    )
    if isolated:
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    else:
        assert "injected" in done.stderr


def test_no_other_descriptors(wrapped):
    shell = wrapped("--host-system", program="bash")
    read, write_end = os.pipe()
    done = call(
        shell,
        "-c",
        f"(: <&{read}) 2>/dev/null || echo closed",
        pass_fds=[read],
        env={**os.environ, "LISTEN_FDS": str(read - 2), "LISTEN_PID": "1"},  # for another process
    )
    os.close(read)
    os.close(write_end)
    assert done.stdout == "closed\n", done.stderr


# ---- sockets that are handed over

SERVER = """\
#!/usr/bin/python3
import json, os, socket
names = os.environ.get("LISTEN_FDNAMES")
assert int(os.environ["LISTEN_PID"]) == os.getpid(), "not for us"
told = {"pid": os.getpid(), "count": os.environ["LISTEN_FDS"], "names": names,
        "interfaces": [name for _, name in socket.if_nameindex()]}
with socket.socket(fileno=3) as listener:
    connection, _ = listener.accept()
    with connection:
        connection.sendall(json.dumps(told).encode())
try:
    os.fstat(int(told["count"]) + 3)
except OSError:
    pass
else:
    raise SystemExit("one more than was given")
"""

# As a service manager does: the descriptors are there, and the pid is that of the program.
ACTIVATE = 'LISTEN_PID=$$ LISTEN_FDS={count} LISTEN_FDNAMES={names} exec "$0" {redirections}'


def activate(wrapper, sockets, names):
    numbers = [one.fileno() for one in sockets]
    redirections = " ".join(f"{3 + at}<&{number}" for at, number in enumerate(numbers))
    closed = " ".join(f"{number}<&-" for number in numbers if number >= 3 + len(numbers))
    text = ACTIVATE.format(
        count=len(numbers), names=names, redirections=redirections + " " + closed
    )
    return subprocess.Popen(["bash", "-c", text, wrapper], pass_fds=numbers)


@pytest.mark.parametrize("more", [(), ("--memory", "500m", "--no-strict-limits"), ("--share-pid",)])
def test_a_socket_is_handed_over(place, wrapped, more):
    """A server without a network of its own that serves one of the host's ports."""
    if "--share-pid" in more:
        more = ("--share-pid", "--ro-bind", "/proc", "/proc")
    program = script(place, "server", SERVER)
    server = wrapped("--host-system", *more, program=program)
    # Numbers that no redirection touches.
    with socket.create_server(("127.0.0.1", 0)) as low, socket.socketpair()[0] as second:
        first = socket.socket(fileno=os.dup2(low.fileno(), 100))
        other = socket.socket(fileno=os.dup2(second.fileno(), 101))
        with first, other, activate(server, [first, other], "web:x") as process:
            with socket.create_connection(first.getsockname(), timeout=20) as connection:
                connection.settimeout(20)
                told = json.loads(connection.makefile().read())  # to its end
            assert process.wait(20) == 0
    assert told["count"] == "2"
    assert told["names"] == "web:x"
    assert told["interfaces"] == ["lo"]
    if "--share-pid" not in more:
        assert told["pid"] == 2


def test_a_connection_ends_when_the_program_ends_it(place, wrapped):
    """Nobody else keeps a copy of it."""
    shell = wrapped("--host-system", program="bash")
    ours, theirs = socket.socketpair()
    number = os.dup2(theirs.fileno(), 100)
    theirs.close()
    text = 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" -c "$1" 3<&100 100<&-'
    line = ["bash", "-c", text, shell, "exec 3<&-; exec sleep 100"]
    with ours, subprocess.Popen(line, pass_fds=[number], stderr=subprocess.DEVNULL) as process:
        os.close(number)
        ours.settimeout(20)
        assert ours.recv(1) == b""
        assert process.poll() is None
        process.terminate()


def test_no_sockets_that_are_not_open(wrapped):
    shell = wrapped("--host-system")
    text = 'LISTEN_PID=$$ LISTEN_FDS={} exec "$0" -c "echo started"'
    for count, words in (("40", "Bad file descriptor"), ("x", "LISTEN_FDS")):
        line = ["sh", "-c", text.format(count), shell]
        done = subprocess.run(line, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 125
        assert words in done.stderr
        assert "started" not in done.stdout


# ---- writing it


def test_it_is_shown(place):
    done = write(place, "--host-system", program="true", output="-")
    assert done.stdout.startswith(f"#!{sys.executable} -I\n")
    assert 'PROGRAM = "/' in done.stdout
    assert not list(place.iterdir())


def test_dry_run(place):
    done = write(place, "--ro-bind", "/srv", "/data", "--dry-run", program="true")
    assert "bind /srv read-only at /data" in done.stdout
    assert not list(place.iterdir())


def test_only_a_wrapper_is_replaced(place, wrapped):
    wrapped("--libraries", program="true")
    assert call(wrapped("--libraries", program="false")).returncode == 1
    (place / "mine").write_text("mine")
    done = write(place, "--libraries", program="true", output="mine")
    assert done.returncode == 125
    assert "is no wrapper" in done.stderr
    assert (place / "mine").read_text() == "mine"
    assert {path.name for path in place.iterdir()} == {"wrapper", "mine"}


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
def test_mistakes_are_found_when_it_is_written(place, options, program, words):
    done = write(place, *options, program=program)
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


def test_no_wrapper_of_a_wrapper(place, wrapped):
    wrapper = wrapped("--libraries", program="true")
    done = write(place, program=wrapper, output="second")
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
