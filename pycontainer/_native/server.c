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

static struct {
    int signals;  /* signalfd of SIGCHLD */
    int lifeline[2];
    uint64_t ordered; /* when the last order came */
    bool hurried;     /* and whether it came soon after the one before */
} server = {.signals = -1, .lifeline = {-1, -1}};

enum { HURRY = 3000000 };       /* nanoseconds */
enum { SPARE_LIFE = 10000000 }; /* microseconds without an order */

/* An order as it came. */
struct ordered {
    struct pc_order order;
    struct pc_watch watch; /* if it is watched */
    int fds[PC_FD_COUNT];  /* -1: not there */
    int count;             /* of them */
    int watch_fds[PC_WATCH_MOST];
    bool watched;
};

/* A loader's, for the container that it will supervise. */
static struct pc_watch loaders_watch;
static bool loader_watches;

static void adopt(pid_t pid, int pidfd, const struct ordered *ordered, uint64_t started)
{
    pc_adopt(pid, pidfd, ordered->fds[PC_FD_STATUS], ordered->order.namespaces & PC_NS_PID,
             ordered->watched ? &ordered->watch : NULL, ordered->watch_fds, started);
}

/* Starts a child for an order; the descriptors stay open.  0: in the child. */
static int start_child(const struct ordered *ordered, bool received)
{
    const struct pc_order *order = &ordered->order;
    const int *fds = ordered->fds;
    int pidfd = -1;
    uint64_t started = pc_now();
    pid_t pid = pc_spawn(order, fds, server.lifeline[0], received, &pidfd);
    if (pid == 0) {
        pc_forget_children();
        memset(&server, 0, sizeof(server));
        server.signals = server.lifeline[0] = server.lifeline[1] = -1;
        return 0;
    }
    if (pid < 0) {
        pc_tell(fds[PC_FD_STATUS], (struct pc_status){.kind = PC_STATUS_FAILED, .value = -pid}, -1);
        if (ordered->watched && !(order->flags & PC_ORDER_LOADER))
            pc_watch_drop(&ordered->watch, ordered->watch_fds);
    } else if (order->flags & PC_ORDER_LOADER) {
        /* It supervises its container and reports by itself; the caller may end it until then. */
        pc_tell(fds[PC_FD_STATUS], (struct pc_status){.kind = PC_STATUS_LOADING, .value = pid}, pidfd);
        close(pidfd);
        pc_adopt_loader(pid);
    } else
        adopt(pid, pidfd, ordered, started);
    return 1;
}

/* How long to wait for something else to do, in microseconds, before a spare is made; -1: for ever.
   What was just ordered comes first.  A clone of all namespaces holds locks of the kernel that a
   container needs for its mounts, and whatever runs here takes a processor from an excursion,
   which is over in less than a millisecond.  But where one excursion follows another, the next
   would find no spare: there it is made as soon as the ordered one can run elsewhere.  A container
   needs those locks again when it ends, which for a short program is after 1.5 ms. */
static long patience(void)
{
    const struct pc_order *wanted = pc_wanted_spare();

    if (!wanted)
        return pc_spares_wait() ? SPARE_LIFE : -1;
    if (pc_count_children() == 0)
        return 0;
    if (wanted->flags & PC_ORDER_JOIN)
        return server.hurried ? 100 : 1000;
    return 3000;
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
    pc_proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (pc_proc < 0)
        return errno;
    /* A supervisor of one closes all the numbers below. */
    int error = pc_raise_fds(server.lifeline, 2);
    if (!error)
        error = pc_raise_fds(&server.signals, 1);
    return error ? error : pc_raise_fds(&pc_proc, 1);
}

