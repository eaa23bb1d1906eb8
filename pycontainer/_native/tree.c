/* A process and all below it, as /proc shows them: what they use, and ending them.

   A process of a container never leaves this tree: when its parent ends it becomes a child of the
   container's init (pid_namespaces(7), or PR_SET_CHILD_SUBREAPER of prctl(2)). */
#include "pycontainer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct pids {
    pid_t *all;
    size_t count, room;
};

static void add_pid(struct pids *pids, pid_t pid)
{
    if (pids->count == pids->room) {
        size_t room = pids->room ? 2 * pids->room : 64;
        pid_t *grown = realloc(pids->all, room * sizeof(*grown));
        if (!grown)
            return; /* it is counted the next time */
        pids->all = grown;
        pids->room = room;
    }
    pids->all[pids->count++] = pid;
}

static ssize_t read_text(const char *name, char *text, size_t size)
{
    int fd = openat(pc_proc, name, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : 0, more = 1;

    while (fd >= 0 && (size_t)length < size - 1 && more > 0) {
        more = read(fd, text + length, size - 1 - (size_t)length);
        length += more > 0 ? more : 0;
    }
    if (fd >= 0)
        close(fd);
    text[length > 0 ? length : 0] = 0;
    return length;
}

/* The children of one thread (proc_tid_children(5)), however many: those that a cut would leave out
   would be neither counted nor killed. */
static void add_children_of(struct pids *pids, pid_t pid, pid_t thread)
{
    char name[64], text[4096];
    size_t kept = 0; /* of a number that is cut off */
    ssize_t length;

    snprintf(name, sizeof(name), "%d/task/%d/children", (int)pid, (int)thread);
    int fd = openat(pc_proc, name, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && (length = read(fd, text + kept, sizeof(text) - 1 - kept)) > 0) {
        char *rest = text, *end;
        text[kept + (size_t)length] = 0;
        for (long child; (child = strtol(rest, &end, 10)) > 0 && *end == ' '; rest = end + 1)
            add_pid(pids, (pid_t)child);
        kept = strlen(rest);
        memmove(text, rest, kept);
    }
    if (fd >= 0)
        close(fd);
}

static void add_children(struct pids *pids, pid_t pid, long threads)
{
    char name[64];

    if (threads <= 1) {
        add_children_of(pids, pid, pid);
        return;
    }
    snprintf(name, sizeof(name), "%d/task", (int)pid);
    int fd = openat(pc_proc, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    if (!directory) {
        if (fd >= 0)
            close(fd);
        return;
    }
    struct dirent *entry;
    while ((entry = readdir(directory)))
        if (entry->d_name[0] != '.')
            add_children_of(pids, pid, (pid_t)atoi(entry->d_name));
    closedir(directory);
}

/* Fields of /proc/PID/stat, as proc_pid_stat(5) numbers them. */
enum { UTIME = 14, STIME, CUTIME, CSTIME, THREADS = 20, RSS = 24, START_CODE = 26, START_STACK = 28, FIELDS };

static bool read_stat(pid_t pid, long long fields[FIELDS])
{
    char name[64], text[1024];

    snprintf(name, sizeof(name), "%d/stat", (int)pid);
    if (read_text(name, text, sizeof(text)) <= 0)
        return false;
    char *rest = strrchr(text, ')'); /* the name before may hold anything */
    if (!rest || strlen(rest) < 4)
        return false;
    rest += 4; /* the third field is a letter */
    memset(fields, 0, FIELDS * sizeof(*fields));
    for (int i = 4; i < FIELDS; i++)
        fields[i] = strtoll(rest, &rest, 10);
    return true;
}

/* Adds up what a process and all below it use and have used. */
void pc_read_tree(pid_t first, struct pc_tree *tree)
{
    struct pids pids = {NULL, 0, 0};
    long long fields[FIELDS];
    long long user = 0, system = 0, pages = 0;

    add_pid(&pids, first);
    for (size_t i = 0; i < pids.count; i++) {
        if (!read_stat(pids.all[i], fields))
            continue;
        user += fields[UTIME] + fields[CUTIME];
        system += fields[STIME] + fields[CSTIME];
        pages += fields[RSS];
        add_children(&pids, pids.all[i], (long)fields[THREADS]);
    }
    free(pids.all);
    const uint64_t tick = 1000000u / (uint64_t)sysconf(_SC_CLK_TCK);
    *tree = (struct pc_tree){
        .user_us = (uint64_t)user * tick,
        .system_us = (uint64_t)system * tick,
        .memory = (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE),
    };
}

/* What /proc/PID/smaps_rollup says (proc_pid_smaps(5)), in bytes. */
struct rollup {
    uint64_t pss;       /* each page that n processes share as an n-th of it */
    uint64_t pss_anon;  /* of that, what comes from no file */
    uint64_t anonymous; /* the same, each page in full */
    uint64_t private;   /* pages that nobody shares */
};

static uint64_t rollup_line(const char *text, const char *name)
{
    const char *line = strstr(text, name);
    return line ? strtoull(line + strlen(name), NULL, 10) * 1024 : 0;
}

static bool read_rollup(const char *process, struct rollup *rollup)
{
    char name[64], text[2048];

    snprintf(name, sizeof(name), "%s/smaps_rollup", process);
    if (read_text(name, text, sizeof(text)) <= 0)
        return false;
    *rollup = (struct rollup){
        .pss = rollup_line(text, "\nPss:"),
        .pss_anon = rollup_line(text, "\nPss_Anon:"),
        .anonymous = rollup_line(text, "\nAnonymous:"),
        .private = rollup_line(text, "\nPrivate_Clean:") + rollup_line(text, "\nPrivate_Dirty:"),
    };
    return true;
}

static uint64_t smaller(uint64_t one, uint64_t other)
{
    return one < other ? one : other;
}

/* Its memory in bytes, each page that n processes share as an n-th of it for each of them; without
   what its processes only have because this one was copied for them, as a cgroup would leave it with
   the caller.

   This process keeps all pages that it was forked with (it hardly writes), so its own Pss is what
   one copy has of them by right: it is taken off what each copy shares, but never more than is
   missing from this process's pages, since that is what all others have of them.  So it is never
   too much that is counted, and what a process has for itself counts always.

   init: the first process is an init of ours.  If it cannot be looked into it has taken up its work
   (pc_init()), and has nothing but what it was copied with.  Of others that cannot be, all counts. */
uint64_t pc_read_tree_memory(pid_t first, bool init)
{
    struct pids pids = {NULL, 0, 0};
    long long own[FIELDS] = {0}, fields[FIELDS];
    struct rollup copied = {0, 0, 0, 0}, rollup;
    char name[32];
    uint64_t sum = 0, inherited = 0;

    const bool copies = read_stat(getpid(), own) && read_rollup("self", &copied);
    add_pid(&pids, first);
    for (size_t i = 0; i < pids.count; i++) {
        if (!read_stat(pids.all[i], fields))
            continue;
        add_children(&pids, pids.all[i], (long)fields[THREADS]);
        if (fields[RSS] == 0)
            continue;
        snprintf(name, sizeof(name), "%d", (int)pids.all[i]);
        if (read_rollup(name, &rollup)) {
            sum += rollup.pss;
            /* Its addresses are other ones as soon as it has executed a program. */
            if (copies && fields[START_CODE] == own[START_CODE] &&
                fields[START_STACK] == own[START_STACK] && rollup.pss > rollup.private)
                inherited += smaller(copied.pss_anon, rollup.pss - rollup.private);
        } else if (!(init && i == 0) && read_stat(pids.all[i], fields))
            sum += (uint64_t)fields[RSS] * (uint64_t)sysconf(_SC_PAGESIZE);
    }
    free(pids.all);
    if (copied.anonymous > copied.pss_anon)
        sum -= smaller(sum, smaller(inherited, copied.anonymous - copied.pss_anon));
    return sum;
}

/* Kills the children of a process of ours, but for those that are spared (NULL: none is); how many
   there were. */
int pc_kill_children_of(pid_t pid, bool (*spared)(pid_t pid))
{
    struct pids pids = {NULL, 0, 0};
    int count = 0;

    add_children_of(&pids, pid, pid);
    for (size_t i = 0; i < pids.count; i++)
        if (!spared || !spared(pids.all[i])) {
            kill(pids.all[i], SIGKILL);
            count++;
        }
    free(pids.all);
    return count;
}

/* A child of ours that is in a session, or 0. */
pid_t pc_child_in_session(pid_t session)
{
    struct pids pids = {NULL, 0, 0};
    pid_t found = 0;

    add_children_of(&pids, getpid(), getpid());
    for (size_t i = 0; i < pids.count && !found; i++)
        if (getsid(pids.all[i]) == session)
            found = pids.all[i];
    free(pids.all);
    return found;
}
