"""Which processes are one container, of tables of processes that are made up."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pycontainer.inspection.grouping import group
from pycontainer.inspection.makers import HELPER, Evidence
from pycontainer.inspection.procfs import KINDS, Sample
from pycontainer.inspection.snapshot import descendants, host_namespaces

HOST = (1,) * len(KINDS)


def process(number, parent, comm="x", started=None, children=None, **namespaces):
    """A process whose namespaces are the host's but for those that are given."""
    there = tuple(namespaces.get(kind, 1) for kind in KINDS)
    descends = there if children is None else (there[0], children, *there[2:])
    start = number if started is None else started
    return Sample(number, parent, comm, "S", False, 1, start, 100, there, descends)


def grouped(*processes, known=None):
    known = known or {}
    names = {each.pid: each.comm for each in processes}

    def evidence(pid):
        return known.get(pid, Evidence(pid, names[pid], b"x\0", 0, "0::/"))

    return group(processes, HOST, evidence)


INIT = process(1, 0, "systemd")


def kinds(groups):
    return {each.first.pid: each.kind for each in groups}


def test_a_service_of_systemd_with_much_of_its_own():
    service = process(10, 1, "named", mnt=2, net=2, uts=2, user=2)
    known = {10: Evidence(10, "named", b"named\0", 0, "0::/system.slice/named.service\n")}
    assert kinds(grouped(INIT, service, known=known)) == {10: "service"}


def test_a_service_of_a_users_own_init():
    manager = process(5, 1, "systemd")
    service = process(10, 5, "x", mnt=2, net=2)
    path = "0::/user.slice/user-1000.slice/user@1000.service/"
    known = {
        5: Evidence(5, "systemd", b"systemd\0--user\0", 0, f"{path}init.scope\n"),
        10: Evidence(10, "x", b"x\0", 0, f"{path}app.slice/x.service\n"),
    }
    assert kinds(grouped(INIT, manager, service, known=known)) == {10: "service"}
    # Everything of a user's lies in the service of that init, and anything may call itself so.
    known[10] = Evidence(10, "x", b"x\0", 0, f"{path}app.slice/x.scope\n")
    assert kinds(grouped(INIT, manager, service, known=known)) == {10: "container"}
    known[10] = Evidence(10, "x", b"x\0", 0, f"{path}app.slice/x.service\n")
    known[5] = Evidence(5, "systemd", b"sh\0", 0, f"{path}app.slice/evil.scope\n")
    assert kinds(grouped(INIT, manager, service, known=known)) == {10: "container"}


def test_a_service_that_is_a_container():
    """systemd-nspawn and docker run as services; what they make has processes of its own."""
    nspawn = process(10, 1, "systemd-nspawn")
    payload = process(11, 10, "systemd", mnt=2, pid=2, uts=2, ipc=2, cgroup=2)
    cgroup = "0::/machine.slice/systemd-nspawn@x.service/payload\n"
    known = {11: Evidence(11, "systemd", b"init\0", 0, cgroup)}
    (each,) = grouped(INIT, nspawn, payload, known=known)
    assert (each.kind, each.maker) == ("container", "systemd-nspawn")


def test_a_service_inside_a_container():
    """PrivateTmp in a container of systemd-nspawn: its processes are the container's."""
    payload = process(11, 1, "systemd", mnt=2, pid=2, uts=2)
    private = process(12, 11, "cron", mnt=3, pid=2, uts=2)
    groups = grouped(INIT, payload, private)
    assert kinds(groups) == {11: "container", 12: "part"}
    assert groups[1].enclosing() is groups[0]


def test_the_sandbox_of_a_browser():
    browser = process(10, 1, "chrome")
    zygote = process(11, 10, "chrome", pid=2, net=2, user=2)
    page = process(12, 11, "chrome", pid=2, net=2, user=2)
    groups = grouped(INIT, browser, zygote, page)
    assert kinds(groups) == {11: "part"}
    assert [each.pid for each in groups[0].members] == [11, 12]


def test_two_containers_that_share_a_network():
    """As those of a pod."""
    pause = process(10, 1, "pause", mnt=2, pid=2, net=2, ipc=2, uts=2)
    other = process(20, 1, "nginx", mnt=3, pid=3, net=2, ipc=2, uts=2)
    assert kinds(grouped(INIT, pause, other)) == {10: "container", 20: "container"}


def test_what_forks_for_a_pid_namespace_stays_outside():
    unshare = process(10, 1, "unshare", mnt=2, user=2, children=2)
    program = process(11, 10, "sh", mnt=2, user=2, pid=2)
    (each,) = grouped(INIT, unshare, program)
    assert (each.first.pid, each.maker) == (11, "unshare")


def test_a_container_in_a_container():
    outer = process(10, 1, "sh", mnt=2, pid=2, user=2)
    inner = process(20, 10, "sh", mnt=3, pid=3, user=3)
    first, second = grouped(INIT, outer, inner)
    assert second.around is first
    assert second.fresh == ("mnt", "pid", "user")


