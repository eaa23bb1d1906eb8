/* What a caller does itself, from any thread: mount trees, a map-only user namespace, probes.

   Children made here share the caller's memory for a few system calls (no page tables are copied,
   whatever its size) and touch nothing but their own stack. */
#include "pycontainer.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STACK = 64 * 1024 };

/* Runs main(argument) in a child that shares memory (and descriptors with CLONE_FILES).  All
   signals are blocked meanwhile: a handler of ours would run on the child's stack.  The child ends
   without SIGCHLD, so that the program's own handlers and os.wait() never see it. */
static pid_t start_helper(int (*main)(void *), void *argument, int flags, char *stack)
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = clone(main, stack + STACK, CLONE_VM | flags, argument);
    int error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return pid < 0 ? -error : pid;
}

static char *new_stack(void)
{
    void *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    return stack == MAP_FAILED ? NULL : stack;
}

static int reap_helper(pid_t pid)
{
    int status;
    pid_t reaped;
    do
        reaped = waitpid(pid, &status, __WALL);
    while (reaped < 0 && errno == EINTR);
    return reaped < 0 ? errno : WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
}

/* Runs main(argument) in such a child, in namespaces of its own, and waits for its end.  Returns
   what it returned, or an errno. */
int pc_run_aside(int (*main)(void *), void *argument, int flags)
{
    char *stack = new_stack();
    if (!stack)
        return ENOMEM;
    pid_t pid = start_helper(main, argument, CLONE_VFORK | flags, stack);
    int error = pid < 0 ? -pid : reap_helper(pid);
    munmap(stack, STACK);
    return error;
}

/* ---- read-only views of the host ---- */

struct view {
    const char *path;
    unsigned recursive; /* AT_RECURSIVE or 0 */
    int tree;
    int refused; /* PC_VIEW_* */
};

static int clone_read_only(struct view *view)
{
    struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
    int fd = (int)syscall(SYS_open_tree, AT_FDCWD, view->path,
                          OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | view->recursive);
    view->refused = PC_VIEW_CLONE;
    if (fd < 0)
        return errno;
    if (syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH | view->recursive, &read_only,
                sizeof(read_only)) != 0) {
        int error = errno;
        view->refused = PC_VIEW_READ_ONLY;
        close(fd);
        return error;
    }
    view->tree = fd;
    return 0;
}

static int clone_read_only_main(void *argument)
{
    return clone_read_only(argument);
}

/* A detached read-only clone of what lies at a path; an ordinary user makes it in a passing user
   and mount namespace.  Returns a descriptor or -errno. */
static int make_view(struct view *view)
{
    int error = clone_read_only(view);

    if (error != EPERM)
        return error ? -error : view->tree;
    view->refused = PC_VIEW_NAMESPACE;
    error = pc_run_aside(clone_read_only_main, view, CLONE_FILES | CLONE_NEWUSER | CLONE_NEWNS);
    return error ? -error : view->tree;
}

/* All of "/": a program that is executed from it cannot be written, truncated or chmod-ed through
   /proc/PID/exe.  *refused: which call it was that failed. */
int pc_clone_root_read_only(int *refused)
{
    struct view view = {.path = "/", .recursive = AT_RECURSIVE, .tree = -1};
    int tree = make_view(&view);
    *refused = view.refused;
    return tree;
}

/* One file: what is opened from it cannot be opened again for writing through /proc/PID/fd. */
int pc_clone_file_read_only(const char *path)
{
    return make_view(&(struct view){.path = path, .tree = -1});
}

/* ---- sources of a privileged caller ---- */

/* A detached clone of a source with its flags set, idmapped when user_namespace >= 0.
   Returns a descriptor or -errno. */