/* Sorts what came with an order.  fds: all the descriptors.  Whether it is one that can be served. */
static bool sort_order(struct ordered *ordered, size_t length, const int *fds, int count)
{
    struct pc_order *order = &ordered->order;
    const struct pc_watch *watch = &ordered->watch;
    int watching = 0;

    ordered->watched = length == sizeof(*order) + sizeof(*watch);
    if (!ordered->watched && length != sizeof(*order))
        return false;
    if (ordered->watched && !(order->flags & PC_ORDER_LOADER)) {
        if (watch->parents > PC_WATCH_PARENTS)
            return false;
        watching = pc_watch_descriptors(watch);
    }
    ordered->count = count - watching;
    if (order->magic != PC_MAGIC || ordered->count <= PC_FD_CWD || ordered->count > PC_FD_COUNT)
        return false;
    for (int i = 0; i < PC_FD_COUNT; i++)
        ordered->fds[i] = i < ordered->count ? fds[i] : -1;
    memcpy(ordered->watch_fds, fds + ordered->count, (size_t)watching * sizeof(*fds));
    order->uid_map[sizeof(order->uid_map) - 1] = order->gid_map[sizeof(order->gid_map) - 1] = 0;
    return true;
}

/* What the caller sent last, before it ended: directories to look through for its cgroups. */
static void take_last_sweep(int control)
{
    struct pc_order order;
    int fds[PC_FD_COUNT + PC_WATCH_MOST], count;
    ssize_t length;

    do {
        count = PC_FD_COUNT + PC_WATCH_MOST;
        length = pc_receive(control, &order, sizeof(order), fds, &count, MSG_DONTWAIT);
        if (length == sizeof(order) && order.flags == PC_ORDER_SWEEP) {
            order.uid_map[sizeof(order.uid_map) - 1] = 0;
            pc_sweep_later(order.uid_map, fds, count);
        } else
            for (int i = 0; length > 0 && i < count; i++)
                close(fds[i]);
    } while (length > 0 || length == -EMSGSIZE);
}

/* Takes one order from the control socket.  0: in a child; 1: go on; -1: the caller has gone. */
static int serve_order(int control)
{
    struct {
        struct pc_order order;
        struct pc_watch watch;
    } message;
    struct ordered ordered;
    int fds[PC_FD_COUNT + PC_WATCH_MOST], count = PC_FD_COUNT + PC_WATCH_MOST, outcome = 1;
    ssize_t length = pc_receive(control, &message, sizeof(message), fds, &count, MSG_DONTWAIT);

    if (length == -EAGAIN || length == -EMSGSIZE)
        return 1;
    if (length <= 0)
        return -1;
    int error = pc_raise_fds(fds, count);
    if (error && count > PC_FD_STATUS)
        pc_tell(fds[PC_FD_STATUS], (struct pc_status){.kind = PC_STATUS_FAILED, .value = error}, -1);
    if (!error && length == sizeof(message.order) && message.order.flags == PC_ORDER_SWEEP) {
        message.order.uid_map[sizeof(message.order.uid_map) - 1] = 0;
        pc_sweep_later(message.order.uid_map, fds, count);
        return 1;
    }
    if (!error && length == sizeof(message.order) && message.order.flags == PC_ORDER_SIGNAL) {
        for (int i = 0; i < count; i++) {
            /* ESRCH when it has ended. */
            (void)!syscall(SYS_pidfd_send_signal, fds[i], (int)message.order.signal, NULL, 0);
            close(fds[i]);
        }
        return 1;
    }
    ordered.order = message.order;
    ordered.watch = message.watch;
    if (!error && sort_order(&ordered, (size_t)length, fds, count)) {
        const struct pc_order *order = &ordered.order;
        const uint64_t before = server.ordered;
        server.ordered = pc_now();
        server.hurried = server.ordered - before < HURRY;
        if (order->flags & PC_ORDER_JOIN)
            pc_load_name_services(); /* here, so that only the first one waits for it */
        if (order->flags & PC_ORDER_LOADER) {
            loader_watches = ordered.watched;
            loaders_watch = ordered.watch;
        }
        int pidfd;
        const uint64_t started = pc_now();
        const pid_t spare = pc_use_spare(order, ordered.fds, ordered.count, &pidfd);
        if (spare > 0)
            adopt(spare, pidfd, &ordered, started);
        else
            outcome = start_child(&ordered, false);
        if (outcome == 0)
            return 0;
        if (!(order->flags & PC_ORDER_LOADER))
            pc_want_spare(order);
        if (ordered.watched)
            count = ordered.count; /* the watch has the others */
    }
    for (int i = 0; i < count; i++)
        close(fds[i]);
    return outcome;
}

