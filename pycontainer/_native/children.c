/* The children of a supervisor: a forkserver's, or the one of a process that supervises one. */
#include "pycontainer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

struct child {
    pid_t pid;
    int status; /* the socket to its caller; -1: a loader, which reports by itself */
    bool own_pids; /* all that it starts ends with it */
    uint64_t started;
    struct pc_watcher *watch; /* NULL without limits */
};

static struct {
    struct child *all;
    size_t count, room;
} children;

int pc_tell(int socket, struct pc_status status, int pidfd)
{
    return pc_send(socket, &status, sizeof(status), &pidfd, pidfd >= 0);
}

static int add_child(struct child child)
{
    if (children.count == children.room) {
        size_t room = children.room ? 2 * children.room : 16;
        struct child *grown = realloc(children.all, room * sizeof(*grown));
        if (!grown)
            return ENOMEM;
        children.all = grown;
        children.room = room;
    }
    children.all[children.count++] = child;
    return 0;
}

/* A child that is neither known nor a spare: what a container without a pid namespace leaves when
   its init is killed becomes a child of ours (PR_SET_CHILD_SUBREAPER). */
static bool is_known(pid_t pid)
{
    for (size_t i = 0; i < children.count; i++)
        if (children.all[i].pid == pid)
            return true;
    return pc_is_spare(pid);
}

/* Whether it may have left strangers. */
static bool report_end(pid_t pid, int status, const struct rusage *usage)
{
    for (size_t i = 0; i < children.count; i++) {
        struct child *child = &children.all[i];
        if (child->pid != pid)
            continue;
        /* A loader that has threads leaves the supervising to a fork of it, in its session: no
           container's process is in there. */
        pid_t heir = child->status < 0 ? pc_child_in_session(pid) : 0;
        if (heir > 0) {
            child->pid = heir;
            return false;
        }
        struct pc_status end = pc_end_status(status, usage, child->started);
        if (child->watch)
            pc_watch_end(child->watch, &end);
        if (!child->own_pids)
            (void)pc_kill_children_of(getpid(), is_known); /* before the caller hears of it */
        if (child->status >= 0) {
            pc_tell(child->status, end, -1);
            close(child->status);
        }
        const bool own_pids = child->own_pids;
        *child = children.all[--children.count];
        return !own_pids;
    }
    return !pc_forget_spare(pid);
}

/* Reaps what has ended and tells its callers.  signals: a signalfd of SIGCHLD. */
void pc_reap(int signals)
{
    struct signalfd_siginfo discarded[8];
    struct rusage usage;
    int status;
    pid_t pid;

    while (read(signals, discarded, sizeof(discarded)) > 0)
        ;
    while ((pid = wait4(-1, &status, WNOHANG, &usage)) > 0)
        if (report_end(pid, status, &usage))
            (void)pc_kill_children_of(getpid(), is_known); /* theirs come when they are reaped */
}

void pc_kill_children(void)
{
    for (size_t i = 0; i < children.count; i++)
        kill(children.all[i].pid, SIGKILL); /* not reaped yet, so the number is still its own */
}

/* Tells the caller that its child has started, and keeps an eye on it.

   socket: to the caller; it stays open.  watch: NULL without limits; its descriptors are taken over. */
void pc_adopt(pid_t pid, int pidfd, int socket, bool own_pids, const struct pc_watch *watch,
              const int *watch_fds, uint64_t started)
{
    struct child child = {.pid = pid, .started = started, .own_pids = own_pids};
    int status = child.status = fcntl(socket, F_DUPFD_CLOEXEC, PC_FD_KEPT);
    int error = status < 0 ? errno : 0;

    if (watch) {
        child.watch = pc_watch_begin(watch, watch_fds, pid, own_pids, started);
        if (!child.watch && !error)
            error = errno;
    }
    if (!error)
        error = add_child(child);
    if (!error) {
        /* EPIPE: the caller has given the call up.  ETOOMANYREFS: too many descriptors of this user
           are under way (unix(7)); without a pidfd nobody could end the child. */
        error = pc_tell(status, (struct pc_status){.kind = PC_STATUS_STARTED, .value = pid}, pidfd);
        if (error)
            children.count--;
    }
    if (error) {
        kill(pid, SIGKILL); /* reaped as a stranger */
        pc_tell(socket, (struct pc_status){.kind = PC_STATUS_FAILED, .value = error}, -1);
        if (status >= 0)
            close(status);
        if (child.watch)
            pc_watch_end(child.watch, NULL);
    }
    close(pidfd);
}

/* A loader, which reports by itself. */
void pc_adopt_loader(pid_t pid)
{
    (void)add_child((struct child){.pid = pid, .status = -1, .own_pids = true});
}

size_t pc_count_children(void)
{
    return children.count;
}

/* In a copy of the supervisor, whose children they are not. */
void pc_forget_children(void)
{
    free(children.all);
    children.all = NULL;
    children.count = children.room = 0;
}
