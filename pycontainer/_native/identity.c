/* Who the container's processes are: id maps, the lock, capabilities, the keyring. */
#include "pycontainer.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int pc_proc = -1;

/* Writes a whole small file below a directory; the kernel takes an id map in one write only. */
int pc_write_at(int directory, const char *name, const char *text)
{
    size_t length = strlen(text);
    int fd = openat(directory, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno;
    ssize_t written = write(fd, text, length);
    int error = written == (ssize_t)length ? 0 : written < 0 ? errno : EIO;
    close(fd);
    return error;
}

/* A process maps itself.  setgroups is denied first: without that an unprivileged gid map is
   refused, and a group that forbids access could be dropped (CVE-2014-8989).  Kernels without
   the file (< 3.19) are older than what this library supports. */
int pc_map_ids(const char *uid_map, const char *gid_map)
{
    int error = pc_write_at(pc_proc, "self/setgroups", "deny");
    if (error)
        return error;
    error = pc_write_at(pc_proc, "self/gid_map", gid_map);
    if (error)
        return error;
    return pc_write_at(pc_proc, "self/uid_map", uid_map);
}

/* Whether setgroups(2) is switched off in this user namespace (user_namespaces(7)). */
static bool groups_are_fixed(void)
{
    char word[8] = "";
    int fd = pc_proc < 0 ? open("/proc/self/setgroups", O_RDONLY | O_CLOEXEC)
                         : openat(pc_proc, "self/setgroups", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t length = read(fd, word, sizeof(word) - 1);
    close(fd);
    return length >= 4 && strncmp(word, "deny", 4) == 0;
}

/* Takes ids and, if *kept*, keeps the capabilities.  Whoever leaves id 0 of a user namespace loses them all, or
   with this flag the effective ones alone (capabilities(7), "Effect of user ID changes"). */
int pc_take_ids(uint32_t uid, uint32_t gid, bool kept)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    struct __user_cap_data_struct data[2];

    if (kept && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0)
        return errno;
    /* Raw: glibc's wrappers signal every thread it knows of, and there is one. */
    if (syscall(SYS_setresgid, gid, gid, gid) != 0 || syscall(SYS_setresuid, uid, uid, uid) != 0)
        return errno;
    if (!kept)
        return 0;
    /* Not for what runs later: a function that gives up its id 0 means the capabilities too. */
    if (prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) != 0)
        return errno;
    if (uid == 0)
        return 0;
    if (syscall(SYS_capget, &header, data) != 0)
        return errno;
    for (int i = 0; i < 2; i++)
        data[i].effective = data[i].permitted;
    return syscall(SYS_capset, &header, data) != 0 ? errno : 0;
}

/* Takes the ids, then becomes dumpable again: a change of ids makes a process non-dumpable
   (prctl(2), PR_SET_DUMPABLE), and then /proc/self belongs to nobody we are.  The capabilities are
   kept where they are over a user namespace of our own, which is still to be set up, and are not
   where they are over the host. */
int pc_become(uint32_t uid, uint32_t gid, bool own_namespace)
{
    /* EPERM where setgroups is denied: an ordinary user's groups cannot be dropped. */
    if (syscall(SYS_setgroups, 0, NULL) != 0) {
        int error = errno;
        if (error != EPERM || !groups_are_fixed())
            return error;
    }
    int refused = pc_take_ids(uid, gid, own_namespace);
    if (refused)
        return refused;
    return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0 ? errno : 0;
}

/* A helper that maps ranges of ids: enters a user namespace and has the caller map it, since only
   the caller can run newuidmap for it.  Then it is root there. */
int pc_enter_user_namespace(int control)
{
    char word[16];

    if (unshare(CLONE_NEWUSER) != 0)
        return errno;
    if (send(control, "map", 3, MSG_NOSIGNAL) != 3)
        return errno;
    if (recv(control, word, sizeof(word), 0) <= 0)
        return EPIPE;
    return pc_become(0, 0, true);
}

/* ---- the lock ---- */

struct mapper {
    int ready, told; /* the pipe's ends: to know that it is unshared, and the parent's own */
    const char *uid_map, *gid_map;
    bool of_process_1;
    char directory[32];
};

