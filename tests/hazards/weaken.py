"""Every row's tests must fail where the wall that they test is missing: see them fail.

``python tests/hazards/weaken.py [ROW ...]`` copies the tree to a temporary directory, takes one
wall down there, builds, and runs the row's tests.  What still passes tests nothing.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
TREE = HERE.parents[1]
ATTACH_C = "pycontainer/_native/attach.c"
ATTRIBUTES_C = "pycontainer/_native/attributes.c"
BIND_C = "pycontainer/_native/bind.c"
BOUNDS = "pycontainer/plan/bounds.py"
CACHE = "pycontainer/shell/cache.py"
CALLER_C = "pycontainer/_native/caller.c"
CGROUP = "pycontainer/launch/cgroup.py"
CGROUP_C = "pycontainer/_native/cgroup.c"
ACCOUNTS = "pycontainer/host/accounts.py"
CHILD = "pycontainer/launch/child.py"
CHILD_C = "pycontainer/_native/child.c"
CHILDREN_C = "pycontainer/_native/children.c"
CLONE_C = "pycontainer/_native/clone.c"
COMPILE = "pycontainer/plan/compile.py"
DEFAULTS = "pycontainer/plan/defaults.py"
DIAGNOSE = "pycontainer/host/diagnose.py"
DISCARD = "pycontainer/launch/discard.py"
DISPATCH = "pycontainer/launch/dispatch.py"
EXCURSION = "pycontainer/excursion.py"
EXCHANGE = "pycontainer/launch/exchange.py"
HEARING = "pycontainer/launch/hearing.py"
SOCKETS = "pycontainer/launch/sockets.py"
FETCHING = "pycontainer/shell/fetching.py"
FILESYSTEM_C = "pycontainer/_native/filesystem.c"
FORKSERVER = "pycontainer/launch/forkserver.py"
IDENTITY = "pycontainer/launch/identity.py"
IDENTITY_C = "pycontainer/_native/identity.c"
REFUSE_C = "pycontainer/_native/refuse.c"
JOIN_C = "pycontainer/_native/join.c"
LIMITS = "pycontainer/launch/limits.py"
MASK_C = "pycontainer/_native/mask.c"
PLACES = "pycontainer/build/places.py"
READING = "pycontainer/oci/reading.py"
REQUEST_C = "pycontainer/_native/request.c"
RESOLVE_C = "pycontainer/_native/resolve.c"
RUNNING = "pycontainer/launch/running.py"
SCAN = "pycontainer/build/scan.py"
SERVER_C = "pycontainer/_native/server.c"
SHED_C = "pycontainer/_native/shed.c"
SET_ID = "pycontainer/launch/set_id.py"
SETUP_C = "pycontainer/_native/setup.c"
START = "pycontainer/launch/start.py"
STEPPING = "pycontainer/build/stepping.py"
STDLIB = "pycontainer/launch/stdlib.py"
STDLIB_C = "pycontainer/_native/stdlib.c"
STDIO = "pycontainer/launch/stdio.py"
WATCH_C = "pycontainer/_native/watch.c"
ARRANGEMENT = "pycontainer/declare/arrangement.py"
TREE_C = "pycontainer/_native/tree.c"
TREES = "pycontainer/build/trees.py"
UNPACKING = "pycontainer/shell/unpacking.py"
VISIT_C = "pycontainer/_native/visit.c"
FILTERS = "pycontainer/launch/filters.py"
LAYERS = "pycontainer/plan/layers.py"
UNTRUSTED = "pycontainer/declare/untrusted.py"
BOUNDS_C = "pycontainer/_native/bounds.c"
COMMAND_C = "pycontainer/_native/command.c"
TERMINAL = "pycontainer/launch/terminal.py"
TRANSPORT = "pycontainer/launch/codec/transport.py"

# x86-64 has the older calls too, and some C libraries use them.
NO_CHMOD = (REFUSE_C, "        MODE_RULE(__NR_chmod, 1),\n", "")
NO_MKNOD = (REFUSE_C, "        MODE_RULE(__NR_mknod, 1),\n", "")

# The last of the two, after the changes of ids that take the flag away too.
DUMPABLE = (
    "    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)\n"
    "        return failure->error = errno;\n    failure->stage = PC_STAGE_TIE;\n",
    "    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);\n    failure->stage = PC_STAGE_TIE;\n",
)

# Row (and a letter where a row has several walls): file, what stands there, what it becomes;
# three more of these where two walls hold the same thing.
WEAKENINGS: dict[str, tuple[str, ...]] = {
    # Paths of the container with the host's eyes.
    "1": (
        RESOLVE_C,
        "        fd = (int)syscall(SYS_openat2, directory, path, &how, sizeof(how));",
        "        fd = (how.resolve = 0, (int)syscall(SYS_openat2, directory,"
        ' path[1] ? path + 1 : ".", &how, sizeof(how)));',
    ),
    # Entries on the host's file systems: the check of the plan and the one in the helper.
    "1b": (
        ARRANGEMENT,
        '    """Entries are made on a tmpfs of the container only."""\n',
        "    return\n",
        RESOLVE_C,
        "    return EXDEV;",
        "    return 0;",
    ),
    # The places for a build step's mounts.
    "1c": (
        PLACES,
        "_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC",
        "_LOOK = os.O_PATH | os.O_CLOEXEC",
    ),
    "1d": (
        PLACES,
        "            if status.st_ino != inode and inode is not None:\n",
        "            if False:\n",
    ),
    # Archives of root file systems.
    "1e": (
        UNPACKING,
        "            if stat.S_ISLNK(mode):\n",
        "            if stat.S_ISLNK(mode) and os.path.isdir(path):\n"
        "                walked.append(part)\n"
        "            elif stat.S_ISLNK(mode):\n",
    ),
    "1f": (UNPACKING, '        if ".." in parts or', "        if"),
    "1g": (
        UNPACKING,
        "os.path.join(self._directory(parts[:-1], make=False), *parts[-1:])",
        "os.path.join(self.root, *parts)",
    ),
    "2": (
        RESOLVE_C,
        "        fd = (int)syscall(SYS_openat2, directory, path, &how, sizeof(how));",
        "        fd = (how.resolve = 0, (int)syscall(SYS_openat2, directory,"
        ' path[1] ? path + 1 : ".", &how, sizeof(how)));',
    ),
    # What is masked is looked for by its name alone.
    "2b": (
        RESOLVE_C,
        "    if (!found)\n        return 0;",
        "    if (!found || found)\n        return 0;",
    ),
    "3": (
        CHILDREN_C,
        "        kill(children.all[i].pid, SIGKILL); /* not",
        "        continue; /* not",
        SERVER_C,
        "    pc_end_children();\n    pc_watch_end_all();\n    take_last",
        "    pc_watch_end_all();\n    take_last",
        CHILD_C,
        "    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)\n        return errno;\n"
        "    if (poll(&life",
        "    if (prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0) != 0)\n        return errno;\n"
        "    if (poll(&life",
    ),
    # Outputs of builds.
    "3b": (
        SCAN,
        "O_PLACE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC",
        "O_PLACE = os.O_PATH | os.O_CLOEXEC",
    ),
    # Half-made software.
    "3c": (CACHE, "    if os.path.islink(directory):\n", "    if False:\n"),
    "3d": (CACHE, "            if not os.path.islink(path):\n", "            if True:\n"),
    "4": (RESOLVE_C, "RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,", "RESOLVE_BENEATH,"),
    "4b": (RESOLVE_C, "RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,", "RESOLVE_NO_SYMLINKS,"),
    "4c": (
        ATTACH_C,
        "int fd = pc_open_inside(target, O_PATH, 0);",
        "int fd = pc_open_inside(target, O_RDONLY, 0);",
    ),
    # A refused step that is passed over.
    "5": (SETUP_C, "        if (error) {\n", "        if (error && error != EPERM) {\n"),
    "5b": (
        SETUP_C,
        "return pc_mount_setattr(pc_root, 0, &read_only) != 0 ? errno : 0;",
        "return pc_mount_setattr(pc_root, 0, &read_only), 0;",
    ),
    "5c": (IDENTITY_C, "if (error != EPERM || !groups_are_fixed())", "if (error != EPERM)"),
    "5d": (
        REQUEST_C,
        "return pc_close_from((unsigned)first);",
        "return pc_close_from((unsigned)first), 0;",
    ),
    # The reason for a refusal that is lost on the way.
    "5e": (
        HEARING,
        "            # it had said: why it died, for one.\n            return True\n",
        '            message, fds = b"", []\n',
    ),
    # Descriptors left open: the caller's own, and those of the set-up.
    "6": (
        CHILD_C,
        "return pc_close_from(PC_FD_STDLIB);",
        "return 0;",
        REQUEST_C,
        "return pc_close_from((unsigned)first);",
        "return first < 0;",
    ),
    "6b": (
        REQUEST_C,
        "return pc_close_from((unsigned)first);",
        "return first < 0;",
    ),
    "6c": (
        JOIN_C,
        "    close(PC_FD_CWD);\n    close(pc_proc);\n    pc_proc = -1;\n",
        "",
        VISIT_C,
        "    error = pc_close_from(PC_FD_STATUS + 1);\n",
        "    error = 0;\n",
    ),
    # A fork of the caller for every call.
    "7": (
        START,
        '    fork = options.start_method == "fork"\n',
        "    fork = True\n",
    ),
    # A joiner that others may look into.
    "8": (JOIN_C, *DUMPABLE),
    # The child leaves through the caller's frames.
    "9": (
        CHILD,
        "_say(lib.PC_SAY_EXCEPTION, encode_exception(error, call.allow))\n    os._exit(code)\n",
        "pass\n    raise SystemExit(code)\n",
        CHILD,
        "    except BaseException as error:\n"
        "        _say_load_failure(error)\n        os._exit(FAILED)\n\n\ndef _forget_h",
        "    except KeyError as error:\n"
        "        _say_load_failure(error)\n        os._exit(FAILED)\n\n\ndef _forget_h",
        DISPATCH,
        "                    if os.getpid() != caller:\n"
        "                        os._exit(125)  # as child.FAILED\n",
        "                    pass\n",
    ),
    "9b": (
        STDIO,
        "                    stream.flush()\n",
        "                    pass\n",
    ),
    # A raw clone of a caller with threads: nobody has put its locks in order.
    "10": (
        START,
        '    fork = options.start_method == "fork"\n',
        "    fork = True\n",
        DISPATCH,
        "                    exchange.supervisor = os.fork()\n",
        "                    import ctypes, platform\n"
        "                    exchange.supervisor = ctypes.PyDLL(None).syscall("
        "56 if platform.machine() == 'x86_64' else 220, 17, 0, 0, 0, 0)\n",
    ),
    "11": (JOIN_C, *DUMPABLE),
    # The lock's maps through whatever lies at /proc by then.
    "13": (
        IDENTITY_C,
        "    if (mapper)\n        return lock_with_mapper",
        '    pc_proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);\n'
        "    if (mapper)\n        return lock_with_mapper",
    ),
    # A join that leaves something out: a namespace, capabilities, groups, filters.
    "14": (
        JOIN_C,
        "    uint32_t namespaces = request->join_namespaces;\n",
        "    uint32_t namespaces = request->join_namespaces & ~(uint32_t)PC_NS_CGROUP;\n",
    ),
    "14b": (
        JOIN_C,
        "(error = pc_set_capabilities(request->join_capabilities)) != 0",
        "(error = 0) != 0",
    ),
    "14c": (JOIN_C, "(request->join_no_new_privileges & PC_JOIN_REFUSE_SET_ID) &&", "0 &&"),
    "14d": (
        JOIN_C,
        "    if (request->join_uid != UINT32_MAX &&\n",
        "    if (request->join_uid == UINT32_MAX &&\n",
    ),
    "14e": (EXCURSION, "            _check_unmapped(pid, target)\n", ""),
    # A process by its number.
    "15": (
        EXCURSION,
        "Descriptor(os.dup(pid.pidfd) if isinstance(pid, Running) else _open(number))",
        "Descriptor(_open(number))",
    ),
    "15b": (
        EXCURSION,
        "            return start_join(\n",
        "            number = pid if isinstance(pid, int) else pid.pid\n"
        "            pidfd = Descriptor(os.pidfd_open(number))\n            return start_join(\n",
    ),
    "15c": (
        EXCHANGE,
        "signal.pidfd_send_signal(pidfd, number)",
        "os.kill(self.pid + (pidfd != self.pidfd), number)",
    ),
    # Imports and name services with the container's eyes.
    "12": (
        CHILD,
        "    sys.meta_path, sys.path_hooks, sys.path = [HostsOwn(_stdlib)], [], []\n",
        "",
    ),
    "12b": (SERVER_C, "            pc_load_name_services();", "            "),
    "12c": (
        JOIN_C,
        "        (void)__nss_configure_lookup(databases[i], services);",
        "        (void)services;",
    ),
    "12d": (
        STDLIB,
        "if file is not None and not (self.strict and _needs_more(file)):",
        "if file is not None:",
    ),
    "12e": (
        STDLIB,
        'return not self.strict and _identity(f"/proc/self/fd/{STDLIB}") == self._identity',
        "return True",
    ),
    # What the container says that it may not say: a pickle, a memfd that it can still change, a
    # failure after the start.
    "16": (RUNNING, 'if self._returns != "pickle":', "if False:"),
    "16b": (TRANSPORT, "if seals & _SEALS != _SEALS:", "if False:"),
    "16c": (HEARING, "elif not self.ready and kind in _BEFORE", "elif kind in _BEFORE"),
    # Descriptors that nobody asked for.
    "16d": (
        SOCKETS,
        "    discard(fds[most_fds:])\n",
        "",
    ),
    "16e": (SOCKETS, "or (fds and not message):", "or False:"),
    "17": (TRANSPORT, "        if size > limit:", "        if False:"),
    "17b": (
        DISCARD,
        "        _thread.start_new_thread(_close, (fds, done))\n",
        "        _close(fds, done)\n",
    ),
    "17c": (EXCHANGE, "            discard_unread(self.call)\n", ""),
    # All ties to the caller: the helper's two, and the kernel's to the helper.
    "18": (
        SERVER_C,
        "    pc_end_children();\n    pc_watch_end_all();\n    take_last",
        "    pc_watch_end_all();\n    take_last",
        CHILDREN_C,
        "        kill(children.all[i].pid, SIGKILL); /* not",
        "        continue; /* not",
        CHILD_C,
        "    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)\n        return errno;\n"
        "    if (poll(&life",
        "    if (prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0) != 0)\n        return errno;\n"
        "    if (poll(&life",
    ),
    # What a container without a pid namespace leaves.
    "18b": (
        SERVER_C,
        "    pc_end_children();\n    pc_watch_end_all();\n    take_last",
        "    pc_watch_end_all();\n    take_last",
    ),
    # A tie that comes too late, and a helper that does not look for leftovers.
    "18c": (
        CHILD_C,
        "    return ended.revents ? EOWNERDEAD : 0;\n",
        "    return 0;\n",
        TREE_C,
        "        if (!spared || !spared(pids.all[i])) {\n",
        "        if (!spared) {\n",
    ),
    # Process 1 without a handler, and an init that waits for its main child alone.
    "19": (CHILD_C, "{SIGTERM, SIGHUP, SIGQUIT, ", "{SIGHUP, SIGQUIT, "),
    "19b": (
        CHILD_C,
        "            while ((pid = waitpid(-1, &status, WNOHANG)) > 0)\n                if",
        "            while ((pid = waitpid(main_child, &status, WNOHANG)) > 0)\n                if",
    ),
    "20": (CHILD_C, "    sigprocmask(SIG_SETMASK, &none, NULL);\n", ""),
    "20b": (CHILD_C, "    default_internal_signals();\n", ""),
    "20c": (SERVER_C, "    pc_default_signals();", "    "),
    "21": (COMPILE, 'if "user" in names and container.lock_mounts:', "if False:"),
    # The uppermost mount alone: of host root's sources, and of everybody else's.
    "22": (
        BIND_C,
        "if (!S_ISCHR(status.st_mode) || (",
        "if ((",
    ),
    # What masks a file, taken from the container, whatever it is; and not looked at on the host.
    "22b": (
        MASK_C,
        "    int tree = pc_open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);",
        "    int place = pc_open_inside(path, O_PATH, 0);\n    int tree = place < 0 ? -1 :"
        " pc_open_tree(place, PC_EMPTY, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);",
        MASK_C,
        "    else if (!S_ISCHR(status.st_mode) || status.st_rdev != number)",
        "    else if (number == 0)",
    ),
    "22c": (
        MASK_C,
        "    else if (!S_ISCHR(status.st_mode) || status.st_rdev != number)",
        "    else if (number == 0)",
    ),
    # Device files that a step of root's makes itself.
    "22d": (READING, "        return evolve(item, nodev=True)\n", "        return item\n"),
    "23": (
        CALLER_C,
        'fd, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0),',
        'fd, "", AT_EMPTY_PATH,',
        BIND_C,
        "pc_mount_setattr(tree, recursive ? AT_RECURSIVE : 0, &attributes) != 0)",
        "pc_mount_setattr(tree, 0, &attributes) != 0)",
    ),
    # Flags that are not asked for are cleared, as the old remount does.
    "24": (
        ATTRIBUTES_C,
        "    *clear = 0;\n",
        "    *clear = flags & PC_MOUNT_NO_EXEC ? 0 : MOUNT_ATTR_NOEXEC;\n"
        "    *clear |= flags & PC_MOUNT_NO_DEV ? 0 : MOUNT_ATTR_NODEV;\n"
        "    *clear |= flags & PC_MOUNT_NO_SUID ? 0 : MOUNT_ATTR_NOSUID;\n",
    ),
    "25": (
        CALLER_C,
        "attributes = {.propagation = MS_PRIVATE};",
        "attributes = {0};",
        SETUP_C,
        "MS_REC | MS_PRIVATE, NULL)",
        "MS_REC | MS_SLAVE, NULL)",
    ),
    # The masks where uid 0 is the host's own, and the map that keeps its files its own.
    "26": (
        COMPILE,
        'if "mnt" not in container.namespaces or ("user" in container.namespaces and start != 0):',
        "if True:",
    ),
    "26b": (IDENTITY, '_mount_map(guests[0]) if idmapped else "",', '"",'),
    # A cgroup namespace that begins above the container's own limits.
    "27": (CGROUP_C, "&& unshare(CLONE_NEWCGROUP) != 0)", "&& false)"),
    # Root's groups: dropped by the helper, and again by the child.
    "28": (
        SERVER_C,
        "    (void)!syscall(SYS_setgroups, 0, NULL);",
        "    ",
        IDENTITY_C,
        "    if (syscall(SYS_setgroups, 0, NULL) != 0) {\n",
        "    if (false) {\n",
    ),
    # An ordinary user's, which nobody reports.
    "28b": (
        DIAGNOSE,
        "residual = accounts.residual_groups(files)",
        "residual = []",
    ),
    # The ways to a set-id file, one by one.
    "31": (REFUSE_C, "        MODE_RULE(__NR_fchmodat, 2),\n", "", *NO_CHMOD),
    "31b": (REFUSE_C, "        MODE_RULE(__NR_fchmodat2, 2),\n", ""),
    "31c": (REFUSE_C, "        OPEN_RULE(__NR_openat, 2, 3),\n", ""),
    "31d": (REFUSE_C, "        ERRNO_RULE(__NR_openat2, ENOSYS),\n", ""),
    "31e": (REFUSE_C, "        MODE_RULE(__NR_mknodat, 2),\n", "", *NO_MKNOD),
    "31f": (REFUSE_C, "        ERRNO_RULE(__NR_fsopen, EPERM),\n", ""),
    "31g": (REFUSE_C, "        ERRNO_RULE(__NR_io_uring_setup, ENOSYS),\n", ""),
    "31h": (
        REFUSE_C,
        "    data[0].effective &= ~setfcap;\n    data[0].permitted &= ~setfcap;\n",
        "    data[0].effective &= ~0u;\n",
    ),
    "31i": (REFUSE_C, "        error = refuse_attributes();\n", ""),
    "31j": (REFUSE_C, "        MODE_RULE(__NR_fchmod, 1),\n", ""),
    "31k": (
        REFUSE_C,
        "        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MS_MGC_VAL, 1, 0),\n",
        "        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MS_MGC_VAL, 0, 0),\n",
    ),
    # Host root without a user namespace; the hook.
    "31l": (SET_ID, "not identity.host_root:", "not identity.host_root or not identity.uid_map:"),
    "31m": (
        SET_ID,
        "            _refuse(refused & ~Refused.CAPABILITIES),\n",
        "",
        SET_ID,
        "start + 2",
        "start + 1",
        SET_ID,
        "hook + 1",
        "hook",
    ),
    "31n": (SET_ID, "hooked or (identity.uid_map and guest_uid != 0)", "guest_uid != 0"),
    # A build step's, wherever its root file system is.
    "31o": (STEPPING, "os.geteuid() == 0 and _all_out_of_reach(rootfs, step)", "True"),
    # An archive's.
    "31p": (UNPACKING, "(member.mode & 0o777) | 0o400)", "member.mode)"),
    "31q": (UNPACKING, "(member.mode & 0o1777) | 0o700", "member.mode"),
    "29": (
        IDENTITY_C,
        "        if (held && !(sets[BOUNDING] >> capability & 1) &&",
        "        if (0 && held && !(sets[BOUNDING] >> capability & 1) &&",
    ),
    "29b": (SETUP_C, "prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0", "0"),
    "29c": (
        REQUEST_C,
        "        if (steps[i].op == PC_OP_LIMIT_CAPABILITIES)\n",
        "        if (0)\n",
    ),
    "30": (
        UNTRUSTED,
        '    rules["clone"] = _but((_has(0, bit),) for bit in _NAMESPACES)\n',
        '    rules["clone"] = rules["unshare"] = rules["setns"] = "allow"\n',
    ),
    "30b": (SETUP_C, "        return pc_no_user_namespaces();", "        return 0;"),
    "32": (UNTRUSTED, "    0x5412,  # TIOCSTI", "    0x5499,  # TIOCSTI"),
    # Both sessions: the supervisor's and the container's.
    "32b": (
        DISPATCH,
        "                    os.setsid()\n",
        "                    pass\n",
        CLONE_C,
        "    setsid(); /* EPERM cannot be",
        "    /* EPERM cannot be",
    ),
    "32c": (
        TERMINAL,
        "            slave = self._slave\n",
        "            slave = self._slave if self._user < 0 else self._user\n",
        COMMAND_C,
        "if ((getsid(0) != getpid() && setsid() < 0) || ioctl(STDIN_FILENO, TIOCSCTTY, 0) != 0)",
        "if (0)",
    ),
    # The host's network, and with it the abstract names of sockets.
    "33": (CLONE_C, "{PC_NS_NET, CLONE_NEWNET},", "{PC_NS_NET, 0},"),
    # Outputs of builds: the file itself in place of a copy.
    "33b": (
        TREES,
        "            _copy_file(stream, fd, path, directory, name, fsync)\n",
        "            stream.file(fd, os.fstat(fd), path)\n"
        "            os.link(f'/proc/self/fd/{fd}', name, dst_dir_fd=directory)\n",
    ),
    "34": (
        IDENTITY_C,
        "const bool failed = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0;",
        "const bool failed = false;",
    ),
    "34b": (IDENTITY_C, "if (error == EDQUOT && keyring_is_helpers)", "if (error == EDQUOT)"),
    "34c": (
        CHILD,
        '    _check(control, _leave_keyring(), "join a new session keyring")\n',
        "",
    ),
    "35": (CHILD, "        del environment[name]\n", "        pass\n"),
    # The helper's arguments name the caller's script and where its modules lie.
    "35c": (SHED_C, "    hide_arguments();\n", ""),
    "35d": (CLONE_C, "{\n    pc_shed_interpreter();\n    if (pc_run", "{\n    if (pc_run"),
    "35b": (FORKSERVER, "            _environment(preload),\n", "            dict(os.environ),\n"),
    "35e": (FETCHING, '"LANG": "C.UTF-8", **env}', '"LANG": "C.UTF-8", **env, **os.environ}'),
    # The interpreter from where it lies.
    "37": (FILTERS, '(_BAD_ARCH, _ACTIONS["kill"])', '(_BAD_ARCH, _ACTIONS["allow"])'),
    "37b": (LAYERS, "every = (1 << bits) - 1", "every = (1 << 64) - 1"),
    "38": (UNTRUSTED, "SeccompFilter(errno.ENOSYS, _rules())", 'SeccompFilter("allow", _rules())'),
    "38b": (
        UNTRUSTED,
        "        rules[name] = _but((_has(mode, bit),) for bit in _SET_ID)\n",
        "        assert mode\n",
    ),
    "38c": (
        COMMAND_C,
        "    if (pc_run_plan(2) != 0)\n        _exit(125);\n    command.state",
        "    command.state",
    ),
    "38d": (VISIT_C, "    if (pc_run_plan(2) != 0)\n", "    if (0)\n"),
    "38e": (REQUEST_C, "pc_has_filter() ? pc_install_init_filter() : 0", "0 * pc_has_filter()"),
    "39": (BOUNDS_C, "return syscall(SYS_seccomp,", "return 0 && syscall(SYS_seccomp,"),
    "40": (
        BOUNDS_C,
        "flags, &filter) != 0 ? errno : 0;",
        "flags, &filter) != 0 ? 0 : 0;",
    ),
    "40b": (FILTERS, '    refuse("seccomp filter", unknown)\n', ""),
    "36": (BOUNDS, "    steps = [_NO_CORE]\n", "    steps: list[Step] = []\n"),
    "36b": (FILESYSTEM_C, '"nr_inodes", "1m"', '"nr_inodes", "1g"'),
    "36c": (DEFAULTS, 'TMPFS_SIZE = "10%"', 'TMPFS_SIZE = "50%"'),
    # Processes: what each of them holds, and all of them.
    "36d": (
        BOUNDS_C,
        "[PC_LIMIT_PROCESSES] = RLIMIT_NPROC",
        "[PC_LIMIT_PROCESSES] = RLIMIT_MSGQUEUE",
        CGROUP,
        'return [("pids.max", str(bound), False)]',
        'return [("pids.max", "4096", False)]',
    ),
    # Memory: by a cgroup, and without one.
    "36e": (
        CGROUP,
        '("memory.limit_in_bytes", str(bound), False),\n'
        '                ("memory.memsw.limit_in_bytes", str(bound), True),',
        '("memory.limit_in_bytes", "-1", False),',
    ),
    "36f": (WATCH_C, "watcher->tree.memory > bounds->memory", "watcher->tree.memory == 1"),
    # What the caller has counts too, or as much of what the container has does not.
    "36g": (
        TREE_C,
        "                inherited += smaller(",
        "                inherited += 0 * smaller(",
    ),
    "36h": (TREE_C, "smaller(inherited, copied.anonymous - copied.pss_anon)", "copied.anonymous"),
    "36i": (TREE_C, "(!(init && i == 0) && read", "((init || !init) && read"),
    # The kernel's notice of the end of a memory goes to a descriptor that has been closed.
    "36j": (WATCH_C, "errno : pc_raise_fds(&notices, 1);", "errno : 0;"),
    # A limit that is not held, and nobody says so.
    "40c": (LIMITS, "        if not self.limits.strict:\n", "        if True:\n"),
    "40d": (LIMITS, 'self.enforced[name] = f"not held: {why}"', "pass"),
    "41": (
        FORKSERVER,
        'program = f"/proc/self/fd/{tree_at}{os.path.realpath(executable)}"',
        "program = os.path.realpath(executable)",
    ),
    "42": (STDIO, "if number == 0 and stat.S_ISREG(status.st_mode):", "if False:"),
    "42b": (STDIO, "if stat.S_ISDIR(status.st_mode):", "if False:"),
    "42c": (STDIO, "os.path.samestat(os.fstat(tree), status)", "True"),
    "42d": (STDIO, "        if not nulls:\n            return\n", "        return\n"),
    # Nothing of the helper's is closed in its children.
    "43": (
        CHILD_C,
        "return pc_close_from(PC_FD_STDLIB);",
        "return 0;",
    ),
    # The mount of the standard library as open_tree(2) returns it.
    "44": (
        STDLIB_C,
        'openat(tree, ".", O_PATH | O_DIRECTORY | O_CLOEXEC)',
        "fcntl(tree, F_DUPFD_CLOEXEC, PC_FD_KEPT)",
        STDLIB_C,
        "sizeof(attributes)) == 0 || errno != EINVAL)) {",
        "sizeof(attributes)) == 0 && false)) {",
    ),
    "44b": (STDLIB_C, "MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | ", "MOUNT_ATTR_NOSUID | "),
    "44c": (STDLIB_C, " | MOUNT_ATTR_NOSYMFOLLOW,", ","),
    "44d": (
        STDLIB_C,
        "if (*library->hidden && (error = hide(library)) != 0)",
        "if (false && hide)",
    ),
    "44e": (
        REQUEST_C,
        "if (!has_walls())",
        "if (false && has_walls())",
    ),
    "44f": (STDLIB, "if _identity(STDLIB) != self._identity:", "if False:"),
    "44g": (STDLIB_C, "PC_FD_STDLIB, O_CLOEXEC) < 0)", "PC_FD_STDLIB, 0) < 0)"),
    "44h": (CHILD_C, "    pc_drop_stdlib();\n", ""),
}

# Those that only root's tests, or only an ordinary user's, can see.
AS_ROOT = {"4c", "5b", "5c", "6c", "14c", "14d", "14e", "26", "26b", "28", "28b", "34b", "34c"}
AS_ROOT |= {key for key in WEAKENINGS if key.startswith("31")}
AS_ROOT |= {"22d", "27", "36e", "36j", "42d"}
AS_USER: set[str] = {"36f", "36i"}


def row_of(key: str) -> str:
    """The two digits of a row's file name: "7b" is in row 07."""
    return key.rstrip("abcdefghijklmnopqrstuvwxyz").zfill(2)


