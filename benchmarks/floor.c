/* The floor: the default container's own steps in C and nothing else, one iteration a line of
   stdin, so that a harness can interleave it with other programs without starting a process.

     bare                     Guix's mounts in all seven namespaces, no lock; exit
     default                  what pycontainer's default container does; exit
     exec                     the same and execve of a static program
     binds N legacy|tree DIR  default, with N read-only binds of DIR/0000, DIR/0001 ...
     idle [unlocked]          default, with the program bound at /true, and stays: answers its pid
     excursion PID            pidfd, fork, one setns of all that differs, fork, exit
     memcpy SIZE N            N copies, one after the other, each into fresh memory
     spawn\tARGV0\tARGV1 ...  posix_spawn and wait of another program, output to /dev/null

   Each answer is one line: nanoseconds of the monotonic clock, or "failed: step: reason".
   argv[1] is the static program. */
#include "floor.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

bool parent_maps;
uid_t host_uid;
gid_t host_gid;

enum mode { BARE, DEFAULT, EXEC, IDLE };

static const int all_namespaces = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET |
                                  CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
static char *refusal; /* shared with the children */
enum { REFUSAL_SIZE = 4096 };
static bool in_child;

void refuse(const char *step)
{
    snprintf(refusal, REFUSAL_SIZE, "%s: %s", step, strerror(errno));
    if (in_child)
        _exit(1);
    printf("failed: %s\n", refusal);
    fflush(stdout);
    exit(1);
}

int must(long result, const char *step)
{
    if (result < 0)
        refuse(step);
    return (int)result;
}

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void answer_time(uint64_t started, uint64_t ended, int status)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        printf("%llu\n", (unsigned long long)(ended - started));
    else if (refusal[0])
        printf("failed: %s\n", refusal);
    else
        printf("failed: wait status %#x\n", (unsigned)status);
}

/* ---- containers ---- */

static pid_t clone_all(void)
{
    struct clone_args arguments = {.flags = (uint64_t)all_namespaces, .exit_signal = SIGCHLD};
    return must(syscall(SYS_clone3, &arguments, sizeof(arguments)), "clone3");
}

static void run_child(enum mode mode, const struct task *task, int mapped)
{
    char byte;

    if (parent_maps) {
        if (read(mapped, &byte, 1) != 1)
            refuse("wait for the id maps");
        close(mapped);
        become_root();
    } else
        map_self();
    if (mode == BARE)
        set_up_bare();
    else
        set_up_default(task);
    if (mode == EXEC) {
        char *argv[] = {"/true", NULL}, *empty[] = {NULL};
        execve("/true", argv, empty);
        refuse("execve /true");
    }
}

static void write_maps(pid_t pid)
{
    char name[64];
    const char *map = "0 " FIRST_HOST_ID " 65536";

    snprintf(name, sizeof(name), "/proc/%d", (int)pid);
    int directory = must(open(name, O_PATH | O_DIRECTORY | O_CLOEXEC), name);
    write_file_at(directory, "gid_map", map, 0, 0);
    write_file_at(directory, "uid_map", map, 0, 0);
    close(directory);
}

/* Starts a container; the caller waits.  ready: written when the set-up has ended, or -1. */
static pid_t start(enum mode mode, const struct task *task, int ready)
{
    int mapped[2] = {-1, -1};

    if (parent_maps)
        must(pipe2(mapped, O_CLOEXEC), "pipe2");
    pid_t pid = clone_all();
    if (pid == 0) {
        in_child = true;
        run_child(mode, task, mapped[0]);
        if (mode != IDLE)
            _exit(0);
        must(write(ready, "", 1), "say ready");
        for (;;)
            pause();
    }
    if (parent_maps) {
        write_maps(pid);
        must(write(mapped[1], "", 1), "say mapped");
        close(mapped[0]);
        close(mapped[1]);
    }
    return pid;
}

static void run_container(enum mode mode, const struct task *task)
{
    struct rusage usage;
    int status;

    uint64_t started = now();
    pid_t pid = start(mode, task, -1);
    must(wait4(pid, &status, 0, &usage), "wait4");
    answer_time(started, now(), status);
}

/* It dies with this process (PDEATHSIG). */
static void run_idle(const struct task *task)
{
    int ready[2];
    char byte;

    must(pipe2(ready, O_CLOEXEC), "pipe2");
    pid_t pid = start(IDLE, task, ready[1]);
    close(ready[1]);
    if (read(ready[0], &byte, 1) == 1)
        printf("%d\n", (int)pid);
    else {
        int status;
        must(waitpid(pid, &status, 0), "waitpid");
        answer_time(0, 0, status ? status : 1);
    }
    close(ready[0]);
}

/* ---- excursions ---- */