int pc_open_source(const char *path, bool recursive, uint64_t flags, int user_namespace)
{
    /* Private: a clone is a peer of its source, and where the host's mounts are shared, as systemd
       has them, the container's and the host's would reach each other. */
    struct mount_attr attributes = {.propagation = MS_PRIVATE};
    int fd = (int)syscall(SYS_open_tree, AT_FDCWD, path,
                          OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (recursive ? AT_RECURSIVE : 0));
    if (fd < 0)
        return -errno;
    uint64_t clear;
    attributes.attr_set = pc_kernel_mount_attributes(flags, &clear);
    attributes.attr_clr = clear;
    if (user_namespace >= 0) {
        attributes.attr_set |= MOUNT_ATTR_IDMAP;
        attributes.userns_fd = (uint64_t)user_namespace;
    }
    if (syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0),
                &attributes, sizeof(attributes)) != 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

/* Moves a detached submount into a detached tree at a relative path.  0 or an errno.
   Whoever may write to the source can put a symbolic link there at any moment, and the caller is
   root: none is followed, else the mount could land on the host. */
int pc_graft(int tree, const char *path, int submount)
{
    struct open_how how = {
        .flags = O_PATH | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
    };
    int place, tries = 0, error = 0;
    /* EAGAIN: a rename somewhere on the host raced with the look-up (openat2(2)). */
    do
        place = (int)syscall(SYS_openat2, tree, path, &how, sizeof(how));
    while (place < 0 && (errno == EAGAIN || errno == EINTR) && ++tries < 1000);
    if (place < 0)
        return errno;
    if (syscall(SYS_move_mount, submount, "", place, "",
                MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0)
        error = errno;
    close(place);
    return error;
}

static int wait_for_maps(void *argument)
{
    const int *pipe_fds = argument;
    char byte;

    /* Raw calls: the parent runs beside us, and the C library's own would note in what it keeps of
       the thread, which we share, that it may be cancelled.  Signals are blocked: no EINTR. */
    syscall(SYS_close, pipe_fds[1]); /* our copy of the table: a caller that dies ends us */
    /* A byte comes: for the pipe's end we could wait long, a fork of another thread may hold it. */
    (void)!syscall(SYS_read, pipe_fds[0], &byte, (size_t)1);
    return 0;
}

/* A user namespace that nobody is in, for idmapped mounts.  Returns a descriptor or -errno. */
int pc_make_user_namespace(const char *uid_map, const char *gid_map)
{
    char name[64], *stack = new_stack();
    int pipe_fds[2], directory = -1, made = -1, error = 0;

    if (!stack)
        return -ENOMEM;
    if (pipe2(pipe_fds, O_CLOEXEC) != 0) {
        error = errno;
        munmap(stack, STACK);
        return -error;
    }
    pid_t pid = start_helper(wait_for_maps, pipe_fds, CLONE_NEWUSER, stack);
    if (pid < 0)
        error = -pid;
    else {
        snprintf(name, sizeof(name), "/proc/%d", (int)pid);
        directory = open(name, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (directory < 0)
            error = errno;
        if (!error)
            error = pc_write_at(directory, "gid_map", gid_map);
        if (!error)
            error = pc_write_at(directory, "uid_map", uid_map);
        if (!error) {
            made = openat(directory, "ns/user", O_RDONLY | O_CLOEXEC);
            if (made < 0)
                error = errno;
        }
        if (directory >= 0)
            close(directory);
    }
    if (pid > 0) {
        (void)!write(pipe_fds[1], "", 1); /* we hold the other end: it cannot fail */
        reap_helper(pid);
    }
    close(pipe_fds[1]);
    close(pipe_fds[0]);
    munmap(stack, STACK);
    return error ? -error : made;
}

/* ---- large results ---- */

/* Copies into memory that nothing has touched yet, in huge pages where the kernel has them: most of
   the cost of a large copy are the faults of its target (Documentation/admin-guide/mm/transhuge). */
void pc_fill_fresh(void *target, const void *source, size_t size)
{
    const uintptr_t page = 4096, start = ((uintptr_t)target + page - 1) & ~(page - 1);
    const uintptr_t end = ((uintptr_t)target + size) & ~(page - 1);

    if (end > start)
        (void)madvise((void *)start, end - start, MADV_HUGEPAGE); /* only advice */
    memcpy(target, source, size);
}

/* ---- probes ---- */

static int do_nothing(void *argument)
{
    (void)argument;
    return 0;
}

/* 0 where this process may make user and mount namespaces, else the errno. */
int pc_probe_user_namespace(void)
{
    return pc_run_aside(do_nothing, NULL, CLONE_NEWUSER | CLONE_NEWNS);
}

/* Effective capabilities of this thread, a bit each. */
uint64_t pc_effective_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    struct __user_cap_data_struct data[2] = {{0}, {0}};
    if (syscall(SYS_capget, &header, data) != 0)
        return 0;
    return (uint64_t)data[1].effective << 32 | data[0].effective;
}

/* What a forkserver took over from this thread when it started and its children cannot change: ids,
   groups, capabilities, limits, nice value, namespaces, root, cgroup, whether it is filtered.  Not
   what only a file of /proc tells, as oom_score_adj: opening one costs as much as all of this.
   Returns the length written, or -errno. */
int pc_fingerprint(char *buffer, size_t size)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    struct {
        uid_t uids[3];
        gid_t gids[3];
        struct __user_cap_data_struct capabilities[2];
        int no_new_privileges, securebits, filtered, nice;
        dev_t root_device;
        ino_t root;
        struct rlimit limits[RLIM_NLIMITS];
        uint64_t namespaces[PC_NAMESPACES];
    } state;
    size_t used = sizeof(state);
    int directory, fd, count;

    if (size < sizeof(state))
        return -ENOBUFS;
    memset(&state, 0, sizeof(state));
    syscall(SYS_getresuid, &state.uids[0], &state.uids[1], &state.uids[2]);
    syscall(SYS_getresgid, &state.gids[0], &state.gids[1], &state.gids[2]);
    syscall(SYS_capget, &header, state.capabilities);
    state.no_new_privileges = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
    state.securebits = prctl(PR_GET_SECUREBITS, 0, 0, 0, 0);
    for (int i = 0; i < (int)RLIM_NLIMITS; i++)
        getrlimit(i, &state.limits[i]);
    state.filtered = prctl(PR_GET_SECCOMP, 0, 0, 0, 0);
    /* Raw, as glibc's getpriority() sets errno; of a thread, as both are kept for each. */
    state.nice = (int)syscall(SYS_getpriority, PRIO_PROCESS, 0);
    struct stat root;
    if (stat("/", &root) == 0) { /* it moves with chroot(2) */
        state.root_device = root.st_dev;
        state.root = root.st_ino;
    }
    directory = open("/proc/thread-self", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return -errno;
    int error = pc_namespace_numbers(directory, state.namespaces);
    if (error) {
        close(directory);
        return -error;
    }
    memcpy(buffer, &state, sizeof(state));
    count = getgroups((int)((size - used) / sizeof(gid_t)), (gid_t *)(void *)(buffer + used));
    if (count > 0)
        used += (size_t)count * sizeof(gid_t);
    fd = openat(directory, "cgroup", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t length;
        while (used < size && (length = read(fd, buffer + used, size - used)) > 0)
            used += (size_t)length;
        close(fd);
    }
    close(directory);
    return (int)used;
}

/* Forks this process for a supervisor of one program, in which nothing of Python runs: without what
   the interpreter does for a fork, whose pages the two processes would have to part.  The arguments
   are those of pc_supervise_one().  Returns its pid, or -errno. */
int pc_fork_supervisor(const struct pc_order *order, const int *fds, const struct pc_watch *watch,
                       int watched)
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const pid_t pid = fork();
    if (pid == 0) {
        setsid(); /* the terminal's signals are for the caller, who relays them */
        (void)pc_supervise_one(order, fds, watch, watched, false);
        _exit(125); /* a program's process does not return */
    }
    const int error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return pid < 0 ? -error : (int)pid;
}
