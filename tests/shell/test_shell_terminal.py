"""An interactive shell at a real terminal: job control, keys, the window, the full screen."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys

import pexpect
import pytest

PROMPT = "ready> "


@contextlib.contextmanager
def spawned(*options, size=(30, 100)):
    """An interactive ``pycontainer shell`` at a terminal of ours."""
    child = pexpect.spawn(
        sys.executable,
        ["-m", "pycontainer", "shell", *options],
        dimensions=size,
        encoding="utf-8",
        timeout=20,
        env={**os.environ, "TERM": "xterm", "PS1": PROMPT},
    )
    child.delaybeforesend = None
    try:
        yield child
    finally:
        child.close(force=True)


@contextlib.contextmanager
def shell(*options, **how):
    """The same at its prompt, which is a short one: bash draws a line that it has to wrap twice."""
    with spawned("-E", "^PS1$", *options, **how) as child:
        child.expect_exact(PROMPT)
        # Without it each line is drawn in pieces.
        child.sendline("bind 'set enable-bracketed-paste off'")
        child.expect_exact(PROMPT)
        yield child


def says(child, line, answer):
    child.sendline(line)
    child.expect_exact(line)
    child.expect(answer)
    child.expect_exact(PROMPT)


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    tmp_path.chmod(0o777)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_prompt_shows_user_place_and_env(project):
    with spawned("--user", "me") as child:
        child.expect_exact(f"me@localhost {project} [env]$ ")
        child.sendline("cd")
        child.expect_exact("me@localhost ~ [env]$ ")


def test_term_is_kept_and_described():
    with shell() as child:
        says(child, "echo $TERM; tty 2>&-; echo - < /dev/console", "xterm\r\n-\r\n")
        # Readline knows the keys of a terminal that has a description.
        child.send("echo last\x01\x1b[C\x1b[C\x1b[C\x1b[C\x1b[C\x1b[3~\x1b[3~\r")
        child.expect_exact("\nst\r\n")
        child.expect_exact(PROMPT)


def test_exit_status():
    with shell() as child:
        child.sendline("exit 7")
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == 7


def test_the_end_of_the_input():
    with shell() as child:
        child.sendline("false")
        child.expect_exact(PROMPT)
        child.sendeof()
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == 1


def test_jobs():
    with shell("--venv", sys.prefix) as child:
        wait = "python -c 'import time; print(\"up\"); time.sleep(100)'"
        child.sendline(wait)
        child.expect("up\r\n")
        child.sendintr()
        child.expect("KeyboardInterrupt")
        child.expect_exact(PROMPT)
        says(child, "echo $?", "130\r\n")
        child.sendline(wait)
        child.expect("up\r\n")
        child.send("\x1a")
        child.expect(r"Stopped +python")
        child.expect_exact(PROMPT)
        says(child, "bg; jobs", "Running +python")
        child.sendline("fg")
        child.expect_exact("time.sleep(100)")
        child.sendintr()
        child.expect("KeyboardInterrupt")
        child.expect_exact(PROMPT)
        says(child, "jobs; echo none", r"\nnone\r\n")


def test_the_size_of_the_window():
    script = (
        "import os, time\n"
        "before = os.get_terminal_size()\n"
        "print(*before, flush=True)\n"
        "while os.get_terminal_size() == before: time.sleep(0.02)\n"
        "print(*os.get_terminal_size())\n"
    )
    with open("size.py", "w") as file:
        file.write(script)
    with shell("--venv", sys.prefix, size=(33, 111)) as child:
        child.sendline("python size.py")
        child.expect_exact("111 33\r\n")
        child.setwinsize(22, 77)
        child.expect_exact("77 22\r\n")
        child.expect_exact(PROMPT)


def test_a_program_of_the_full_screen(tmp_path):
    """Less, with the host's files that it needs: what it draws fits the window."""
    from pycontainer.host.libraries import needed_files

    less = shutil.which("less")
    assert less, "CI installs less"
    needed = [one for path in needed_files([less]) for one in ("--expose", path)]
    with open("long", "w") as file:
        file.writelines(f"line {number}\n" for number in range(1, 100))
    with shell("--expose", f"{os.path.realpath(less)}=/bin/less", *needed, size=(12, 60)) as child:
        child.sendline("less long")
        child.expect_exact("line 11\r\n")
        child.expect_exact("long")
        child.send("G")
        child.expect_exact("line 99")
        child.send("q")
        child.expect_exact(PROMPT)
        says(child, "echo back", "back\r\n")


def test_curses():
    """Python's own curses draws, reads keys and leaves the terminal as it was."""
    with open("screen.py", "w") as file:
        file.write(
            "import curses\n"
            "def main(screen):\n"
            "    screen.addstr(2, 4, 'drawn %d' % curses.LINES)\n"
            "    key = screen.getch()\n"
            "    while key == curses.KEY_RESIZE: key = screen.getch()\n"
            "    return key\n"
            "print('key', curses.wrapper(main) == curses.KEY_LEFT)\n"
        )
    with shell("--venv", sys.prefix, size=(20, 70)) as child:
        child.sendline("python screen.py")
        child.expect_exact("drawn 20")
        child.send("\x1bOD")
        child.expect_exact("key True")
        child.expect_exact(PROMPT)
        says(child, "echo back", "back\r\n")