static int differing_namespaces(pid_t pid)
{
    static const struct {
        const char *name;
        int flag;
    } kinds[] = {
        {"user", CLONE_NEWUSER}, {"pid", CLONE_NEWPID}, {"mnt", CLONE_NEWNS}, {"net", CLONE_NEWNET},
        {"ipc", CLONE_NEWIPC},   {"uts", CLONE_NEWUTS}, {"cgroup", CLONE_NEWCGROUP},
    };
    int flags = 0;

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        char path[64];
        struct stat own, other;
        snprintf(path, sizeof(path), "/proc/self/ns/%s", kinds[i].name);
        must(stat(path, &own), path);
        snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, kinds[i].name);
        must(stat(path, &other), path);
        if (own.st_ino != other.st_ino)
            flags |= kinds[i].flag;
    }
    return flags;
}

static void run_excursion(pid_t target)
{
    const int flags = differing_namespaces(target);
    int status;

    uint64_t started = now();
    int pidfd = must(syscall(SYS_pidfd_open, target, 0), "pidfd_open");
    pid_t pid = must(fork(), "fork");
    if (pid == 0) {
        in_child = true;
        must(setns(pidfd, flags), "setns");
        pid_t inner = must(fork(), "fork inside"); /* the pid namespace holds for children only */
        if (inner == 0)
            _exit(0);
        must(waitpid(inner, &status, 0), "waitpid inside");
        _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
    }
    must(waitpid(pid, &status, 0), "waitpid");
    close(pidfd);
    answer_time(started, now(), status);
}

/* ---- the rest ---- */

/* The first copy reads memory that was written before; the next one reads the first one's. */
static void run_memcpy(size_t size, int copies)
{
    static char *source;
    static size_t source_size;
    enum { MOST = 4 };
    char *made[MOST];

    if (copies < 1 || copies > MOST || size < 1) {
        printf("failed: memcpy takes 1 to %d copies\n", MOST);
        return;
    }
    if (source_size < size) {
        free(source);
        source = malloc(size);
        if (!source)
            refuse("malloc");
        memset(source, 'x', size);
        source_size = size;
    }
    uint64_t started = now();
    for (int i = 0; i < copies; i++) {
        made[i] = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (made[i] == MAP_FAILED)
            refuse("mmap");
        memcpy(made[i], i ? made[i - 1] : source, size);
    }
    uint64_t ended = now();
    for (int i = 0; i < copies; i++)
        must(munmap(made[i], size), "munmap");
    answer_time(started, ended, 0);
}

static void run_spawn(char *line)
{
    static char *argv[16384];
    posix_spawn_file_actions_t actions;
    size_t count = 0;
    pid_t pid;
    int status, error;

    for (char *word = strtok(line, "\t"); word; word = strtok(NULL, "\t"))
        if (count + 1 < sizeof(argv) / sizeof(argv[0]))
            argv[count++] = word;
    argv[count] = NULL;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    uint64_t started = now();
    error = count ? posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ) : EINVAL;
    if (error)
        printf("failed: spawn: %s\n", strerror(error));
    else {
        must(waitpid(pid, &status, 0), "waitpid");
        answer_time(started, now(), status);
    }
    posix_spawn_file_actions_destroy(&actions);
}

static void serve(char *line, const char *program)
{
    char how[16], directory[4096];
    size_t size;
    int number;
    struct task task = {0};

    if (strcmp(line, "bare") == 0)
        run_container(BARE, &task);
    else if (strcmp(line, "default") == 0)
        run_container(DEFAULT, &task);
    else if (strcmp(line, "exec") == 0) {
        task.program = program;
        run_container(EXEC, &task);
    } else if (strcmp(line, "idle") == 0 || strcmp(line, "idle unlocked") == 0) {
        task.program = program;
        task.unlocked = line[4];
        run_idle(&task);
    } else if (sscanf(line, "binds %d %15s %4095[^\n]", &number, how, directory) == 3) {
        task.binds = number;
        task.legacy = strcmp(how, "legacy") == 0;
        task.directory = directory;
        run_container(DEFAULT, &task);
    } else if (sscanf(line, "excursion %d", &number) == 1)
        run_excursion((pid_t)number);
    else if (sscanf(line, "memcpy %zu %d", &size, &number) == 2)
        run_memcpy(size, number);
    else if (strncmp(line, "spawn\t", 6) == 0)
        run_spawn(line + 6);
    else
        printf("failed: unknown measurement\n");
}

/* Root of the initial namespace can give a container ids that nobody else has. */
static bool can_map_range(void)
{
    unsigned long inside, outside, count;
    FILE *map = fopen("/proc/self/uid_map", "re");
    if (!map)
        refuse("open /proc/self/uid_map");
    bool whole = fscanf(map, "%lu %lu %lu", &inside, &outside, &count) == 3 && inside == 0 &&
                 count >= 1879048192ul + GUEST_IDS;
    fclose(map);
    return geteuid() == 0 && whole;
}

int main(int argc, char **argv)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t length;

    refusal = mmap(NULL, REFUSAL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (refusal == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    umask(022);
    host_uid = geteuid();
    host_gid = getegid();
    parent_maps = can_map_range();
    if (parent_maps)
        must(setgroups(0, NULL), "setgroups");
    while ((length = getline(&line, &room, stdin)) > 0) {
        if (line[length - 1] == '\n')
            line[length - 1] = 0;
        refusal[0] = 0;
        serve(line, argc > 1 ? argv[1] : NULL);
        fflush(stdout);
    }
    return 0;
}