def end_leftovers(directory: str) -> None:
    """Kill what a weakened tree did not: all processes that were started from *directory*."""
    mark = os.fsencode(directory)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if any(mark in (entry / name).read_bytes() for name in ("environ", "cmdline")):
                    os.kill(int(entry.name), signal.SIGKILL)
            except OSError:
                pass  # it has ended, or is another user's


def run_weakened(key: str, show: bool) -> bool:
    """Whether the tests of a row fail on a tree without one of its walls."""
    edits = WEAKENINGS[key]
    files = edits[::3]
    with tempfile.TemporaryDirectory(prefix="weakened-") as directory:
        copy = Path(directory)
        copy.chmod(0o755)
        for name in ("pycontainer", "tests"):
            shutil.copytree(TREE / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("_build_ffi.py", "setup.cfg", "pyproject.toml"):
            shutil.copy2(TREE / name, copy)
        (copy / "README.md").touch()  # setup.cfg names it
        for file, old, new in zip(files, edits[1::3], edits[2::3], strict=True):
            text = (copy / file).read_text()
            if text.count(old) != 1:
                sys.exit(f"{key}: {file} holds the text of this row {text.count(old)} times")
            (copy / file).write_text(text.replace(old, new))
        environment = os.environ | {"PYTHONPATH": directory, "PYTHONDONTWRITEBYTECODE": "1"}
        if any(file.endswith((".c", ".h")) for file in files):
            subprocess.run(
                [sys.executable, "_build_ffi.py"],
                cwd=copy,
                env=environment,
                check=True,
                stdout=subprocess.DEVNULL,
            )
        tests = sorted(map(str, (copy / "tests/hazards").glob(f"test_row_{row_of(key)}_*.py")))
        try:
            ran = subprocess.run(
                [sys.executable, "-m", "pytest", "-q", "--tb=line", "--no-header", *tests],
                cwd=copy,
                env=environment,
                text=True,
                capture_output=True,
                check=False,
                timeout=300,
            )
        finally:
            end_leftovers(directory)
    # A fixture that looks at what the test has left finds its failure at the test's end.
    failed = [
        line
        for line in ran.stdout.splitlines()
        if line.startswith("FAILED") or " ERROR at teardown of " in line
    ]
    # 1: tests ran and some failed; not collected, or all passed, is no failure of ours.
    seen = ran.returncode == 1 and bool(failed)
    verdict = "seen to fail" if seen else "NOT SEEN TO FAIL"
    print(f"row {key}: {verdict} without {', '.join(files)}", flush=True)
    for line in (failed if seen else ran.stdout.splitlines()) if show or not seen else failed[:3]:
        print("   ", line, flush=True)
    return seen


def main() -> int:
    """The exit status: 0 when every row asked for was seen to fail."""
    show = "-v" in sys.argv
    wanted = [one for one in sys.argv[1:] if one != "-v"]
    keys = [
        key
        for key in WEAKENINGS
        if not wanted or key in wanted or row_of(key) in (one.zfill(2) for one in wanted)
    ]
    seen = [run_weakened(key, show) for key in keys]
    return 0 if seen and all(seen) else 1


if __name__ == "__main__":
    sys.exit(main())
