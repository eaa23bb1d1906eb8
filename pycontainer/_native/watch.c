/* The watch that a supervisor keeps over a container with limits: its time, its processor time, its
   memory.  What meets a limit is killed as a whole, and its caller is told by which.

   A cgroup counts for all processes, and the kernel says when its memory is at an end.  Without one
   the tree below the first process is read from /proc: often enough for what it may still use. */
#include "pycontainer.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    MILLISECOND = 1000000,       /* nanoseconds */
    SAMPLE = 10 * MILLISECOND,   /* between looks at the memory of a tree */
    /* Between looks at its processor time: what comes and goes between two is not seen, where
       nobody waits for it. */
    GLANCE = 20 * MILLISECOND,
    SHORTEST = 2 * MILLISECOND,  /* between looks at the processor time */
    LONGEST = 1000 * MILLISECOND,
    AGAIN = 100 * MILLISECOND,   /* until what has been killed is killed once more */
    REST = 200 * MILLISECOND,    /* after a look that takes long */
};

struct pc_watcher {
    struct pc_watcher *next;
    pid_t pid;
    bool own_pids; /* the kernel ends its processes with the first one */
    uint64_t started, due;
    struct pc_watch bounds;
    int files[PC_WATCH_FILES];
    int parents[PC_WATCH_PARENTS];
    uint32_t limit; /* PC_WATCHED_*: which one it has met */
    /* of a tree that is read */
    struct pc_tree tree;    /* the most of each that was seen */
    uint64_t last, lost;    /* processor time: at the last look; of processes that are gone */
    uint64_t suspected;     /* less than last, seen once: a process was on the move, or is gone */
    uint64_t shared, checked; /* memory counted twice in the last exact look, and when that was */
};

static struct pc_watcher *watchers;
static int notices = -1; /* epoll of the kernel's notices */

/* In a copy of the helper, whose containers are not its own. */
void pc_forget_watchers(void)
{
    watchers = NULL;
    notices = -1;
}

static void close_files(struct pc_watcher *watcher)
{
    /* A clone on its way holds a copy for a moment, with which the kernel would keep it. */
    if (notices >= 0 && watcher->files[PC_WATCH_NOTICE] >= 0)
        epoll_ctl(notices, EPOLL_CTL_DEL, watcher->files[PC_WATCH_NOTICE], NULL);
    for (int i = 0; i < PC_WATCH_FILES; i++)
        if (watcher->files[i] >= 0)
            close(watcher->files[i]);
    for (uint32_t i = 0; i < watcher->bounds.parents; i++)
        close(watcher->parents[i]);
}

int pc_watch_descriptors(const struct pc_watch *watch)
{
    int count = (int)watch->parents;
    for (int i = 0; i < PC_WATCH_FILES; i++)
        count += watch->files >> i & 1;
    return count;
}

/* Closes the descriptors of a watch that is not to be. */
void pc_watch_drop(const struct pc_watch *watch, const int *fds)
{
    for (int i = pc_watch_descriptors(watch) - 1; i >= 0; i--)
        close(fds[i]);
}

static int listen_to(struct pc_watcher *watcher, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = watcher};

    if (notices < 0) {
        notices = epoll_create1(EPOLL_CLOEXEC);
        int error = notices < 0 ? errno : pc_raise_fds(&notices, 1); /* a supervisor closes those below */
        if (error)
            return error;
    }
    return epoll_ctl(notices, EPOLL_CTL_ADD, fd, &event) != 0 ? errno : 0;
}

/* Watches the process *pid*, started at the moment *started*; takes over the descriptors of the
   watch.  NULL with errno when it cannot: then they are closed. */
struct pc_watcher *pc_watch_begin(const struct pc_watch *watch, const int *fds, pid_t pid,
                                  bool own_pids, uint64_t started)
{
    struct pc_watcher *watcher = calloc(1, sizeof(*watcher));
    int error = 0;

    if (!watcher) {
        pc_watch_drop(watch, fds);
        errno = ENOMEM;
        return NULL;
    }
    *watcher = (struct pc_watcher){
        .next = watchers, .pid = pid, .own_pids = own_pids, .started = started, .bounds = *watch};
    watcher->bounds.name[sizeof(watcher->bounds.name) - 1] = 0;
    for (int i = 0; i < PC_WATCH_FILES; i++)
        watcher->files[i] = watch->files >> i & 1 ? *fds++ : -1;
    for (uint32_t i = 0; i < watch->parents; i++)
        watcher->parents[i] = *fds++;
    if (watcher->files[PC_WATCH_NOTICE] >= 0)
        error = listen_to(watcher, watcher->files[PC_WATCH_NOTICE]);
    if (error) {
        close_files(watcher);
        free(watcher);
        errno = error;
        return NULL;
    }
    watchers = watcher;
    return watcher;
}

/* ---- what it uses ---- */