/* Serves orders until the caller ends or closes its socket.  caller: a pidfd of it, since copies
   of the socket may outlive it.  Returns PC_SERVED_CHILD in a child with its request,
   PC_SERVED_SPARE in one that has none yet, PC_SERVED_END at the end, or -errno. */
int pc_serve(int control, int caller)
{
    int error;

    signal(SIGINT, SIG_IGN); /* a Ctrl-C is the caller's, who relays it */
    (void)pc_close_from((unsigned)(control > caller ? control : caller) + 1);
    (void)!syscall(SYS_setgroups, 0, NULL); /* root's groups end here; EPERM for an ordinary user */
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); /* for what loaders and containers leave */
    error = open_server();
    if (error)
        return -error;
    for (;;) {
        struct pollfd polled[] = {
            {.fd = server.signals, .events = POLLIN},
            {.fd = control, .events = POLLIN},
            {.fd = caller, .events = POLLIN},
            {.fd = pc_watch_notices(), .events = POLLIN},
        };
        int64_t wait = patience();
        const int64_t watch = pc_watch_patience();
        wait = wait < 0 ? wait : wait * 1000;
        const bool watch_first = watch >= 0 && (wait < 0 || watch <= wait);
        wait = watch_first ? watch : wait;
        const struct timespec timeout = {wait / 1000000000, wait % 1000000000};
        int ready = ppoll(polled, 4, wait < 0 ? NULL : &timeout, NULL);
        if (ready < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        if (ready > 0 || watch_first)
            ; /* a spare is made only with nothing else to do */
        else if (pc_wanted_spare()) {
            if (pc_make_spare(server.lifeline[0]) == 0)
                return PC_SERVED_SPARE;
        } else
            pc_end_spares();
        if (polled[0].revents)
            pc_reap(server.signals);
        if (watch >= 0 || polled[3].revents)
            pc_watch_look();
        if (polled[2].revents)
            break;
        if (polled[1].revents) {
            int outcome = serve_order(control);
            if (outcome == 0)
                return PC_SERVED_CHILD;
            if (outcome < 0)
                break;
        }
    }
    pc_end_spares();
    pc_kill_children();
    pc_end_children();
    pc_watch_end_all();
    take_last_sweep(control);
    pc_sweep_cgroups();
    return PC_SERVED_END;
}

/* Closes whatever else a fork of the caller holds: somebody may wait for the end of a pipe, or for
   a lock.  kept: -1 is none. */
static void close_others(const int *kept, int count)
{
    unsigned first = PC_FD_STDERR + 1;

    for (;;) {
        unsigned next = pc_holds_stdlib() && first <= PC_FD_STDLIB ? PC_FD_STDLIB : ~0U;
        for (int i = 0; i < count; i++)
            if (kept[i] >= 0 && (unsigned)kept[i] >= first && (unsigned)kept[i] < next)
                next = (unsigned)kept[i];
        if (next > first)
            syscall(SYS_close_range, first, next - 1, 0);
        if (next == ~0U)
            return;
        first = next + 1;
    }
}

/* Clones one container from this process and supervises it: for a loader that has the function
   already, and for start_method="fork".  watched: readable or hung up when the caller has gone.
   received: the request has been read here.  watch: NULL without limits; its descriptors come behind
   the PC_FD_COUNT of the order.
   Returns 1 in the container's process; in the supervisor it does not return. */
