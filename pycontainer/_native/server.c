/* The forkserver: clones children on a caller's orders, supervises them, reports how they end. */
#include "pycontainer.h"

#include <Python.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct child {
    pid_t pid;
    int status; /* the socket to its caller */
    uint64_t started;
};

static struct {
    struct child *children;
    size_t count, room;
    int signals;  /* signalfd of SIGCHLD */
    int lifeline[2];
    bool received; /* this process has the request already (a loader) */
} server = {.signals = -1, .lifeline = {-1, -1}};

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static uint64_t microseconds(struct timeval time)
{
    return (uint64_t)time.tv_sec * 1000000u + (uint64_t)time.tv_usec;
}

static void tell(int socket, struct pc_status status, int pidfd)
{
    /* A caller that has gone does not want to know. */
    pc_send(socket, &status, sizeof(status), &pidfd, pidfd >= 0);
}

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

/* fork() with namespaces.  glibc keeps the thread's id in memory and its fork() has the kernel
   renew it; the address is what the kernel clears at the thread's exit (PR_GET_TID_ADDRESS).
   Single-threaded callers only: no atfork handlers run. */
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
    return (pid_t)syscall(SYS_clone3, &arguments, sizeof(arguments));
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

/* Every descriptor that a child arranges must lie above the numbers that it arranges them on. */
static int raise_fds(int *fds, int count)
{
    for (int i = 0; i < count; i++)
        if (fds[i] < PC_FD_KEPT) {
            int raised = fcntl(fds[i], F_DUPFD_CLOEXEC, PC_FD_KEPT);
            if (raised < 0)
                return errno;
            close(fds[i]);
            fds[i] = raised;
        }
    return 0;
}

/* In the new child, still with the host's eyes. */
static void begin_child(const struct pc_order *order, const int *fds, int mapped)
{
    int arranged[PC_FD_COUNT], error;

    ordered = *order;
    memcpy(arranged, fds, sizeof(arranged));
    if (!(order->flags & PC_ORDER_LOADER))
        arranged[PC_FD_STATUS] = -1;
    pc_reset_signals();
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); /* a supervisor is not; the child writes its own maps */
    error = pc_child_arrange(arranged, PC_FD_COUNT, server.lifeline[0], mapped);
    free(server.children);
    memset(&server, 0, sizeof(server));
    server.signals = server.lifeline[0] = server.lifeline[1] = -1;
    umask(022);
    setsid(); /* EPERM cannot be: a new process leads no group */
    if (!error && fds[PC_FD_CWD] >= 0)
        (void)!fchdir(PC_FD_CWD); /* gone or forbidden by now: only relative imports need it */
    if (!error) {
        pc_proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (pc_proc < 0)
            error = errno;
    }
    if (error) {
        struct pc_failure failure = {.step = -1, .error = error, .stage = PC_STAGE_START};
        pc_say(PC_SAY_SETUP_FAILED, &failure, sizeof(failure));
        _exit(125);
    }
}

/* A container without a function: nothing of Python runs in it. */
static void run_idle(void)
{
    if (pc_run_plan(0) != 0 || pc_run_plan(1) != 0)
        _exit(125);
    pc_say(PC_SAY_READY, NULL, 0);
    pc_init(0, -1);
}

/* Clones a child for an order.  0 in the child, with the request received; its pid in the
   supervisor; or -errno. */
static pid_t spawn(const struct pc_order *order, const int *fds, int *pidfd)
{
    const bool maps = order->flags & PC_ORDER_PARENT_MAPS;
    const bool plain = order->flags & (PC_ORDER_LOADER | PC_ORDER_JOIN);
    int mapped[2] = {-1, -1};
    pid_t pid;
    int error = 0;

    if (maps && !plain) {
        if (pipe2(mapped, O_CLOEXEC) != 0)
            return -errno;
        if ((error = raise_fds(mapped, 2)) != 0)
            return -error;
    }
    PyGILState_STATE gil = PyGILState_Ensure();
    PyOS_BeforeFork();
    pid = clone_process(plain ? 0 : clone_flags(order->namespaces), pidfd);
    if (pid == 0) {
        const bool received = server.received;
        begin_child(order, fds, mapped[0]);
        const struct pc_request *request = received ? pc_current_request() : pc_receive_request();
        if (!request)
            _exit(125);
        if (request->flags & PC_REQUEST_IDLE)
            run_idle();
        PyOS_AfterFork_Child();
        PyGILState_Release(gil);
        return 0;
    }
    if (pid < 0)
        error = errno;
    PyOS_AfterFork_Parent();
    PyGILState_Release(gil);
    if (!error && maps && !plain)
        error = write_maps(order, pid, mapped[1]);
    if (maps && !plain) {
        close(mapped[0]);
        close(mapped[1]);
    }
    if (error && pid > 0) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        close(*pidfd);
    }
    return error ? -error : pid;
}