static int mapper_main(void *argument)
{
    struct mapper *mapper = argument;
    char byte;
    int directory, error;

    close(mapper->told); /* of our own table: when the parent dies the pipe ends */
    if (read(mapper->ready, &byte, 1) != 1)
        return EPIPE;
    directory = openat(pc_proc, mapper->directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return errno;
    error = pc_write_at(directory, "gid_map", mapper->gid_map);
    if (!error)
        error = pc_write_at(directory, "uid_map", mapper->uid_map);
    /* This process had the number 2, and the container's first child is to have it (proc(5); the
       file is absent without CONFIG_CHECKPOINT_RESTORE). */
    if (!error && mapper->of_process_1)
        pc_write_at(pc_proc, "sys/kernel/ns_last_pid", "1");
    return error;
}

/* More than one id can only be mapped by a process that holds CAP_SETUID in the parent namespace
   (user_namespaces(7)), and after unshare() this one no longer does.  So a second process that
   shares our memory (cheap: no page tables are copied) stays behind and writes the maps. */
static int lock_with_mapper(const char *uid_map, const char *gid_map)
{
    static char stack[16384] __attribute__((aligned(16)));
    struct mapper mapper = {
        .uid_map = uid_map, .gid_map = gid_map, .of_process_1 = getpid() == 1};
    int pipe_fds[2], status, error = 0;
    ssize_t length = readlinkat(pc_proc, "self", mapper.directory, sizeof(mapper.directory) - 1);
    if (length < 0)
        return errno;
    if (pipe2(pipe_fds, O_CLOEXEC) != 0)
        return errno;
    mapper.ready = pipe_fds[0];
    mapper.told = pipe_fds[1];
    /* The two share errno, with all of the memory.  The child touches it only while this process
       waits for its end, and with every signal blocked no call of ours is interrupted meanwhile,
       nor does a handler run on the child's small stack. */
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    /* Without CLONE_FILES, so that the child's end of the pipe is its own. */
    pid_t pid = clone(mapper_main, stack + sizeof(stack), CLONE_VM | SIGCHLD, &mapper);
    if (pid < 0) {
        error = errno;
        close(pipe_fds[0]);
        close(pipe_fds[1]);
        sigprocmask(SIG_SETMASK, &before, NULL);
        return error;
    }
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
        error = errno;
    else if (write(pipe_fds[1], "", 1) != 1)
        error = errno;
    close(pipe_fds[0]);
    if (error)
        kill(pid, SIGKILL);
    close(pipe_fds[1]);
    if (waitpid(pid, &status, 0) < 0)
        error = error ? error : errno;
    else if (!error)
        error = WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
    sigprocmask(SIG_SETMASK, &before, NULL);
    return error;
}

/* A second user and mount namespace: the mounts made so far become locked in the new one, and
   umount(2) of a mask is EINVAL (mount_namespaces(7), "Restrictions on mount namespaces"). */
int pc_lock(const char *uid_map, const char *gid_map, bool mapper)
{
    if (mapper)
        return lock_with_mapper(uid_map, gid_map);
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
        return errno;
    int error = pc_write_at(pc_proc, "self/gid_map", gid_map);
    if (error)
        return error;
    return pc_write_at(pc_proc, "self/uid_map", uid_map);
}

/* The sysctl counts in the user namespace of whoever writes it (user_namespaces(7)), here the
   container's innermost one.  It is a second wall behind a filter: a host whose /proc/sys is
   read-only, since it is a container itself, does without. */
int pc_no_user_namespaces(void)
{
    int error = pc_write_at(pc_proc, "sys/user/max_user_namespaces", "0");
    return error == EROFS || error == EACCES || error == EPERM || error == ENOENT ? 0 : error;
}

/* ---- capabilities ---- */

enum { INHERITABLE, PERMITTED, EFFECTIVE, BOUNDING, AMBIENT };

static int set_three(uint64_t inheritable, uint64_t permitted, uint64_t effective)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    struct __user_cap_data_struct data[2] = {
        {(uint32_t)effective, (uint32_t)permitted, (uint32_t)inheritable},
        {(uint32_t)(effective >> 32), (uint32_t)(permitted >> 32), (uint32_t)(inheritable >> 32)},
    };
    return syscall(SYS_capset, &header, data) != 0 ? errno : 0;
}

/* Sets all five sets, as far as the process holds what they ask for (capabilities(7)). */
int pc_set_capabilities(const uint64_t sets[5])
{
    int error;

    for (unsigned long capability = 0;; capability++) {
        int held = prctl(PR_CAPBSET_READ, capability, 0, 0, 0);
        if (held < 0)
            break; /* EINVAL: past the kernel's last capability */
        if (held && !(sets[BOUNDING] >> capability & 1) &&
            prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0)
            return errno;
    }
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0)
        return errno;
    error = set_three(sets[INHERITABLE], sets[PERMITTED], sets[EFFECTIVE]);
    if (error)
        return error;
    for (unsigned long capability = 0; capability < 64; capability++)
        if ((sets[AMBIENT] >> capability & 1) &&
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) != 0)
            return errno;
    return 0;
}

/* Keeps only these capabilities, and where they are ambient across an exec too, as Guix does.  What the
   process has given up already (CAP_SETFCAP, see pc_refuse_set_id) stays given up. */
int pc_limit_capabilities(uint64_t kept, bool ambient)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    struct __user_cap_data_struct data[2];

    if (syscall(SYS_capget, &header, data) != 0)
        return errno;
    kept &= (uint64_t)data[1].permitted << 32 | data[0].permitted;
    const uint64_t sets[5] = {kept, kept, kept, kept, ambient ? kept : 0};
    return pc_set_capabilities(sets);
}

static bool keyring_is_helpers; /* and so holds nothing of a caller's */

static int join_new_keyring(void)
{
    /* ENOSYS: a kernel without keys has none to leak.  EPERM: a filter denies all of keyctl. */
    const bool failed = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0;
    return failed && errno != ENOSYS ? errno : 0;
}

/* The helper's own: the caller's session keyring would go along otherwise. */
int pc_leave_keyring(void)
{
    int error = join_new_keyring();
    keyring_is_helpers = !error;
    return error;
}

/* A container's.  A user's quota of keys is small (200, keyrings(7)) and dead keyrings are collected
   later, so a burst of containers may meet EDQUOT: then the helper's stays, where there is one. */
int pc_new_keyring(void)
{
    int error = join_new_keyring();
    if (error == EDQUOT && keyring_is_helpers)
        error = 0;
    keyring_is_helpers = false; /* from here on it is the container's own to fill */
    return error;
}
