from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pycontainer
from pycontainer.host.diagnose import Finding, Report, diagnose, examine

ALL_WELL = {
    "user_namespace": 0,
    "capabilities_inside": 0,
    "mount_proc": 0,
    "load_libseccomp": 0,
    "unprivileged_namespaces": 0,
    "idmapped_mount": 0,
}


def about(report: Report, word: str) -> Finding:
    (found,) = [one for one in report.findings if word in one.subject]
    return found


@pytest.fixture(autouse=True)
def id_map_programs(monkeypatch, tmp_path):
    """As if newuidmap and newgidmap were installed."""
    program = tmp_path / "newidmap"
    program.write_text("")
    program.chmod(0o4755)
    monkeypatch.setattr(shutil, "which", lambda name: str(program))
    return program


def test_healthy_host(made_host):
    report = examine(made_host(), ALL_WELL, root=False)
    assert report.ok
    assert {one.status for one in report.findings} == {"works"}
    assert str(report).endswith("Containers work here.")


def test_healthy_host_as_root(made_host):
    report = examine(made_host(status={"CapEff": "000001ffffffffff"}), ALL_WELL, root=True)
    assert report.ok
    assert {one.status for one in report.findings} == {"works"}


def test_old_kernel(made_host):
    host = made_host({"/proc/sys/kernel/osrelease": "5.10.0-8-amd64\n"})
    report = examine(host, ALL_WELL, root=False)
    assert not report.ok
    assert about(report, "kernel").fixes == ("Boot Linux 5.14 or newer.",)


@pytest.mark.parametrize("release", ["5.14.0", "6.1", "6.18.44-fc", "10.0-rc1"])
def test_new_kernel(made_host, release):
    host = made_host({"/proc/sys/kernel/osrelease": release})
    assert about(examine(host, ALL_WELL, root=False), "kernel").status == "works"


def test_no_proc(tmp_path):
    from pycontainer.host.files import HostFiles

    report = examine(HostFiles(tmp_path), {}, root=False)
    assert not report.ok
    assert "mount -t proc" in str(report)


def test_user_namespaces_refused(made_host):
    host = made_host({"/proc/sys/kernel/unprivileged_userns_clone": "0\n"})
    report = examine(host, ALL_WELL | {"user_namespace": errno.EPERM}, root=False)
    found = about(report, "user namespaces")
    assert (report.ok, found.status) == (False, "blocked")
    assert "kernel.unprivileged_userns_clone=1" in found.fixes[0]
    assert "fix: `sudo sysctl" in str(report)
    assert str(report).endswith("Containers do not work here yet.")


def test_apparmor_denies_capabilities_inside(made_host):
    host = made_host({"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"})
    report = examine(host, ALL_WELL | {"capabilities_inside": errno.EPERM}, root=False)
    assert not report.ok
    assert "AppArmor" in about(report, "capabilities in a user namespace").detail


def test_no_attempt_but_a_limit_of_zero(made_host):
    host = made_host({"/proc/sys/user/max_user_namespaces": "0\n"})
    report = examine(host, {}, root=False)
    assert about(report, "user namespaces").status == "blocked"


def test_no_attempt(made_host):
    report = examine(made_host(), {}, root=False)
    assert about(report, "user namespaces").status == "unknown"
    assert report.ok


def test_limit_of_another_namespace(made_host):
    host = made_host({"/proc/sys/user/max_net_namespaces": "0\n"})
    report = examine(host, ALL_WELL, root=False)
    assert not report.ok
    assert "max_net_namespaces is 0" in str(report)


def test_masked_proc_in_docker(made_host):
    mounts = (
        "27 1 0:9 / / rw - overlay overlay rw\n22 27 0:21 / /proc rw - proc proc rw\n"
        "23 22 0:5 /null /proc/kcore rw - tmpfs tmpfs rw\n"
        "24 22 0:6 / /proc/sys/fs/binfmt_misc rw - binfmt_misc none rw\n"
    )
    host = made_host({"/proc/self/mountinfo": mounts, "/.dockerenv": ""})
    report = examine(host, ALL_WELL | {"mount_proc": errno.EPERM}, root=False)
    found = about(report, "/proc in containers")
    assert found.status == "blocked"
    assert "/proc/kcore" in found.detail and "binfmt_misc" not in found.detail
    assert "systempaths=unconfined" in found.fixes[0]


