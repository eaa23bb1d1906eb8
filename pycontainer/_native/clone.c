/* Making one child: the clone, its first steps, its id maps; and the spare, which is made ahead. */
#include "pycontainer.h"

#include <Python.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t clone_flags(uint32_t namespaces)
{
    static const struct {
        uint32_t ours;
        uint64_t kernels;
    } table[] = {
        {PC_NS_USER, CLONE_NEWUSER}, {PC_NS_PID, CLONE_NEWPID},       {PC_NS_MNT, CLONE_NEWNS},
        {PC_NS_NET, CLONE_NEWNET},   {PC_NS_IPC, CLONE_NEWIPC},       {PC_NS_UTS, CLONE_NEWUTS},
        {PC_NS_CGROUP, CLONE_NEWCGROUP},
    };
    uint64_t flags = 0;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (namespaces & table[i].ours)
            flags |= table[i].kernels;
    return flags;
}

/* What this process was ordered to be, with the descriptors on their PC_FD_* numbers. */
static struct pc_order ordered;

const struct pc_order *pc_ordered(void)
{
    return &ordered;
}

int pc_is_loader(void)
{
    return (ordered.flags & PC_ORDER_LOADER) != 0;
}

int pc_is_join(void)
{
    return (ordered.flags & PC_ORDER_JOIN) != 0;
}

int pc_namespace_flags(uint32_t namespaces)
{
    return (int)clone_flags(namespaces);
}

/* fork() with namespaces; every signal is blocked in the child (pc_take_signals()).  glibc keeps the
   thread's id in memory and its fork() has the kernel renew it; the address is what the kernel
   clears at the thread's exit (PR_GET_TID_ADDRESS).  Single-threaded callers only: no atfork
   handlers run. */
static pid_t clone_process(uint64_t flags, int *pidfd)
{
    int *tid_address = NULL;
    struct clone_args arguments = {
        .flags = flags | CLONE_PIDFD | CLONE_CLEAR_SIGHAND,
        .pidfd = (uint64_t)(uintptr_t)pidfd,
        .exit_signal = SIGCHLD,
    };
    if (prctl(PR_GET_TID_ADDRESS, &tid_address, 0, 0, 0) == 0 && tid_address) {
        arguments.flags |= CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
        arguments.child_tid = (uint64_t)(uintptr_t)tid_address;
    }
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t pid = (pid_t)syscall(SYS_clone3, &arguments, sizeof(arguments));
    if (pid != 0) {
        int error = errno;
        sigprocmask(SIG_SETMASK, &before, NULL);
        errno = error;
    }
    return pid;
}

/* Every descriptor that a child arranges must lie above the numbers that it arranges them on. */
int pc_raise_fds(int *fds, int count)
{
    for (int i = 0; i < count; i++)
        if (fds[i] >= 0 && fds[i] < PC_FD_KEPT) {
            int raised = fcntl(fds[i], F_DUPFD_CLOEXEC, PC_FD_KEPT);
            if (raised < 0)
                return errno;
            close(fds[i]);
            fds[i] = raised;
        }
    return 0;
}

/* The maps of a container that its own process may not write.  A byte tells it to go on. */
static int write_maps(const struct pc_order *order, pid_t pid, int mapped)
{
    char name[32];
    int directory, error;

    snprintf(name, sizeof(name), "%d", (int)pid);
    directory = openat(pc_proc, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return errno;
    error = pc_write_at(directory, "gid_map", order->gid_map);
    if (!error)
        error = pc_write_at(directory, "uid_map", order->uid_map);
    close(directory);
    if (!error && write(mapped, "", 1) != 1)
        error = errno;
    return error;
}

/* The first steps of every child, which is still the helper's copy.  fds: -1 is closed. */
static int arrange_child(const int *fds, int lifeline, int mapped)
{
    pc_reset_signals();
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); /* a supervisor is not; the child writes its own maps */
    int error = pc_child_arrange(fds, lifeline, mapped);
    umask(022);
    setsid(); /* EPERM cannot be: a new process leads no group */
    pc_proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return error ? error : pc_proc < 0 ? errno : 0;
}

/* call: where the caller's socket was before it was to be arranged. */
static void fail_at(int stage, int error, int call)
{
    struct pc_failure failure = {.step = -1, .error = error, .stage = stage};
    unsigned char message[1 + sizeof(failure)] = {PC_SAY_SETUP_FAILED};

    memcpy(message + 1, &failure, sizeof(failure));
    if (send(call, message, sizeof(message), MSG_NOSIGNAL) < 0) /* it has moved, so EBADF */
        pc_say(PC_SAY_SETUP_FAILED, &failure, sizeof(failure));
    _exit(125);
}

static void fail_start(int error, int call)
{
    fail_at(PC_STAGE_START, error, call);
}

