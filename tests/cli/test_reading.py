"""Command lines: the quick reader, click's, and what they say about wrong ones."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontainer.cli.declaring import _ADD
from pycontainer.cli.options import ELSEWHERE, RUN
from pycontainer.cli.parse import MisuseError, names_of, parse
from pycontainer.cli.with_click import read as read_with_click

BY_NAME = {option.names[0]: option for option in RUN}


def with_click(arguments):
    return read_with_click(
        "pycontainer run",
        RUN,
        list(arguments),
        help="help",
        epilog="epilog",
        usage="[OPTIONS]",
        elsewhere=ELSEWHERE,
        interspersed=False,
    )


def test_names_are_there_once_and_each_option_does_something():
    assert len(names_of(RUN)) == sum(len(option.names) for option in RUN)
    assert {option.names[0] for option in RUN} == _ADD.keys() | {"--args"}
    assert names_of(RUN).keys().isdisjoint(ELSEWHERE)


def test_order_is_kept():
    line = ["--tmpfs", "/a", "--bind", "x", "/y", "--tmpfs", "/b", "-it", "ls", "--bind", "-l"]
    parsed = parse(RUN, line)
    assert parsed is not None
    given_options, command = parsed
    assert given_options == [
        ("--tmpfs", ("/a",)),
        ("--bind", ("x", "/y")),
        ("--tmpfs", ("/b",)),
        ("--interactive", ()),
        ("--tty", ()),
    ]
    assert command == ["ls", "--bind", "-l"]


def test_options_behind_other_words_where_a_command_takes_them_so():
    line = ["12", "--tmpfs", "/a", "-", "--tty", "--", "--tty"]
    expected = ([("--tmpfs", ("/a",)), ("--tty", ())], ["12", "-", "--tty"])
    assert parse(RUN, list(line), interspersed=True) == expected
    again = read_with_click(
        "x", RUN, list(line), help="", epilog="", usage="", elsewhere={}, interspersed=True
    )
    assert again == expected


@st.composite
def command_lines(draw):
    line = []
    values = st.text("abc=:/-é\udc80 ", max_size=5)
    plain = [option for option in RUN if option.names[0] != "--args"]
    for option in draw(st.lists(st.sampled_from(plain), max_size=6)):
        name = draw(st.sampled_from(option.names))
        if len(option.takes) == 1 and name.startswith("--") and draw(st.booleans()):
            line.append(f"{name}={draw(values)}")
        else:
            line += [name, *(draw(values) for _ in option.takes)]
    if draw(st.booleans()):
        line.append("--")
    return line + draw(st.lists(st.sampled_from(["ls", "-l", "--bind", "--", "x=y"]), max_size=3))


@given(command_lines())
def test_the_quick_reader_agrees_with_click(line):
    quick = parse(RUN, list(line))
    try:
        slow = with_click(line)
    except MisuseError:
        assert quick is None
    except SystemExit:
        pytest.fail("help was not asked for")
    else:
        assert quick is None or quick == slow


@pytest.mark.parametrize(
    "line",
    [["-eA=b", "true"], ["-w/x", "true"], ["-ite", "A=b", "true"]],
    ids=["value joined", "value joined to -w", "cluster with a value"],
)
def test_what_click_alone_reads(line):
    assert parse(RUN, list(line)) is None
    assert with_click(line)[1] == ["true"]


def test_args_from_a_descriptor():
    read, write = os.pipe()
    os.write(write, b"--tmpfs\0/a\0--setenv\0A\0\0")
    os.close(write)
    arguments = ["--dir", "/d", "--args", str(read), "true"]
    assert parse(RUN, arguments) == (
        [("--dir", ("/d",)), ("--tmpfs", ("/a",)), ("--setenv", ("A", ""))],
        ["true"],
    )
    # Read once: what is left for click has them in place.
    assert "--args" not in arguments


@pytest.mark.parametrize("fd", ["x", "-1", "987654"])
def test_args_from_no_descriptor(fd):
    with pytest.raises(MisuseError, match="--args"):
        parse(RUN, ["--args", fd, "true"])


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "pycontainer", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        stdin=subprocess.DEVNULL,
        **options,
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["run", "--ro-bnid", "/", "/", "true"], "did you mean --ro-bind"),
        (["run", "--volume", "a:b", "true"], "use --bind or --ro-bind"),
        (["run", "--bind", "a"], "requires 2 arguments"),
        (["run", "--json=x", "true"], "--json"),
        (["run"], "no command"),
        (["run", "--size", "1m", "--dir", "/x", "true"], "--size is for the --tmpfs after it"),
        (["run", "--perms", "0700", "true"], "--perms"),
        (["run", "--perms", "9", "--dir", "/x", "true"], "octal"),
        (["run", "--overlay-src", "/etc", "true"], "--overlay-src"),
        (["run", "--tmp-overlay", "/x", "true"], "--overlay-src"),
        (["run", "--dev", "/x", "true"], "/dev"),
        (["run", "--uid", "x", "true"], "--uid"),
        (["run", "--cap-add", "chwon", "true"], "CAP_CHOWN"),
        (["run", "--memory", "1q", "true"], "memory"),
        (["run", "--cpuset-cpus", "3-1", "true"], "--cpuset-cpus"),
        (["run", "--ulimit", "core=1", "true"], "--ulimit"),
        (["run", "--network", "bridge", "true"], "host or none"),
        (["run", "--hostname", "a b", "true"], "hostname"),
        (["run", "--seccomp", "nothing", "true"], "no-sync"),
        (["run", "--seccomp", "7", "true"], "descriptor"),
        (["run", "--security-opt", "label=x", "true"], "--security-opt"),
        (["rnu"], "did you mean run"),
        (["nothing"], "there are: run"),
    ],
    ids=lambda value: "_".join(value[1:3]) if isinstance(value, list) else "",
)
def test_wrong_command_lines(line, words):
    done = run(*line)
    assert done.returncode == 125
    assert words in done.stderr
    assert done.stderr.startswith("pycontainer")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_help_names_every_option():
    done = run("run", "--help")
    assert done.returncode == 0, done.stderr
    for name in names_of(RUN):
        assert name in done.stdout
    assert "125" in done.stdout


def test_usage():
    assert run("--help").stdout.startswith("Usage: pycontainer")
    none = run()
    assert none.returncode == 125
    assert none.stderr.startswith("Usage: pycontainer")


WITHOUT_CLICK = """
import sys
sys.modules["click"] = None
from pycontainer.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_without_click():
    for line, status, words in (
        (["run", "--help"], 125, "pycontainer-linux[cli]"),
        (["run", "--host-system", "--dry-run"], 0, ""),
    ):
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_CLICK, *line],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == status
        assert words in done.stderr


def test_a_usual_command_line_imports_no_click():
    script = (
        "import sys; from pycontainer.cli.main import main; main(sys.argv[1:]); "
        "sys.exit('click' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "run", "--host-system", "--tmpfs", "/x", "--dry-run"],
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