static bool read_cgroup_time(const struct pc_watcher *watcher, uint64_t *user, uint64_t *system)
{
    const int first = watcher->files[PC_WATCH_CPU_USER], second = watcher->files[PC_WATCH_CPU_SYSTEM];

    if (first < 0)
        return false;
    if (second >= 0) { /* version 1: nanoseconds, a file each */
        if (!pc_read_number(first, NULL, user) || !pc_read_number(second, NULL, system))
            return false;
        *user /= 1000;
        *system /= 1000;
        return true;
    }
    return pc_read_number(first, "user_usec", user) && pc_read_number(first, "system_usec", system);
}

static uint64_t larger(uint64_t one, uint64_t other)
{
    return one > other ? one : other;
}

/* The processor time of a tree falls when a process ends that nobody waits for (SIGCHLD ignored);
   its time is then added to all that come.  It also falls for one look when a process is handed to
   another parent while its old and new one are being read, so that two looks must agree. */
static uint64_t account(struct pc_watcher *watcher, uint64_t now)
{
    if (now >= watcher->last)
        watcher->suspected = 0;
    else if (watcher->suspected) {
        now = larger(now, watcher->suspected);
        if (now < watcher->last)
            watcher->lost += watcher->last - now;
        watcher->suspected = 0;
    } else {
        watcher->suspected = now + 1; /* never 0 */
        now = watcher->last;
    }
    watcher->last = now;
    return watcher->lost + now;
}

/* The resident memory counts a page that several processes share once for each of them, their caller's
   too that they were copied with.  Only beyond the bound is it worth to have the kernel share them
   out, which takes it long. */
static uint64_t memory_of(struct pc_watcher *watcher, uint64_t resident, uint64_t now)
{
    const uint64_t bound = watcher->bounds.memory;

    if (resident <= bound)
        return resident;
    /* What is shared may have been more than there still is. */
    if (resident - bound <= watcher->shared && now - watcher->checked < 10 * (uint64_t)SAMPLE)
        return resident > watcher->shared ? resident - watcher->shared : 0;
    const bool init = watcher->bounds.init;
    uint64_t exact = pc_read_tree_memory(watcher->pid, init);
    /* One process is read after the other.  While some of them end, or begin, a page that n shared
       may count as more than one: an n-th, and then an (n-1)-th, and so on.  What is used for good
       is there the next time too. */
    for (int i = 0; i < 2 && exact > bound; i++) {
        const uint64_t next = pc_read_tree_memory(watcher->pid, init);
        exact = next < exact ? next : exact;
    }
    watcher->shared = exact < resident ? resident - exact : 0;
    watcher->checked = pc_now();
    return resident - watcher->shared;
}

static void look_at_tree(struct pc_watcher *watcher, uint64_t now, uint64_t *used)
{
    struct pc_tree tree;

    pc_read_tree(watcher->pid, &tree);
    *used = account(watcher, tree.user_us + tree.system_us);
    tree.memory = memory_of(watcher, tree.memory, now);
    watcher->tree.memory = larger(watcher->tree.memory, tree.memory);
    watcher->tree.user_us = larger(watcher->tree.user_us, tree.user_us);
    watcher->tree.system_us = larger(watcher->tree.system_us, tree.system_us);
}

/* ---- what becomes of it ---- */

static void kill_all(struct pc_watcher *watcher, bool again)
{
    const int whole = watcher->files[PC_WATCH_KILL];

    if (whole >= 0 && pwrite(whole, "1", 1, 0) == 1)
        return;
    /* Without a pid namespace of its own there is an init, which ends all of them when its main
       child has ended; nothing would if it were killed itself. */
    if (watcher->own_pids || again || pc_kill_children_of(watcher->pid, NULL) == 0)
        kill(watcher->pid, SIGKILL); /* not reaped yet, so the number is its own */
}

static void meet(struct pc_watcher *watcher, uint32_t limit)
{
    watcher->limit = limit;
    kill_all(watcher, false);
}

