"""Programs that cannot be executed: which file, and why."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from pycontainer import (
    SetupError,
    bind,
    directory,
    file,
    host_system,
    run_command,
    symlink,
    tmpfs,
)

HOST: Any = host_system()


@pytest.fixture(params=[False, True], ids=["below an init", "as process 1"])
def failure(request):
    def fail(mounts: Any, argv: Any, **options: Any) -> Any:
        with pytest.raises(SetupError) as caught:
            run_command(mounts, argv, child_is_pid1=request.param, **options)
        error: Any = caught.value
        assert error.filename == str(argv[0])
        error.notes = " ".join(getattr(error, "__notes__", ()))
        return error

    return fail


def test_a_name_that_is_nowhere(failure):
    error = failure([HOST], ["no-such-program"])
    assert type(error).__mro__.index(FileNotFoundError)
    assert "there is no no-such-program in the container" in str(error)
    assert "PATH" in error.notes
    assert "/usr" in error.notes


def test_a_path_that_is_not_there(failure):
    error = failure([HOST], ["/opt/none/program"])
    assert error.errno == errno.ENOENT
    assert "PATH" not in error.notes


def test_an_empty_container(failure):
    error = failure([], ["/bin/true"])
    assert error.errno == errno.ENOENT
    assert "host_system()" in error.notes


def test_a_script_whose_interpreter_is_missing(failure):
    script = file("/script", "#! /opt/none/perl -w\n", mode=0o755)
    error = failure([HOST, script], ["/script"])
    assert error.errno == errno.ENOENT
    assert "/script is there, but its interpreter is not in the container: /opt/none/perl" in str(
        error
    )


def test_a_script_of_an_interpreter_that_is_a_script(failure):
    inner = file("/inner", "#!/opt/none/perl\n", mode=0o755)
    error = failure([HOST, inner, file("/outer", "#!/inner\n", mode=0o755)], ["/outer"])
    assert "interpreter is not in the container: /opt/none/perl" in str(error)


def test_a_program_whose_loader_is_missing(failure, compiled):
    error = failure([bind(compiled("return 0;"), "/program")], ["/program"])
    assert error.errno == errno.ENOENT
    assert "interpreter is not in the container: /lib" in str(error)
    assert "ld-linux" in str(error)


def test_a_script_whose_interpreter_lacks_its_loader(failure):
    mounts = [bind("/bin/sh", "/bin/sh"), file("/script", "#!/bin/sh\n", mode=0o755)]
    error = failure(mounts, ["/script"])
    assert "ld-linux" in str(error)


def test_found_in_path_with_its_interpreter_missing(failure):
    mounts = [HOST, file("/tools/tool", "#!/opt/none/x\n", mode=0o755)]
    error = failure(mounts, ["tool"], env={"PATH": "/bin:/tools"})
    assert "/tools/tool is there, but its interpreter" in str(error)


def test_a_link_that_leads_nowhere(failure):
    error = failure([HOST, symlink("/tool", "/etc/alternatives/none")], ["/tool"])
    assert error.errno == errno.ENOENT
    assert "link to /etc/alternatives/none" in str(error)


def test_not_executable(failure):
    error = failure([HOST, file("/data.txt", "#!/bin/sh\n")], ["/data.txt"])
    assert error.errno == errno.EACCES
    assert "not executable" in str(error)


def test_a_directory(failure):
    error = failure([HOST, directory("/tools")], ["/tools"])
    assert error.errno == errno.EACCES
    assert "is a directory" in str(error)


def test_on_a_noexec_mount(failure, tmp_path):
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "tool").chmod(0o755)
    error = failure([HOST, bind(tmp_path, "/tools", noexec=True)], ["/tools/tool"])
    assert error.errno == errno.EACCES
    assert "noexec" in str(error)


def test_execvp_goes_on_after_a_file_that_may_not_be_executed(tmp_path):
    mounts = [HOST, file("/first/tool", "x"), file("/second/tool", "#!/bin/sh\nexit 5\n", 0o755)]
    completed = run_command(mounts, ["tool"], env={"PATH": "/first:/second"})
    assert completed.returncode == 5


def test_and_reports_it_when_there_is_no_other(failure):
    error = failure([HOST, file("/first/tool", "x")], ["tool"], env={"PATH": "/first:/bin"})
    assert error.errno == errno.EACCES
    assert "/first/tool is not executable" in str(error)


def test_neither_a_program_nor_a_script(failure):
    error = failure([HOST, file("/odd", "echo hello\n", mode=0o755)], ["/odd"])
    assert error.errno == errno.ENOEXEC
    assert "#!" in str(error)
    assert "/bin/sh" in error.notes


def test_too_many_arguments(failure):
    error = failure([HOST], ["/bin/true", *["x" * 100_000] * 100])
    assert error.errno == errno.E2BIG


def test_names_that_a_terminal_would_obey_are_escaped(failure):
    script = file("/script", "#!/x\x1b[31m\n", mode=0o755)
    error = failure([HOST, script], ["/script"])
    assert "\x1b" not in str(error)
    assert "\\x1b" in str(error)


def test_no_descriptor_stays(failure):
    failure([HOST], ["no-such-program"])
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        failure([HOST], ["no-such-program"])
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_tmpfs_may_hold_programs():
    mounts = [HOST, tmpfs("/work")]
    script = "cp /bin/true /work/mine; exec /work/mine"
    assert run_command(mounts, ["sh", "-c", script]).returncode == 0


LOCKED: Any = {"env": {"PATH": "/locked:/usr/bin:/bin"}, "capabilities": []}


def test_a_directory_of_path_that_may_not_be_searched():
    """It holds nothing, as for a shell."""
    mounts = [HOST, tmpfs("/locked", mode=0)]
    assert run_command(mounts, ["true"], **LOCKED).returncode == 0
    with pytest.raises(FileNotFoundError, match="there is no no-such in the container"):
        run_command(mounts, ["no-such"], **LOCKED)
    with pytest.raises(PermissionError):  # what is named is what is meant
        run_command(mounts, ["/locked/x"], **LOCKED)


def test_what_may_not_be_executed_counts_where_it_is_found():
    mounts = [HOST, tmpfs("/locked", mode=0), file("/own/tool", "text")]
    with pytest.raises(PermissionError, match="/own/tool is not executable"):
        run_command(mounts, ["tool"], env={"PATH": "/locked:/own:/usr/bin"}, capabilities=[])