/* What is done from here on counts as the container's. */
static void become_member(const struct pc_order *order, int call)
{
    int error = pc_become_member(order->namespaces & PC_NS_CGROUP);
    /* A visitor from another part of the hierarchy may lack the power over what is above both
       (cgroups(7), "Delegation containment"); its target's limits are not its own then. */
    if ((order->flags & PC_ORDER_JOIN) && (error == EACCES || error == EPERM))
        error = 0;
    if (error)
        fail_at(PC_STAGE_CGROUP, error, call);
}

/* A container without a function: nothing of Python runs in it. */
static void run_idle(void)
{
    pc_shed_interpreter();
    if (pc_run_plan(0) != 0 || pc_run_plan(1) != 0 || pc_limit_init() != 0)
        _exit(125);
    /* Signals have been blocked all along: the kernel drops one for a process 1 that has neither a
       handler for it nor blocks it. */
    pc_close_as_init(PC_FD_CALL); /* before somebody can look */
    pc_say(PC_SAY_READY, NULL, 0);
    pc_init(0, PC_FD_CALL);
}

/* Takes the order, still with the host's eyes, and reads the request unless this process has it. */
static void take_order(const struct pc_order *order, bool received)
{
    ordered = *order;
    (void)!fchdir(PC_FD_CWD); /* gone or forbidden by now: only relative imports need it */
    const struct pc_request *request = received ? pc_current_request() : pc_receive_request();
    if (!request)
        _exit(125);
    if (!received && !(order->flags & PC_ORDER_LOADER))
        become_member(order, PC_FD_CALL);
    if (request->flags & (PC_REQUEST_IDLE | PC_REQUEST_COMMAND))
        pc_drop_stdlib();
    if (request->flags & PC_REQUEST_IDLE)
        run_idle();
    if (request->flags & PC_REQUEST_COMMAND)
        pc_run_command(request);
    if (order->flags & PC_ORDER_COMMAND) /* it may have no interpreter any more */
        fail_start(EBADMSG, PC_FD_CALL);
}

static bool is_plain(const struct pc_order *order)
{
    return order->flags & (PC_ORDER_LOADER | PC_ORDER_JOIN);
}

/* Clones, and in the parent writes the id maps where the order wants it.  *mapped is the child's
   end of the pipe that tells it so, or -1.  0 in the child; its pid; or -errno. */
static pid_t clone_child(const struct pc_order *order, uint64_t flags, int *pidfd, int *mapped)
{
    const bool maps = (order->flags & PC_ORDER_PARENT_MAPS) && !is_plain(order);
    int pipe_fds[2] = {-1, -1}, error = 0;

    *mapped = -1;
    if (maps) {
        if (pipe2(pipe_fds, O_CLOEXEC) != 0)
            return -errno;
        error = pc_raise_fds(pipe_fds, 2);
    }
    pid_t pid = error ? -1 : clone_process(flags, pidfd);
    if (pid == 0) {
        *mapped = pipe_fds[0];
        return 0;
    }
    if (!error && pid < 0)
        error = errno;
    if (!error && maps)
        error = write_maps(order, pid, pipe_fds[1]);
    if (maps) {
        close(pipe_fds[0]);
        close(pipe_fds[1]);
    }
    if (error && pid > 0) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        close(*pidfd);
    }
    return error ? -error : pid;
}

/* Clones a child for an order.  0 in the child, with the request received (or at hand: received);
   its pid in the supervisor; or -errno. */
pid_t pc_spawn(const struct pc_order *order, const int *fds, int lifeline, bool received, int *pidfd)
{
    /* A program's child never comes back to Python. */
    const bool python = !(order->flags & PC_ORDER_COMMAND);
    int mapped;
    PyGILState_STATE gil = PyGILState_UNLOCKED;
    if (python) {
        gil = PyGILState_Ensure();
        PyOS_BeforeFork();
    }
    pid_t pid = clone_child(order, is_plain(order) ? 0 : clone_flags(order->namespaces), pidfd, &mapped);
    if (pid == 0) {
        int arranged[PC_FD_COUNT];
        if (received)
            become_member(order, fds[PC_FD_CALL]); /* before their files are closed */
        memcpy(arranged, fds, sizeof(arranged));
        if (!is_plain(order))
            arranged[PC_FD_STATUS] = -1;
        int error = arrange_child(arranged, lifeline, mapped);
        if (error)
            fail_start(error, fds[PC_FD_CALL]);
        take_order(order, received);
        PyOS_AfterFork_Child();
    } else if (python)
        PyOS_AfterFork_Parent();
    if (python)
        PyGILState_Release(gil);
    return pid;
}

/* A spare that could not be arranged: whoever orders it is told why. */
static void fail_spare(int error, int socket)
{
    struct pc_order order;
    int fds[PC_FD_COUNT], count = PC_FD_COUNT;
    ssize_t length = pc_receive(socket, &order, sizeof(order), fds, &count, 0);

    if (length == -EBADF) { /* it has moved */
        count = PC_FD_COUNT;
        length = pc_receive(PC_FD_CALL, &order, sizeof(order), fds, &count, 0);
    }
    if (length == sizeof(order) && count > PC_FD_CALL)
        fail_start(error, fds[PC_FD_CALL]);
    _exit(125);
}