int pc_supervise_one(const struct pc_order *order, const int *fds, const struct pc_watch *watch,
                     int watched, bool received)
{
    const int watching = watch ? pc_watch_descriptors(watch) : 0;
    struct ordered ordered = {.order = *order, .count = PC_FD_COUNT, .watched = watch != NULL};
    int members[PC_WATCH_PARENTS], member_count = 0;
    int kept[1 + PC_FD_COUNT + PC_WATCH_MOST + PC_WATCH_PARENTS];
    const int all = 1 + PC_FD_COUNT + watching;

    /* A copy of a helper, at one remove or two, has the helper's children in its tables. */
    pc_forget_children();
    pc_drop_spares();
    pc_forget_watchers();
    pc_default_signals(); /* with SIGCHLD ignored there would be nobody to wait for */
    /* A caller may take this process for a loader still: its container is to have the signal. */
    sigset_t every;
    sigfillset(&every);
    sigprocmask(SIG_SETMASK, &every, NULL);
    if (received)
        member_count = pc_cgroup_members(members);
    kept[0] = watched;
    memcpy(kept + 1, fds, (size_t)(PC_FD_COUNT + watching) * sizeof(*fds));
    memcpy(kept + all, members, (size_t)member_count * sizeof(*members));
    for (int i = 0; i < all + member_count; i++)
        if (kept[i] >= 0 && (kept[i] = fcntl(kept[i], F_DUPFD_CLOEXEC, PC_FD_KEPT)) < 0)
            _exit(125);
    close_others(kept, all + member_count);
    watched = kept[0];
    memcpy(ordered.fds, kept + 1, sizeof(ordered.fds));
    memcpy(ordered.watch_fds, kept + 1 + PC_FD_COUNT, (size_t)watching * sizeof(*kept));
    pc_set_cgroup_members(kept + all, member_count);
    if (watch)
        ordered.watch = *watch;
    if (open_server() != 0)
        _exit(125);
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* it sees the host; a container may not look into it */
    if (start_child(&ordered, received) == 0)
        return 1;
    pc_drop_stdlib();
    for (int i = 0; i < PC_FD_COUNT; i++) {
        close(i);
        if (ordered.fds[i] >= 0)
            close(ordered.fds[i]);
    }
    for (int i = 0; i < member_count; i++)
        close(kept[all + i]);
    while (pc_count_children() > 0) {
        struct pollfd polled[] = {
            {.fd = server.signals, .events = POLLIN},
            {.fd = watched, .events = POLLIN},
            {.fd = pc_watch_notices(), .events = POLLIN},
        };
        const int64_t wait = pc_watch_patience();
        const struct timespec timeout = {wait / 1000000000, wait % 1000000000};
        if (ppoll(polled, 3, wait < 0 ? NULL : &timeout, NULL) < 0) {
            if (errno != EINTR)
                break;
            continue;
        }
        if (polled[1].revents)
            break;
        if (polled[0].revents)
            pc_reap(server.signals);
        pc_watch_look();
    }
    pc_kill_children();
    pc_end_children();
    pc_watch_end_all();
    _exit(0);
}

/* A loader that holds the function now: clones the container and supervises it. */
int pc_supervise_loaded(void)
{
    struct pc_order order = *pc_ordered();
    int fds[PC_FD_COUNT + PC_WATCH_MOST] = {0, 1, 2, PC_FD_CALL, PC_FD_STATUS, PC_FD_CWD, -1};

    order.flags &= ~(uint32_t)PC_ORDER_LOADER;
    if (loader_watches && !pc_take_watch_descriptors(fds + PC_FD_COUNT, pc_watch_descriptors(&loaders_watch)))
        _exit(125);
    return pc_supervise_one(&order, fds, loader_watches ? &loaders_watch : NULL, PC_FD_LIFELINE, true);
}

