"""The filter for code that nobody trusts: ``UNTRUSTED``.

It is a list of what may be called, so that what the kernel learns tomorrow is closed until somebody
has looked at it.  A call that is not listed is ENOSYS, as on an older kernel: programs and C
libraries have a way to go on from there.  What every kernel has and a program may well try is
EPERM, which is what it hears without the privilege.

Numbers are those of the kernel's include/uapi; modes and flags are 32 bits wide there.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable

from .filters import Action, SeccompFilter, SyscallArgument

__all__ = ["UNTRUSTED"]

ALLOWED = {
    "processes": """
        alarm arch_prctl capget capset clone execve execveat exit exit_group fork get_robust_list
        get_thread_area getcpu getegid geteuid getgid getgroups getitimer getpgid getpgrp getpid
        getppid getpriority getresgid getresuid getrlimit getrusage getsid gettid getuid
        ioprio_get ioprio_set kill pause pidfd_open pidfd_send_signal prctl prlimit64
        process_mrelease restart_syscall rseq sched_get_priority_max sched_get_priority_min
        sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
        sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield
        set_robust_list set_thread_area set_tid_address setfsgid setfsuid setgid setgroups
        setitimer setpgid setpriority setregid setresgid setresuid setreuid setrlimit setsid
        setuid tgkill times tkill umask vfork wait4 waitid
    """,
    "signals": """
        rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
        rt_sigtimedwait rt_tgsigqueueinfo sigaltstack signalfd signalfd4
    """,
    "memory": """
        brk madvise map_shadow_stack membarrier memfd_create mincore mlock mlock2 mlockall mmap
        mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect
        remap_file_pages
    """,
    "waiting": """
        epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2
        futex futex_requeue futex_wait futex_waitv futex_wake poll ppoll pselect6 select
    """,
    "time": """
        clock_getres clock_gettime clock_nanosleep gettimeofday nanosleep time timer_create
        timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime
        timerfd_settime
    """,
    "files": """
        access cachestat chdir chmod chown close close_range copy_file_range creat dup dup2 dup3
        faccessat faccessat2 fadvise64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat
        fcntl fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstatfs fsync
        ftruncate futimesat getcwd getdents getdents64 getxattr getxattrat inotify_add_watch
        inotify_init inotify_init1 inotify_rm_watch ioctl lchown lgetxattr link linkat listxattr
        listxattrat llistxattr lremovexattr lseek lsetxattr lstat mkdir mkdirat mknod mknodat
        name_to_handle_at newfstatat open openat pipe pipe2 pread64 preadv preadv2 pwrite64
        pwritev pwritev2 read readahead readlink readlinkat readv removexattr removexattrat rename
        renameat renameat2 rmdir sendfile setxattr setxattrat splice stat statfs statx symlink
        symlinkat sync sync_file_range syncfs tee truncate unlink unlinkat utime utimensat utimes
        vmsplice write writev
    """,
    # The older asynchronous calls, which databases use.  io_uring is not here: its operations are
    # calls that no filter sees.
    "asynchronous files": """
        io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit
    """,
    "sockets": """
        accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg
        recvmsg sendmmsg sendmsg sendto setsockopt shutdown
    """,
    "between processes": """
        mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget
        msgrcv msgsnd semctl semget semop semtimedop shmat shmctl shmdt shmget
    """,
    # What makes the cage smaller is welcome.
    "its own cage": """
        landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp
    """,
    "the system": "getrandom sysinfo uname",
}
"""Names by subject."""

REFUSED = {
    # A namespace of one's own makes a user root over parts of the kernel that were written for
    # root alone; most ways out of containers began there.
    "namespaces": "setns unshare",
    # The kernel checks these too.  Refused here, a mistake in the check is out of reach.
    "mounts and roots": "chroot mount pivot_root umount2",
    # Files by number and not by path: past every mount (CVE-2014-3519 began so).
    "file handles": "open_by_handle_at",
    "watching files of all": "fanotify_init fanotify_mark",
    # Code in the kernel, or what has often led to it.
    "programs in the kernel": "bpf perf_event_open",
    "page faults": "userfaultfd",  # they stop the kernel half-way: the tool of many an exploit
    "segments": "modify_ldt",  # 16-bit code
    # Keys are not in a namespace: those of other containers of the same user are within reach.
    "keys": "add_key keyctl request_key",
    # A look into other processes, and a hold on them.  Debuggers need extend() with a filter of
    # their own.
    "other processes": "pidfd_getfd process_vm_readv process_vm_writev ptrace",
    "modules and kernels": "delete_module finit_module init_module kexec_file_load kexec_load",
    "the machine": "acct ioperm iopl quotactl reboot swapoff swapon syslog vhangup",
    "the clock": "adjtimex clock_adjtime clock_settime settimeofday",
    "names": "setdomainname sethostname",
}
"""Names by subject; a filter can look at no more than the number of these."""

# What is in neither table is ENOSYS, by intent: clone3 and openat2 have flags and modes in memory,
# where a filter cannot look (callers fall back to clone and openat); io_uring_*; the newer calls
# for mounts (open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, mount_setattr,
# open_tree_attr, statmount, listmount); memory policy (mbind, set_mempolicy, move_pages ...);
# kcmp, process_madvise, memfd_secret, lsm_*, file_setattr, quotactl_fd, personality but for what
# is below, and what only old kernels have.

_NAMESPACES = (
    0x00020000,  # CLONE_NEWNS
    0x02000000,  # CLONE_NEWCGROUP
    0x04000000,  # CLONE_NEWUTS
    0x08000000,  # CLONE_NEWIPC
    0x10000000,  # CLONE_NEWUSER
    0x20000000,  # CLONE_NEWPID
    0x40000000,  # CLONE_NEWNET
)
_SET_ID = (0o4000, 0o2000)
_CREATING = (0o100, 0o20000000)  # O_CREAT, and the bit of O_TMPFILE that is its own
_TERMINAL = (
    0x5412,  # TIOCSTI: types into the terminal, for whoever reads there next
    0x541C,  # TIOCLINUX: pastes into a console
    0x5423,  # TIOCSETD: loads a line discipline, as old as little used
)
# Families and protocols; each further one is a module that the kernel would load for the asking.
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
_PROTOCOLS = (0, 6, 17)  # any, TCP, UDP
_PING = {_INET: 1, _INET6: 58}  # for those groups of users that may
_ROUTE = 0  # NETLINK_ROUTE: names and addresses of interfaces


def _has(index: int, bit: int) -> SyscallArgument:
    return SyscallArgument(index, "==", bit, mask=bit)


def _is(index: int, value: int) -> SyscallArgument:
    return SyscallArgument(index, "==", value)


_Case = tuple[tuple[SyscallArgument, ...], Action]


def _but(cases: Iterable[tuple[SyscallArgument, ...]]) -> tuple[_Case, ...]:
    """Allowed but for these."""
    return (((), "allow"), *((case, errno.EPERM) for case in cases))


def _only(cases: Iterable[tuple[SyscallArgument, ...]]) -> tuple[_Case, ...]:
    return tuple((case, "allow") for case in cases)


def _rules() -> dict[str, Action | tuple[_Case, ...]]:
    rules: dict[str, Action | tuple[_Case, ...]] = {}
    for names in ALLOWED.values():
        rules.update(dict.fromkeys(names.split(), "allow"))
    for names in REFUSED.values():
        rules.update(dict.fromkeys(names.split(), errno.EPERM))
    rules["clone"] = _but((_has(0, bit),) for bit in _NAMESPACES)
    rules["ioctl"] = _but((_is(1, request),) for request in _TERMINAL)
    # A set-id file outlives the container where a bind is writable.
    for name, mode in (
        ("chmod", 1),
        ("fchmod", 1),
        ("fchmodat", 2),
        ("fchmodat2", 2),
        ("creat", 1),
        ("mknod", 1),
        ("mknodat", 2),
    ):
        rules[name] = _but((_has(mode, bit),) for bit in _SET_ID)
    for name, flags in (("open", 1), ("openat", 2)):
        # The mode is rubbish where nothing is created.
        rules[name] = _but(
            (_has(flags, creating), _has(flags + 1, bit))
            for creating in _CREATING
            for bit in _SET_ID
        )
    rules["socket"] = _only(
        (
            (_is(0, _UNIX),),
            *((_is(0, f), _is(2, p)) for f in _PING for p in (*_PROTOCOLS, _PING[f])),
            (_is(0, _NETLINK), _is(2, _ROUTE)),
        )
    )
    rules["socketpair"] = _only([(_is(0, _UNIX),)])
    # As it is, and the question what it is.  Others switch off what makes exploits harder.
    rules["personality"] = _only([(_is(0, 0),), (_is(0, 0xFFFFFFFF),)])
    return rules


UNTRUSTED = SeccompFilter(errno.ENOSYS, _rules())
"""For code that nobody trusts.  It lets Python and ordinary programs work, threads and child
processes too, and closes: namespaces and mounts by every call; io_uring, bpf, perf, userfaultfd,
keys, modules, kexec; set-id modes by every call; TIOCSTI and TIOCLINUX; ptrace and the memory of
other processes; all sockets but local ones, TCP, UDP and ping; and every call that is newer."""
