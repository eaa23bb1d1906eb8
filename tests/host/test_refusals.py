from __future__ import annotations

import errno

import pytest

from pycontainer.host.refusals import explain_clone_error, reasons_for

NO_APPARMOR = {"/proc/self/attr/current": "unconfined\n"}


def only(reasons):
    assert len(reasons) == 1, reasons
    return reasons[0]


def test_eperm_debian_sysctl(made_host):
    host = made_host({"/proc/sys/kernel/unprivileged_userns_clone": "0\n"})
    reason = only(reasons_for(errno.EPERM, host))
    assert "kernel.unprivileged_userns_clone is 0" in reason.why
    assert "sysctl -w kernel.unprivileged_userns_clone=1" in reason.fix


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES])
def test_eperm_apparmor_restriction(made_host, number):
    host = made_host({"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"})
    reason = only(reasons_for(number, host))
    assert "AppArmor" in reason.why
    assert "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0" in reason.fix
    assert "`userns,`" in reason.fix


def test_eperm_apparmor_restriction_is_not_for_privileged_callers(made_host):
    host = made_host(
        {
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n",
            "/proc/sys/kernel/unprivileged_userns_clone": "0\n",
        },
        status={"CapEff": "000001ffffffffff"},
    )
    assert "No setting" in only(reasons_for(errno.EPERM, host)).why


def test_eperm_two_settings_are_both_named(made_host):
    host = made_host(
        {
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n",
            "/proc/sys/kernel/unprivileged_userns_clone": "0\n",
        }
    )
    assert len(reasons_for(errno.EPERM, host)) == 2


def test_eperm_docker_filter(made_host):
    host = made_host({"/.dockerenv": ""}, status={"Seccomp": "2"})
    reason = only(reasons_for(errno.EPERM, host))
    assert "seccomp" in reason.why
    assert "docker run --security-opt seccomp=unconfined" in reason.fix


def test_eperm_podman_filter(made_host):
    host = made_host({"/run/.containerenv": ""}, status={"Seccomp": "2"})
    assert "podman run" in only(reasons_for(errno.EPERM, host)).fix


def test_eperm_docker_filter_and_profile(made_host):
    host = made_host(
        {"/.dockerenv": "", "/proc/self/attr/apparmor/current": "docker-default (enforce)\n"},
        status={"Seccomp": "2"},
    )
    _, profile = reasons_for(errno.EPERM, host)
    assert "'docker-default'" in profile.why
    assert "apparmor=unconfined" in profile.fix


def test_eperm_selinux(made_host):
    host = made_host(
        {
            "/sys/fs/selinux/enforce": "1",
            "/proc/self/attr/current": "system_u:system_r:container_t:s0",
        }
    )
    reason = only(reasons_for(errno.EACCES, host))
    assert "SELinux" in reason.why
    assert "ausearch" in reason.fix


def test_eperm_chroot(made_host):
    host = made_host({"/proc/self/mountinfo": "22 27 0:21 / /proc rw - proc proc rw\n"})
    reason = only(reasons_for(errno.EPERM, host))
    assert "chroot" in reason.why
    assert "pivot_root" in reason.fix


def test_eperm_unmapped_caller(made_host):
    host = made_host({"/proc/self/uid_map": "0 1000 1\n"})
    assert "no mapping" in only(reasons_for(errno.EPERM, host)).why


def test_eperm_without_a_trace(made_host):
    reason = only(reasons_for(errno.EPERM, made_host()))
    assert "chroot to a mount point" in reason.why


@pytest.mark.parametrize("name", ["user", "net"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EUSERS])
def test_enospc_limit_is_zero(made_host, name, number):
    host = made_host({f"/proc/sys/user/max_{name}_namespaces": "0\n"})
    reason = only(reasons_for(number, host))
    assert f"user.max_{name}_namespaces is 0" in reason.why
    assert f"sysctl -w user.max_{name}_namespaces=" in reason.fix


def test_enospc_all_used_up_or_too_deep(made_host):
    used, deep = reasons_for(errno.ENOSPC, made_host())
    assert "user 15000" in used.why
    assert "32 deep" in deep.why


def test_enosys_old_kernel(made_host):
    host = made_host({"/proc/sys/kernel/osrelease": "4.19.0\n"})
    assert "Linux 4.19.0 has no clone3" in only(reasons_for(errno.ENOSYS, host)).why


def test_enosys_filter(made_host):
    host = made_host({"/.dockerenv": ""}, status={"Seccomp": "2"})
    assert "docker" in only(reasons_for(errno.ENOSYS, host)).fix


def test_einval_kernel_without_a_namespace(made_host):
    host = made_host({"/proc/self/ns/user": None, "/proc/self/ns/ipc": None})
    reason = only(reasons_for(errno.EINVAL, host))
    assert reason.why == "This kernel has no user and no ipc namespaces"
    assert "CONFIG_USER_NS, CONFIG_IPC_NS" in reason.fix


def test_einval_threads(made_host):
    reason = only(reasons_for(errno.EINVAL, made_host(status={"Threads": "4"})))
    assert "4 threads" in reason.why


def test_eagain(made_host):
    assert "ulimit -u" in only(reasons_for(errno.EAGAIN, made_host())).fix


def test_unknown_errno(made_host):
    assert "with EIO" in only(reasons_for(errno.EIO, made_host())).why


def test_a_host_without_proc(tmp_path):
    for number in (errno.EPERM, errno.ENOSPC, errno.ENOSYS, errno.EINVAL):
        assert explain_clone_error(number, tmp_path)


def test_explain_clone_error_gives_one_line_a_reason(made_host):
    host = made_host({"/proc/sys/user/max_user_namespaces": "0\n"})
    (line,) = explain_clone_error(errno.ENOSPC, host.root)
    assert "max_user_namespaces is 0" in line and "sysctl -w" in line and "\n" not in line
