"""Wrappers, called in every way that callers have."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess

import pexpect
import pytest

from pycontainer.shell.wrapper import PRESERVED


def call(wrapper, *arguments, **rest):
    rest = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True} | rest
    return subprocess.run([wrapper, *arguments], timeout=40, check=False, **rest)


def script(place, name, text):
    path = place / name
    path.write_text(text)
    path.chmod(0o755)
    return path


SHOW = '#!/bin/sh\nprintf \'<%s>\' "$0" "$@"\n'


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
