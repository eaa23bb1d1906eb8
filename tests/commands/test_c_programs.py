"""Real programs: what they write, how they end, what they may and may not do."""

from __future__ import annotations

import signal

from pycontainer import ExitStatus, Verdict, host_system, run_command, tmpfs


def test_output_and_exit_code(run_c):
    completed = run_c('puts("out"); fputs("err\\n", stderr); return 42;')
    assert (completed.stdout, completed.stderr) == (b"out\n", b"err\n")
    assert completed.status == ExitStatus(exit_code=42)
    assert completed.returncode == 42
    assert completed.verdict is Verdict.EXIT
    assert completed.result() is None


def test_success(run_c):
    completed = run_c("return 0;")
    assert completed.returncode == 0
    assert completed.verdict is Verdict.OK
    completed.check_returncode()


def test_a_write_through_a_null_pointer(run_c):
    completed = run_c("volatile int *p = 0; *p = 1; return 0;")
    assert completed.status == ExitStatus(signal=11)
    assert completed.status.signal_name == "SIGSEGV"
    assert completed.returncode == -11
    assert completed.verdict is Verdict.SIGNAL


def test_the_same_as_process_1(run_c):
    completed = run_c("volatile int *p = 0; *p = 1; return 0;", child_is_pid1=True)
    assert completed.status == ExitStatus(signal=11)


def test_abort(run_c):
    assert run_c("abort();").status == ExitStatus(signal=signal.SIGABRT)


def test_arguments(run_c):
    source = 'for (int i = 0; i < argc; i++) printf("%s\\n", argv[i]);'
    completed = run_c(source, "", "two words", "é", b"\xff")
    assert completed.stdout == "/program\n\ntwo words\né\n".encode() + b"\xff\n"


def test_many_long_arguments(run_c):
    """More than travels in one message; each within MAX_ARG_STRLEN (execve(2))."""
    arguments = [str(i % 10) * 100_000 for i in range(10)]
    completed = run_c(
        'for (int i = 1; i < argc; i++) printf("%c%zu ", *argv[i], strlen(argv[i]));', *arguments
    )
    assert completed.stdout.split() == [f"{i % 10}100000".encode() for i in range(10)]


def test_the_environment_is_what_is_given_and_nothing_else(run_c, monkeypatch):
    monkeypatch.setenv("SECRET", "1")
    source = "extern char **environ; for (char **e = environ; *e; e++) puts(*e);"
    assert run_c(source).stdout == b""
    completed = run_c(source, env={"B": "2 3", "A": "é=", "EMPTY": ""})
    assert completed.stdout == "A=é=\nB=2 3\nEMPTY=\n".encode()


def test_the_working_directory(run_c):
    source = "char path[99]; puts(getcwd(path, 99));"
    assert run_c(source).stdout == b"/\n"
    assert run_c(source, cwd="/usr/bin").stdout == b"/usr/bin\n"


WRITE = """
int fd = open(argv[1], O_WRONLY | O_CREAT, 0644);
if (fd < 0) { printf("%s\\n", strerror(errno)); return 1; }
return write(fd, "x", 1) == 1 ? 0 : 2;
"""


def test_the_root_cannot_be_written_to(run_c):
    completed = run_c(WRITE, "/file")
    assert completed.returncode == 1
    assert completed.stdout == b"Read-only file system\n"


def test_the_hosts_programs_cannot_be_written_to(run_c):
    assert run_c(WRITE, "/usr/bin/true").returncode == 1


def test_tmp_can_be_written_to(run_c):
    assert run_c(WRITE, "/tmp/file").returncode == 0
    assert run_c(WRITE, "/dev/shm/file").returncode == 0
    assert run_c(WRITE, "/data/file", mounts=[tmpfs("/data")]).returncode == 0


def test_no_network(run_c):
    completed = run_c(
        """
        #include <arpa/inet.h>
        int main(void) {
            struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(53)};
            inet_pton(AF_INET, "1.1.1.1", &to.sin_addr);
            int fd = socket(AF_INET, SOCK_DGRAM, 0);
            if (connect(fd, (void *)&to, sizeof(to)) != 0)
                puts(strerror(errno));
            return 0;
        }
        """
    )
    assert completed.stdout == b"Network is unreachable\n"


def test_exec_through_a_shell():
    completed = run_command([host_system()], ["bash", "-c", "exec echo hello"], capture_output=True)
    assert (completed.stdout, completed.returncode) == (b"hello\n", 0)


def test_signals_and_mask_are_the_default_ones(run_c):
    completed = run_c(
        """
        sigset_t mask; struct sigaction action;
        sigprocmask(SIG_BLOCK, 0, &mask);
        for (int number = 1; number < 65; number++) {
            if (sigismember(&mask, number) == 1) printf("blocked %d\\n", number);
            if (sigaction(number, 0, &action) == 0 && action.sa_handler != SIG_DFL)
                printf("not default %d\\n", number);
        }
        """
    )
    assert completed.stdout == b""


def test_descriptors_are_the_three(run_c):
    source = 'for (int fd = 0; fd < 1024; fd++) if (fcntl(fd, F_GETFD) >= 0) printf("%d ", fd);'
    for pid1 in (False, True):
        assert run_c(source, child_is_pid1=pid1).stdout == b"0 1 2 "
    assert run_c(source, namespaces={"user", "mnt"}).stdout == b"0 1 2 "


def test_which_process_it_is(run_c):
    source = 'printf("%d %d", getpid(), getppid());'
    assert run_c(source).stdout == b"2 1"
    assert run_c(source, child_is_pid1=True).stdout == b"1 0"


def test_no_new_privileges(run_c):
    source = """
    #include <sys/prctl.h>
    int main(void) { printf("%d", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)); return 0; }
    """
    assert run_c(source).stdout == b"1"


def test_guest_ids(run_c):
    source = 'printf("%d %d", getuid(), getgid());'
    assert run_c(source).stdout == b"0 0"
    assert run_c(source, guest_uid=1000, guest_gid=100).stdout == b"1000 100"


def test_usage_of_the_whole_tree(run_c):
    """Also of what a child of the program used that the program did not wait for."""
    completed = run_c(
        """
        if (fork() == 0) { clock_t start = clock(); while (clock() - start < 300000) ; return 0; }
        siginfo_t info;
        waitid(P_ALL, 0, &info, WEXITED | WNOWAIT);
        """,
        flags=("-include", "time.h"),
    )
    assert 0.25 < completed.usage.user_time + completed.usage.system_time < 1
    assert completed.usage.wall_time > 0.25