/* Looks at one container, and at the clock for when to look again. */
static void look_at(struct pc_watcher *watcher)
{
    static long processors;
    const struct pc_watch *bounds = &watcher->bounds;
    const uint64_t now = pc_now();
    uint64_t wait = UINT64_MAX, wall = UINT64_MAX, used = 0, user, system;

    if (watcher->limit) {
        kill_all(watcher, true);
        watcher->due = now + AGAIN;
        return;
    }
    if (processors <= 0)
        processors = sysconf(_SC_NPROCESSORS_ONLN);
    if (bounds->wall_ns) {
        const uint64_t passed = now - watcher->started;
        if (passed >= bounds->wall_ns)
            meet(watcher, PC_WATCHED_WALL_TIME);
        else
            wall = bounds->wall_ns - passed;
    }
    const bool counted = read_cgroup_time(watcher, &user, &system);
    const bool tree = bounds->memory || (bounds->cpu_ns && !counted);
    if (tree) {
        look_at_tree(watcher, now, &used);
        if (bounds->memory && watcher->tree.memory > bounds->memory && !watcher->limit)
            meet(watcher, PC_WATCHED_MEMORY);
    }
    if (bounds->cpu_ns) {
        used = (counted ? user + system : used) * 1000;
        if (used >= bounds->cpu_ns && !watcher->limit)
            meet(watcher, PC_WATCHED_CPU_TIME);
        else if (used < bounds->cpu_ns) {
            /* No sooner than with all processors at work on it. */
            uint64_t left = (bounds->cpu_ns - used) / (uint64_t)(processors > 0 ? processors : 1);
            const uint64_t longest = tree ? GLANCE : LONGEST;
            left = left < SHORTEST ? SHORTEST : left > longest ? longest : left;
            wait = left < wait ? left : wait;
        }
    }
    const uint64_t end = pc_now();
    if (bounds->memory && wait > SAMPLE)
        wait = SAMPLE;
    /* A tree of thousands takes long to read, or one that shares much: that must not become the most
       of the work, nor may the next look come too late for what is used meanwhile. */
    const uint64_t took = end - now, rest = 10 * took < REST ? 10 * took : larger(REST, 2 * took);
    if (tree && wait < rest)
        wait = rest;
    wait = wall < wait ? wall : wait;
    if (watcher->limit)
        wait = AGAIN;
    watcher->due = wait == UINT64_MAX ? UINT64_MAX : now + wait;
}

/* A descriptor that is readable when there is something to look at, or -1. */
int pc_watch_notices(void)
{
    return notices;
}

/* How long nothing is due, in nanoseconds; -1: for ever. */
int64_t pc_watch_patience(void)
{
    uint64_t first = UINT64_MAX, now;

    for (struct pc_watcher *watcher = watchers; watcher; watcher = watcher->next)
        first = watcher->due < first ? watcher->due : first;
    if (first == UINT64_MAX)
        return -1;
    now = pc_now();
    return first > now ? (int64_t)(first - now) : 0;
}

/* Looks at everything that is due. */
void pc_watch_look(void)
{
    struct epoll_event events[8];
    uint64_t number;
    int count = notices < 0 ? 0 : epoll_wait(notices, events, 8, 0);

    for (int i = 0; i < count; i++) {
        struct pc_watcher *watcher = events[i].data.ptr;
        (void)!read(watcher->files[PC_WATCH_NOTICE], &number, sizeof(number));
        if (!watcher->limit)
            meet(watcher, PC_WATCHED_MEMORY);
        watcher->due = pc_now() + AGAIN;
    }
    for (struct pc_watcher *watcher = watchers; watcher; watcher = watcher->next)
        if (watcher->due != UINT64_MAX && watcher->due <= pc_now())
            look_at(watcher);
}

/* The first process has been reaped.  Adds what is known of the whole tree to *status* (NULL: the
   caller has gone), removes its cgroups and ends the watch. */
void pc_watch_end(struct pc_watcher *watcher, struct pc_status *status)
{
    uint64_t user = watcher->tree.user_us, system = watcher->tree.system_us;
    uint64_t peak = 0, killed = 0;

    if (watcher->files[PC_WATCH_OOM] >= 0 && !watcher->limit &&
        pc_read_number(watcher->files[PC_WATCH_OOM], "oom_kill", &killed) && killed)
        watcher->limit = PC_WATCHED_MEMORY;
    if (status) {
        read_cgroup_time(watcher, &user, &system);
        if (watcher->files[PC_WATCH_PEAK] >= 0 &&
            pc_read_number(watcher->files[PC_WATCH_PEAK], NULL, &peak))
            status->max_rss = peak;
        if (watcher->bounds.memory && watcher->limit == PC_WATCHED_MEMORY)
            status->max_rss = watcher->tree.memory; /* wait4()'s counts what it was copied with */
        else
            status->max_rss = larger(status->max_rss, watcher->tree.memory);
        user = larger(user, status->user_us);
        system = larger(system, status->system_us);
        /* Of processes that nobody waited for: how they used it is not known. */
        const uint64_t sum = watcher->lost + watcher->last;
        if (user + system < sum)
            user = sum - system;
        status->user_us = user;
        status->system_us = system;
        status->limit = watcher->limit;
    }
    for (uint32_t i = 0; i < watcher->bounds.parents; i++)
        pc_remove_cgroup(watcher->parents[i], watcher->bounds.name, true);
    for (struct pc_watcher **link = &watchers; *link; link = &(*link)->next)
        if (*link == watcher) {
            *link = watcher->next;
            break;
        }
    close_files(watcher);
    free(watcher);
}

/* All that is left: the supervisor ends, and its containers have ended. */
void pc_watch_end_all(void)
{
    while (watchers)
        pc_watch_end(watchers, NULL);
}