def test_no_setgroups_file(made_host):
    report = examine(made_host({"/proc/self/setgroups": None}), ALL_WELL, root=False)
    assert about(report, "group maps").status == "blocked"


def test_setgroups_denied_already(made_host):
    report = examine(made_host({"/proc/self/setgroups": "deny\n"}), ALL_WELL, root=False)
    assert about(report, "group maps").status == "limited"
    assert report.ok


def test_residual_groups(made_host):
    report = examine(made_host(status={"Groups": "44 1000 4711"}), ALL_WELL, root=False)
    found = about(report, "supplementary groups")
    assert found.status == "limited"
    assert "video, 4711" in found.detail


def test_no_range(made_host):
    host = made_host({"/etc/subgid": "bob:100000:65536\n"})
    found = about(examine(host, ALL_WELL, root=False), "ranges")
    assert found.status == "limited"
    assert found.detail == "/etc/subgid has no range for ada"
    assert "usermod --add-subgids" in found.fixes[0]


def test_range_by_uid(made_host):
    host = made_host({"/etc/subuid": "# by number\n1000:100000:65536\n"})
    assert about(examine(host, ALL_WELL, root=False), "ranges").status == "works"


def test_no_newuidmap(made_host, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    found = about(examine(made_host(), ALL_WELL, root=False), "ranges")
    assert "no newuidmap and no newgidmap" in found.detail
    assert "uidmap" in found.fixes[0]


def test_newuidmap_without_privileges(made_host, id_map_programs):
    id_map_programs.chmod(0o755)
    found = about(examine(made_host(), ALL_WELL, root=False), "ranges")
    assert "neither set-user-id" in found.detail


def test_no_new_privs_makes_newuidmap_useless(made_host):
    report = examine(made_host(status={"NoNewPrivs": "1"}), ALL_WELL, root=False)
    assert "no_new_privs" in about(report, "ranges").detail


def test_libseccomp_missing(made_host):
    report = examine(made_host(), ALL_WELL | {"load_libseccomp": errno.ENOENT}, root=False)
    assert "libseccomp2" in about(report, "seccomp filters").fixes[0]


def test_cgroup_of_another_user(made_host):
    path = "/sys/fs/cgroup/user.slice/cgroup.procs"
    found = about(examine(made_host({path: None}), ALL_WELL, root=False), "limits")
    assert found.status == "limited"
    assert "Delegate=yes" in found.fixes[0]


def test_cgroup_without_memory_controller(made_host):
    host = made_host({"/sys/fs/cgroup/user.slice/cgroup.controllers": "pids\n"})
    found = about(examine(host, ALL_WELL, root=False), "limits")
    assert "without the controllers memory, cpu" in found.detail


def test_cgroup_version_1(made_host):
    host = made_host(
        {
            "/proc/self/mountinfo": "27 1 0:9 / / rw - ext4 e rw\n"
            "31 27 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
            "/proc/self/cgroup": "4:memory:/mine\n",
            "/sys/fs/cgroup/memory/mine/cgroup.procs": "",
        }
    )
    found = about(examine(host, ALL_WELL, root=False), "limits")
    assert (found.status, found.detail) == (
        "works",
        "cgroup v1; the controllers memory are writable",
    )


def test_no_cgroups(made_host):
    host = made_host({"/proc/self/mountinfo": "27 1 0:9 / / rw - ext4 e rw\n"})
    assert about(examine(host, ALL_WELL, root=False), "limits").status == "limited"


def test_root_without_capabilities(made_host):
    host = made_host(status={"CapEff": "00000000a80425fb"})  # docker's
    found = about(examine(host, ALL_WELL, root=True), "capabilities of root")
    assert found.status == "limited"
    assert "CAP_SYS_ADMIN (idmapped binds)" in found.detail
    assert "--cap-add SYS_ADMIN" in found.fixes[0]


def test_root_file_system_that_cannot_be_idmapped(made_host):
    mounts = "27 1 0:9 / / rw - overlay overlay rw\n"
    host = made_host({"/proc/self/mountinfo": mounts}, status={"CapEff": "000001ffffffffff"})
    report = examine(host, ALL_WELL | {"idmapped_mount": errno.EINVAL}, root=True)
    assert "of type overlay" in about(report, "idmapped").detail


def test_ordinary_users_refused_while_root_is_not(made_host):
    host = made_host(
        {"/proc/sys/kernel/unprivileged_userns_clone": "0\n"},
        status={"CapEff": "000001ffffffffff"},
    )
    report = examine(host, ALL_WELL | {"unprivileged_namespaces": errno.EPERM}, root=True)
    assert about(report, "ordinary users").status == "limited"
    assert report.ok


def test_root_of_a_user_namespace(made_host):
    host = made_host({"/proc/self/uid_map": "0 1000 1\n"}, status={"Uid": "0 0 0 0"})
    report = examine(host, ALL_WELL, root=True)
    assert "maps one id" in about(report, "ranges").detail
    assert not [one for one in report.findings if "idmapped" in one.subject]


def test_report_lines():
    report = Report((Finding("thing", "limited", "it is blue", ("paint it", "or not")),))
    assert str(report).splitlines() == [
        "limited thing: it is blue",
        "          fix: paint it",
        "          fix: or not",
        "Containers work here, with the limits above.",
    ]


# On the real kernel.

# Where the package lies, installed or not.
WITH_PACKAGE = os.environ | {"PYTHONPATH": str(Path(pycontainer.__file__).parent.parent)}

DIAGNOSE = "from pycontainer.host.diagnose import diagnose; print(diagnose())"


def diagnose_after(preparation: str, *unshare: str, chroot: str = "") -> str:
    """The report of a process in namespaces of its own, prepared by a shell line there."""
    start = f"exec chroot {chroot}" if chroot else "exec"
    script = f'{preparation} && {start} "$0" -c "{DIAGNOSE}"'
    finished = subprocess.run(
        ["unshare", *unshare, "sh", "-c", script, sys.executable],
        capture_output=True,
        text=True,
        env=WITH_PACKAGE,
        timeout=30,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_diagnose_here():
    report = diagnose()
    assert report.ok, str(report)
    assert about(report, "kernel").status == "works"
    assert "unknown" not in {one.status for one in report.findings}


def test_diagnose_max_user_namespaces():
    # The sysctl is that of the user namespace which it is written in.
    told = diagnose_after("echo 0 > /proc/sys/user/max_user_namespaces", "--user", "-r")
    assert "blocked user namespaces: user.max_user_namespaces is 0" in told
    assert "sysctl -w user.max_user_namespaces=" in told


def test_diagnose_max_net_namespaces():
    told = diagnose_after("echo 0 > /proc/sys/user/max_net_namespaces", "--user", "-r")
    assert "blocked namespaces: user.max_net_namespaces is 0" in told


def test_diagnose_masked_proc():
    told = diagnose_after("mount -t tmpfs none /proc/bus", "--user", "-r", "--mount")
    assert "blocked /proc in containers: mounting it gives EPERM" in told
    assert "(/proc/bus)" in told


def test_diagnose_unmapped_caller():
    told = diagnose_after("true", "--user")
    assert "no mapping" in told


def test_diagnose_chroot():
    # Built in a mount namespace, so that nothing has to be taken down.
    told = diagnose_after(
        "mount -t tmpfs none /mnt && mkdir /mnt/root && cd /mnt/root && for d in /*; do"
        ' case $d in /mnt) ;; *) [ -d "$d" ] && mkdir ".$d" && mount --rbind "$d" ".$d" ;; esac;'
        " done; chroot . true",
        "--user",
        "-r",
        "--mount",
        chroot=".",
    )
    assert "blocked user namespaces: This process lives in a chroot" in told


SECCOMP = """
import ctypes, errno
library = ctypes.CDLL("libseccomp.so.2")
library.seccomp_init.restype = ctypes.c_void_p
context = ctypes.c_void_p(library.seccomp_init(0x7fff0000))  # SCMP_ACT_ALLOW
for name in (b"unshare", b"clone3"):
    number = library.seccomp_syscall_resolve_name(name)
    refusal = 0x00050000 | errno.EPERM  # SCMP_ACT_ERRNO
    assert library.seccomp_rule_add(context, ctypes.c_uint32(refusal), number, 0) == 0
assert library.seccomp_load(context) == 0
"""


def test_diagnose_seccomp_filter():
    finished = subprocess.run(
        [sys.executable, "-c", SECCOMP + DIAGNOSE],
        capture_output=True,
        text=True,
        env=WITH_PACKAGE,
        timeout=30,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert "blocked user namespaces: A seccomp filter governs this process" in finished.stdout
    assert "seccomp=unconfined" in finished.stdout