static int add_child(pid_t pid, int status, uint64_t started)
{
    if (server.count == server.room) {
        size_t room = server.room ? 2 * server.room : 16;
        struct child *grown = realloc(server.children, room * sizeof(*grown));
        if (!grown)
            return ENOMEM;
        server.children = grown;
        server.room = room;
    }
    server.children[server.count++] = (struct child){pid, status, started};
    return 0;
}

/* Reaps what has ended and tells its callers. */
static void reap(void)
{
    struct signalfd_siginfo discarded[8];
    struct rusage usage;
    int status;
    pid_t pid;

    while (read(server.signals, discarded, sizeof(discarded)) > 0)
        ;
    while ((pid = wait4(-1, &status, WNOHANG, &usage)) > 0)
        for (size_t i = 0; i < server.count; i++) {
            struct child *child = &server.children[i];
            if (child->pid != pid)
                continue;
            tell(child->status,
                 (struct pc_status){
                     .kind = PC_STATUS_EXITED,
                     .value = status,
                     .user_us = microseconds(usage.ru_utime),
                     .system_us = microseconds(usage.ru_stime),
                     .wall_ns = now() - child->started,
                     .max_rss = (uint64_t)usage.ru_maxrss * 1024,
                 },
                 -1);
            close(child->status);
            *child = server.children[--server.count];
            break;
        }
}

static void kill_children(void)
{
    for (size_t i = 0; i < server.count; i++)
        kill(server.children[i].pid, SIGKILL); /* not reaped yet, so the number is still its own */
}

/* Takes the descriptors of an order; closes them in the supervisor.  0: in the child. */
static int start_child(const struct pc_order *order, const int *fds)
{
    int pidfd = -1;
    uint64_t started = now();
    pid_t pid = spawn(order, fds, &pidfd);
    if (pid == 0)
        return 0;
    int status = fcntl(fds[PC_FD_STATUS], F_DUPFD_CLOEXEC, PC_FD_KEPT);
    int error = pid < 0 ? -pid : status < 0 ? errno : order->flags & PC_ORDER_LOADER
                    ? 0 : add_child(pid, status, started);
    if (order->flags & PC_ORDER_LOADER && !error) {
        close(status); /* the loader supervises its container and reports by itself */
        close(pidfd);
        return 1;
    }
    if (error) {
        if (pid > 0) {
            kill(pid, SIGKILL);
            waitpid(pid, NULL, 0);
            close(pidfd);
        }
        tell(fds[PC_FD_STATUS], (struct pc_status){.kind = PC_STATUS_FAILED, .value = error}, -1);
        if (status >= 0)
            close(status);
        return 1;
    }
    tell(status, (struct pc_status){.kind = PC_STATUS_STARTED, .value = pid}, pidfd);
    close(pidfd);
    return 1;
}

static int open_server(void)
{
    sigset_t child;

    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &child, NULL) != 0)
        return errno;
    server.signals = signalfd(-1, &child, SFD_NONBLOCK | SFD_CLOEXEC);
    if (server.signals < 0)
        return errno;
    if (pipe2(server.lifeline, O_CLOEXEC) != 0)
        return errno;
    int error = raise_fds(server.lifeline, 2);
    if (error)
        return error;
    pc_proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return pc_proc < 0 ? errno : 0;
}

/* Serves orders until the caller ends or closes its socket.  caller: a pidfd of it, since copies
   of the socket may outlive it.  Returns 1 in each child, 0 at the end, -errno. */