def test_visitors_come_later():
    container = process(20, 1, "sh", mnt=2, pid=2, net=2, user=2)
    visitor = process(30, 1, "nsenter", net=2, mnt=2)
    assert kinds(grouped(INIT, container, visitor)) == {20: "container", 30: "visitor"}
    # The other way round somebody has made a container out of two namespaces, and then more.
    early = process(10, 1, "sh", mnt=2, net=2)
    assert kinds(grouped(INIT, early, container))[10] == "container"


def test_spares_of_the_helper():
    helper = process(10, 1, "python3")
    spare = process(11, 10, "python3", pid=2, net=2, user=2, ipc=2)
    container = process(12, 10, "python3", mnt=3, pid=3, net=3, user=3, ipc=3)
    known = {10: Evidence(10, "python3", b"python\0-c\0" + HELPER, 0, "")}
    groups = grouped(INIT, helper, spare, container, known=known)
    assert kinds(groups) == {11: "spare", 12: "container"}
    assert groups[1].maker == "pycontainer"


def test_the_oldest_is_the_first():
    """After the one that all came from has ended; and not the lowest number, which starts anew."""
    one = process(50, 1, "a", started=10, mnt=2, uts=2)
    two = process(20, 1, "b", started=20, mnt=2, uts=2)
    (each,) = grouped(INIT, one, two)
    assert each.first.pid == 50


def test_zombies_and_what_may_not_be_looked_at_are_no_groups():
    zombie = Sample(10, 1, "x", "Z", False, 1, 5, 0, None, None)
    child = process(11, 10, "sh", mnt=2, pid=2)
    (each,) = grouped(INIT, zombie, child)
    assert each.around is None


FIRST = (9, 0xEFFFFFFC, 8, 0xEFFFFFFD, 0xEFFFFFFF, 0xEFFFFFFE, 0xEFFFFFFB, 0xEFFFFFFA)


def looked_at(*namespaces):
    return {
        n: Sample(n, 1, "x", "S", False, 1, n, 1, each, each)
        for n, each in enumerate(namespaces, 2)
    }


def test_the_host_is_where_process_1_is():
    init = {1: Sample(1, 0, "init", "S", False, 1, 1, 1, HOST, HOST)}
    assert host_namespaces(init, FIRST) == HOST


def test_the_host_as_an_ordinary_user_sees_it():
    assert host_namespaces(looked_at(FIRST), FIRST) == FIRST
    # In a container that sees the host's processes: what most of them have.
    toolbox = (5, *FIRST[1:3], 6, *FIRST[4:])
    private = (7, *FIRST[1:])
    several = looked_at(toolbox, toolbox, private, FIRST, FIRST)
    assert host_namespaces(several, toolbox, lambda _: None) == FIRST
    # Such a container, and nobody outside of it may be looked at.
    assert host_namespaces(looked_at(toolbox), toolbox) == toolbox
    # A kernel without one of the kinds.
    assert host_namespaces(looked_at((*FIRST[:7], 0)), FIRST) == (*FIRST[:7], 0)


def test_the_host_inside_a_container():
    assert host_namespaces({}, HOST) == HOST


def test_the_host_has_the_mounts_of_process_1():
    """Even if most processes that may be looked at have mounts of their own."""
    private = (FIRST[0] + 500, *FIRST[1:])
    processes = looked_at(private, private, private, FIRST)
    roots = {pid: 7 if one.namespaces == FIRST else 8 for pid, one in processes.items()}
    assert host_namespaces(processes, private, lambda pid: {**roots, 1: 7}[pid]) == FIRST
    assert host_namespaces(processes, FIRST, lambda pid: {**roots, 1: 8}[pid]) == private
    assert host_namespaces(processes, private, lambda _: None) == private


def test_descendants_of_a_long_chain():
    chain = {number: process(number, number - 1) for number in range(1, 5000)}
    assert [each.pid for each in descendants(2, chain)] == list(range(2, 5000))
    circle = {1: process(1, 2), 2: process(2, 1)}
    assert {each.pid for each in descendants(1, circle)} == {1, 2}
    assert descendants(7, circle) == []


def test_many_containers():
    """Time grows with their number, not with its square."""
    many = [process(n, 1, mnt=n, pid=n, net=n, user=n) for n in range(2, 4000)]
    assert len(grouped(INIT, *many)) == 3998


numbers = st.integers(1, 3)
tables = st.lists(
    st.tuples(
        st.integers(0, 12), numbers, numbers, numbers, numbers, st.integers(0, 5), st.booleans()
    ),
    max_size=12,
)


@settings(deadline=None)
@given(tables)
def test_any_table(rows):
    """Parents may be anything: a process may have ended, and its number gone to another."""
    processes = [
        process(
            pid,
            ppid,
            comm="unshare" if maker else "x",
            started=start,
            mnt=mnt,
            pid=own,
            user=user,
            children=children if maker else None,
        )
        for pid, (ppid, mnt, own, user, children, start, maker) in enumerate(rows, 1)
    ]
    groups = grouped(*processes)
    members = [each.pid for found in groups for each in found.members]
    assert sorted(members) == [each.pid for each in processes if each.descends != HOST]
    for number, each in enumerate(groups):
        assert each.fresh or each.enclosing() is not None
        assert each.first in each.members
        if each.around is not None:
            assert groups.index(each.around) < number
