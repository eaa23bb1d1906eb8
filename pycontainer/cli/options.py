"""The options of ``pycontainer run``: names as bubblewrap has them, and else as podman has them.

A table of plain data: parsing a usual command line takes nothing else, and click (help, errors)
builds its own parser from it.
"""

from __future__ import annotations

from .option import Option

__all__ = ["ELSEWHERE", "RUN", "Option"]


_FILES = "Files, in this order"
_HOST = "Views of the host, read-only"
_MASKS = "When everything is mounted"
_ROOT = "The root"
_NAMES = "Namespaces, ids and names"
_ENVIRONMENT = "Environment"
_PRIVILEGES = "Privileges"
_LIMITS = "Limits"
_TERMINAL = "Terminal and output"

RUN: tuple[Option, ...] = (
    Option(_FILES, "--bind", "SRC DEST", "Show SRC of the host at DEST, writable."),
    Option(_FILES, "--bind-try", "SRC DEST", "The same, left out when SRC does not exist."),
    Option(_FILES, "--ro-bind", "SRC DEST", "Show SRC of the host at DEST, read-only."),
    Option(_FILES, "--ro-bind-try", "SRC DEST", "The same, left out when SRC does not exist."),
    Option(_FILES, "--dev-bind", "SRC DEST", "--bind, and device files below it work."),
    Option(_FILES, "--dev-bind-try", "SRC DEST", "The same, left out when SRC does not exist."),
    Option(_FILES, "--tmpfs", "DEST", "An empty file system in memory."),
    Option(_FILES, "--size", "SIZE", "Of the next --tmpfs: bytes, 64m, 10%. Default: 10% of RAM."),
    Option(_FILES, "--perms", "OCTAL", "Permissions of the next --tmpfs, --dir or --file."),
    Option(_FILES, "--dir", "DEST", "An empty directory."),
    Option(_FILES, "--file", "FD DEST", "A file that holds what is read from descriptor FD."),
    Option(_FILES, "--ro-bind-data", "FD DEST", "The same."),
    Option(_FILES, "--symlink", "TO DEST", "A symbolic link at DEST that points to TO."),
    Option(_FILES, "--proc", "DEST", "A proc file system. There is one at /proc already."),
    Option(_FILES, "--dev", "DEST", "A minimal /dev, which is there already: DEST is /dev."),
    Option(_FILES, "--mqueue", "DEST", "A file system of POSIX message queues."),
    Option(_FILES, "--overlay-src", "SRC", "A layer of the next overlay; the first is lowest."),
    Option(_FILES, "--overlay", "UPPER WORK DEST", "The layers; changes go to UPPER of the host."),
    Option(_FILES, "--tmp-overlay", "DEST", "The layers; changes end with the container."),
    Option(_FILES, "--ro-overlay", "DEST", "The layers, two or more, read-only."),
    Option(_HOST, "--host-system", "", "Its programs: /usr, /bin, /lib and what they need."),
    Option(_HOST, "--host-python", "", "The Python that runs this."),
    Option(_HOST, "--host-network", "", "Its network: --share-net, resolv.conf, certificates."),
    Option(_MASKS, "--mask", "PATH", "Hide PATH of the container, if it is there."),
    Option(_MASKS, "--remount-ro", "PATH", "Make PATH of the container read-only, and all below."),
    Option(_ROOT, "--rootfs", "DIR", "DIR of the host is the root. Default: an empty tmpfs."),
    Option(_ROOT, "--read-only", "", "The root is read-only. This is the default."),
    Option(_ROOT, "--writable-root", "", "The root is writable; with --rootfs, DIR is."),
    Option(_ROOT, "--root-size", "SIZE", "Bound of a tmpfs root. Default: 10% of RAM."),
    Option(_NAMES, "--unshare-all", "", "All namespaces of its own. This is the default."),
    *(
        Option(_NAMES, f"--unshare-{name}", "", f"A {name} namespace of its own, as by default.")
        for name in ("user", "pid", "net", "ipc", "uts", "cgroup")
    ),
    Option(_NAMES, "--unshare-user-try --unshare-cgroup-try", "", "The same as without -try."),
    *(
        Option(_NAMES, f"--share-{name}", "", f"The caller's {name} namespace.")
        for name in ("net", "user", "pid", "ipc", "uts", "cgroup")
    ),
    Option(_NAMES, "--network --net", "host|none", "host: the same as --host-network."),
    Option(_NAMES, "--hostname", "NAME", "Default: localhost."),
    Option(_NAMES, "--uid", "UID", "The program's user id inside. Default: 0."),
    Option(_NAMES, "--gid", "GID", "The program's group id inside. Default: 0."),
    Option(_NAMES, "--user -u", "UID[:GID]", "Both; GID is UID when it is not given."),
    Option(_ENVIRONMENT, "--setenv", "NAME VALUE", "Set a variable. Nothing is inherited."),
    Option(_ENVIRONMENT, "--env -e", "NAME[=VALUE]", "The same; without a value, the caller's."),
    Option(_ENVIRONMENT, "--unsetenv", "NAME", "Take a variable away again."),
    Option(_ENVIRONMENT, "--clearenv", "", "Take all variables away again."),
    Option(_ENVIRONMENT, "--chdir --workdir -w", "DIR", "Start in DIR. Default: /."),
    Option(_PRIVILEGES, "--cap-add", "CAP", "Add a capability, or ALL."),
    Option(_PRIVILEGES, "--cap-drop", "CAP", "Take a capability away, or ALL."),
    Option(_PRIVILEGES, "--no-ambient", "", "A program that is not uid 0 has no capability."),
    Option(_PRIVILEGES, "--no-new-privileges", "", "Set-id bits do nothing. The default."),
    Option(_PRIVILEGES, "--new-privileges", "", "Set-id bits work."),
    Option(
        _PRIVILEGES,
        "--seccomp",
        "PRESET,...",
        "Filters: untrusted no-sync no-fork no-chmod no-chroot no-setrlimit.",
    ),
    Option(
        _PRIVILEGES,
        "--security-opt",
        "OPTION",
        "seccomp=PRESET,... or seccomp=unconfined; no-new-privileges[=true|false]; "
        "mask=PATH:PATH; unmask=ALL or PATH:PATH.",
    ),
    Option(_PRIVILEGES, "--sandbox", "", "Begin with SANDBOX, for code that nobody trusts."),
    Option(_LIMITS, "--memory -m", "SIZE", "Of all processes together: 512m, 2g."),
    Option(_LIMITS, "--cpus", "NUMBER", "Processors' worth of time, as 0.5."),
    Option(_LIMITS, "--cpuset-cpus", "LIST", "The processors to run on: 0-2,4."),
    Option(_LIMITS, "--pids-limit", "NUMBER", "Processes and threads."),
    Option(_LIMITS, "--timeout", "SECONDS", "Then everything is killed."),
    Option(_LIMITS, "--cpu-time", "SECONDS", "Of all processes together."),
    Option(_LIMITS, "--ulimit", "NAME=VALUE", "cpu, fsize, nofile, nproc, stack."),
    Option(_LIMITS, "--output-limit", "SIZE", "Of stdout and stderr, which are shown at the end."),
    Option(_LIMITS, "--no-strict-limits", "", "Run although a limit cannot be held."),
    Option(
        _TERMINAL,
        "--tty -t",
        "",
        "A terminal of its own. The default where stdin and stdout are terminals.",
    ),
    Option(_TERMINAL, "--no-tty", "", "No terminal of its own."),
    Option(_TERMINAL, "--interactive -i", "", "stdin is the caller's. The default."),
    Option(_TERMINAL, "--json", "", "At the end print how it ended, as one line of JSON."),
    Option(_TERMINAL, "--json-file", "FILE", "The same into FILE; a number is a descriptor."),
    Option(_TERMINAL, "--dry-run", "", "Print what would be done, step by step, and stop."),
    Option(_TERMINAL, "--args", "FD", "More options, from FD, each ended by a NUL character."),
    Option(_TERMINAL, "--as-pid-1", "", "The program is process 1. Default: a small init is."),
    Option(_TERMINAL, "--init", "", "A small init is process 1. This is the default."),
    Option(_TERMINAL, "--die-with-parent", "", "End when the caller does. Always so."),
    Option(_TERMINAL, "--new-session", "", "A session of its own. Always so."),
)

ELSEWHERE: dict[str, str] = {
    # bubblewrap's
    "--add-seccomp-fd": "use --seccomp PRESET, or SeccompFilter from Python",
    "--argv0": "start the program through a link of that name",
    "--bind-data": "use --file, on a --tmpfs where it is to be changed",
    "--bind-fd": "use --bind",
    "--ro-bind-fd": "use --ro-bind",
    "--block-fd": "use start_container() from Python",
    "--userns-block-fd": "use start_container() from Python",
    "--chmod": "use --perms before --tmpfs, --dir or --file",
    "--info-fd": "use --json",
    "--json-status-fd": "use --json-file",
    "--lock-file": "use flock(1)",
    "--sync-fd": "use start_container() from Python",
    "--userns": "use `nsenter`, or container_excursion() from Python",
    "--pidns": "use `nsenter`, or container_excursion() from Python",
    # podman's
    "--cap-all": "capabilities are all there by default",
    "--detach": "use the shell's `&`",
    "--privileged": "capabilities are all there by default",
    "--rm": "nothing is left of a container: there is nothing to remove",
    "--mount": "use --bind, --ro-bind or --tmpfs",
    "--volume": "use --bind or --ro-bind",
}
"""Options that others have and this has not: what to use in their place."""