int pc_serve(int control, int caller)
{
    int error;

    signal(SIGINT, SIG_IGN); /* a Ctrl-C is the caller's, who relays it */
    syscall(SYS_close_range, (unsigned)(control > caller ? control : caller) + 1, ~0U, 0);
    (void)pc_new_keyring();
    (void)!syscall(SYS_setgroups, 0, NULL); /* root's groups end here; EPERM for an ordinary user */
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); /* for what a loader leaves */
    error = open_server();
    if (error)
        return -error;
    for (;;) {
        struct pollfd polled[] = {
            {.fd = server.signals, .events = POLLIN},
            {.fd = control, .events = POLLIN},
            {.fd = caller, .events = POLLIN},
        };
        if (poll(polled, 3, -1) < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        if (polled[0].revents)
            reap();
        if (polled[2].revents)
            break;
        if (!polled[1].revents)
            continue;
        struct pc_order order;
        int fds[PC_FD_COUNT], count = PC_FD_COUNT;
        ssize_t length = pc_receive(control, &order, sizeof(order), fds, &count, MSG_DONTWAIT);
        if (length == -EAGAIN)
            continue;
        if (length <= 0 && length != -EMSGSIZE)
            break;
        bool good = length == sizeof(order) && order.magic == PC_MAGIC && count > PC_FD_CWD;
        for (int i = count; i < PC_FD_COUNT; i++)
            fds[i] = -1;
        order.uid_map[sizeof(order.uid_map) - 1] = order.gid_map[sizeof(order.gid_map) - 1] = 0;
        if (good && raise_fds(fds, count) == 0 && start_child(&order, fds) == 0)
            return 1;
        for (int i = 0; i < count; i++)
            close(fds[i]);
    }
    kill_children();
    return 0;
}

/* Clones one container from this process and supervises it: for a loader that has the function
   already, and for start_method="fork".  watched: readable or hung up when the caller has gone.
   received: the request has been read here.
   Returns 1 in the container's process; in the supervisor it does not return. */
int pc_supervise_one(const struct pc_order *order, const int *fds, int watched, bool received)
{
    int kept[PC_FD_COUNT];

    pc_default_signals(); /* with SIGCHLD ignored there would be nobody to wait for */
    memcpy(kept, fds, sizeof(kept));
    watched = fcntl(watched, F_DUPFD_CLOEXEC, PC_FD_KEPT);
    for (int i = 0; i < PC_FD_COUNT; i++)
        if (kept[i] >= 0 && (kept[i] = fcntl(kept[i], F_DUPFD_CLOEXEC, PC_FD_KEPT)) < 0)
            _exit(125);
    if (open_server() != 0)
        _exit(125);
    server.received = received;
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* it sees the host; a container may not look into it */
    if (start_child(order, kept) == 0)
        return 1;
    for (int i = 0; i < PC_FD_COUNT; i++) {
        close(i);
        if (kept[i] >= 0)
            close(kept[i]);
    }
    while (server.count > 0) {
        struct pollfd polled[] = {
            {.fd = server.signals, .events = POLLIN},
            {.fd = watched, .events = POLLIN},
        };
        if (poll(polled, 2, -1) < 0 && errno != EINTR)
            break;
        if (polled[1].revents)
            break;
        if (polled[0].revents)
            reap();
    }
    kill_children();
    _exit(0);
}

/* A loader that holds the function now: clones the container and supervises it. */
int pc_supervise_loaded(void)
{
    struct pc_order order = ordered;
    const int fds[PC_FD_COUNT] = {0, 1, 2, PC_FD_CALL, PC_FD_STATUS, PC_FD_CWD, -1};

    order.flags &= ~(uint32_t)PC_ORDER_LOADER;
    return pc_supervise_one(&order, fds, PC_FD_LIFELINE, true);
}

/* Forks the function's process; this one stays as the init and does not return.  Returns 0 in the
   function's process or an errno. */
int pc_fork_below_init(void)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    PyOS_BeforeFork();
    const bool is_init = getpid() == 1;
    pid_t pid = fork();
    if (pid == 0) {
        int error = 0;
        if (!is_init) {
            setpgid(0, 0);
            error = prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 ? errno : 0;
        }
        PyOS_AfterFork_Child();
        PyGILState_Release(gil);
        return error;
    }
    int error = errno;
    if (pid > 0)
        pc_init(pid, PC_FD_CALL);
    PyOS_AfterFork_Parent();
    PyGILState_Release(gil);
    return error;
}