/* Clones a child that waits for such an order.  Everything is new in it but the mount namespace,
   which would show the host's mounts as they are now and not as they will be.
   0 in the child; its pid; or -errno. */
pid_t pc_spawn_spare(const struct pc_order *order, int socket, int lifeline, int *pidfd)
{
    const uint32_t namespaces = order->namespaces & ~(uint32_t)PC_NS_MNT;
    int mapped;
    PyGILState_STATE gil = PyGILState_Ensure();
    PyOS_BeforeFork();
    pid_t pid = clone_child(order, is_plain(order) ? 0 : clone_flags(namespaces), pidfd, &mapped);
    if (pid == 0) {
        const int fds[PC_FD_COUNT] = {0, 1, 2, socket, -1, -1, -1};
        int error = arrange_child(fds, lifeline, mapped);
        if (error)
            fail_spare(error, socket);
        PyOS_AfterFork_Child();
        if (order->flags & PC_ORDER_COMMAND) {
            pc_shed_interpreter();
            pc_await_order();
        }
    } else
        PyOS_AfterFork_Parent();
    PyGILState_Release(gil);
    return pid;
}

/* In a spare: waits for its order.  Returns with the request received. */
void pc_await_order(void)
{
    struct pc_order order;
    int fds[PC_FD_COUNT], count = PC_FD_COUNT, error;
    ssize_t length = pc_receive(PC_FD_CALL, &order, sizeof(order), fds, &count, 0);

    if (length != sizeof(order))
        _exit(0);
    for (int i = count; i < PC_FD_COUNT; i++)
        fds[i] = -1;
    if (!is_plain(&order)) {
        close(fds[PC_FD_STATUS]); /* its supervisor reports to the caller, not this process */
        fds[PC_FD_STATUS] = -1;
    }
    error = pc_raise_fds(fds, count);
    if (!error)
        error = pc_child_arrange(fds, PC_FD_LIFELINE,
                                 order.flags & PC_ORDER_PARENT_MAPS ? PC_FD_MAPPED : -1);
    if (!error) {
        /* It lay above the numbers that are kept, or on one of them. */
        pc_proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (pc_proc < 0)
            error = errno;
    }
    if (!error && (order.namespaces & PC_NS_MNT) && !is_plain(&order) && unshare(CLONE_NEWNS) != 0)
        error = errno;
    if (error)
        fail_start(error, fds[PC_FD_CALL]);
    take_order(&order, false);
}

/* Forks the function's process; this one stays as the init and does not return.  Returns 0 in the
   function's process or an errno. */
int pc_fork_below_init(void)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    PyOS_BeforeFork();
    const bool is_init = getpid() == 1;
    const int parent = is_init ? -1 : (int)syscall(SYS_pidfd_open, getpid(), 0);
    int error = is_init || parent >= 0 ? 0 : errno;
    if (!is_init)
        prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    /* Blocked before the child can say that it is ready: an init forwards what waits for it. */
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    /* An interrupt that has come and that Python has not acted upon yet: in the child it would be
       forgotten (PyOS_AfterFork_Child()), and this process does not return to Python. */
    if (PyOS_InterruptOccurred())
        kill(getpid(), SIGINT);
    /* The child waits until the init is bound as well: from then on it may be hostile. */
    int bound[2] = {-1, -1};
    if (!error && pc_has_filter() && pipe2(bound, O_CLOEXEC) != 0)
        error = errno;
    pid_t pid = error ? -1 : fork();
    if (pid < 0 && !error)
        error = errno;
    if (parent >= 0 && pid != 0)
        close(parent);
    if (pid == 0) {
        char byte;
        if (bound[0] >= 0) {
            close(bound[1]);
            if (read(bound[0], &byte, 1) != 1)
                _exit(125); /* the init has said why not by its end */
            close(bound[0]);
        }
        if (!is_init) {
            error = pc_tie_to(parent);
            close(parent);
        }
        if (pc_proc >= 0)
            close(pc_proc);
        pc_proc = -1;
        PyOS_AfterFork_Child();
        pc_take_signals(); /* not before: what has come would be forgotten there */
        PyGILState_Release(gil);
        return error;
    }
    if (pid > 0) {
        if (bound[1] >= 0 && (pc_limit_init() != 0 || write(bound[1], "", 1) != 1))
            _exit(125); /* process 1 takes the container with it */
        pc_close(&bound[0]);
        pc_close(&bound[1]);
        pc_init(pid, PC_FD_CALL);
    }
    pc_close(&bound[0]);
    pc_close(&bound[1]);
    sigprocmask(SIG_SETMASK, &before, NULL);
    PyOS_AfterFork_Parent();
    PyGILState_Release(gil);
    return error;
}
