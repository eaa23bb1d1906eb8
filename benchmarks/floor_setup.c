/* The set-ups that are measured, in the container's first process.

   set_up_default performs the steps of pycontainer's default container in their order, by the
   leanest calls that keep their meaning: a directory is resolved once with openat2 (IN_ROOT), and
   fresh names below it need no second look-up (move_mount(2) follows no link there). */
#include "floor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <linux/openat2.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const devices[] = {"null", "zero", "full", "random", "urandom", "tty"};
static const char *const links[][2] = {
    {"/proc/self/fd", "fd"},        {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"},
    {"/proc/self/fd/2", "stderr"},  {"pts/ptmx", "ptmx"},
};
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- shared ---- */

void write_file_at(int directory, const char *path, const char *text, int flags, mode_t mode)
{
    int fd = must(openat(directory, path, O_WRONLY | O_CLOEXEC | flags, mode), path);
    if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        refuse(path);
    close(fd);
}

/* setgroups first: the gid map of an ordinary user is refused otherwise (user_namespaces(7)). */
void map_self(void)
{
    char map[64];
    int self = must(open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC), "open /proc/self");

    write_file_at(self, "setgroups", "deny", 0, 0);
    snprintf(map, sizeof(map), "0 %u 1", (unsigned)host_gid);
    write_file_at(self, "gid_map", map, 0, 0);
    snprintf(map, sizeof(map), "0 %u 1", (unsigned)host_uid);
    write_file_at(self, "uid_map", map, 0, 0);
    close(self);
}

/* A change of ids makes the process non-dumpable, and then /proc/self is not its own (prctl(2)). */
void become_root(void)
{
    must(syscall(SYS_setresgid, 0, 0, 0), "setresgid");
    must(syscall(SYS_setresuid, 0, 0, 0), "setresuid");
    must(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), "PR_SET_DUMPABLE");
}

static void loopback_up(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING};
    int fd = must(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");
    must(ioctl(fd, SIOCSIFFLAGS, &request), "SIOCSIFFLAGS lo");
    close(fd);
}

static void pivot(void)
{
    must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
    must(umount2(".", MNT_DETACH), "detach the old root");
    must(chdir("/"), "chdir /");
}

/* ---- bare ---- */

static void mount_fresh(const char *target, const char *type, unsigned long flags, const char *data)
{
    must(mkdir(target, 0755), target);
    must(mount("none", target, type, flags, data), target);
}

void set_up_bare(void)
{
    const unsigned long closed = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    char source[64], target[64];

    must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "private propagation");
    must(mount("none", "/tmp", "tmpfs", 0, "mode=755"), "root tmpfs");
    must(chdir("/tmp"), "chdir to the new root");
    mount_fresh("proc", "proc", closed, NULL);
    mount_fresh("sys", "sysfs", closed | MS_RDONLY, NULL);
    mount_fresh("dev", "tmpfs", MS_NOEXEC | MS_STRICTATIME, "mode=755");
    for (size_t i = 0; i < COUNT(devices); i++) {
        snprintf(source, sizeof(source), "/dev/%s", devices[i]);
        snprintf(target, sizeof(target), "dev/%s", devices[i]);
        must(mknod(target, S_IFREG | 0444, 0), target);
        must(mount(source, target, NULL, MS_BIND, NULL), source);
    }
    mount_fresh("dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,mode=0620");
    for (size_t i = 0; i < COUNT(links); i++) {
        snprintf(target, sizeof(target), "dev/%s", links[i][1]);
        must(symlink(links[i][0], target), target);
    }
    pivot();
    must(chmod("/", 0755), "chmod /");
    loopback_up();
    must(mkdir("/etc", 0755), "/etc");
    write_file_at(AT_FDCWD, "/etc/hosts", "127.0.0.1 localhost\n", O_CREAT | O_EXCL, 0444);
    must(mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), "read-only root");
}

/* ---- default ---- */

struct option {
    const char *key, *value; /* value NULL: a flag */
};

static int make_filesystem(const char *type, const struct option *options, size_t count,
                           unsigned attributes)
{
    int context = must(fsopen(type, FSOPEN_CLOEXEC), "fsopen");
    for (size_t i = 0; i < count; i++)
        must(fsconfig(context, options[i].value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG,
                      options[i].key, options[i].value, 0),
             options[i].key);
    must(fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0), type);
    int made = must(fsmount(context, FSMOUNT_CLOEXEC, attributes), type);
    close(context);
    return made;
}

static int open_inside(int root, const char *path)
{
    struct open_how how = {
        .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
    };
    return must(syscall(SYS_openat2, root, path, &how, sizeof(how)), path);
}

static void attach(int mount, int parent, const char *name)
{
    must(move_mount(mount, "", parent, name, MOVE_MOUNT_F_EMPTY_PATH), name);
    close(mount);
}

static void mount_new(int parent, const char *name, const char *type, const struct option *options,
                      size_t count, unsigned attributes)
{
    int made = make_filesystem(type, options, count, attributes);
    must(mkdirat(parent, name, 0755), name);
    attach(made, parent, name);
}

static int clone_tree(const char *source, bool recursive, uint64_t attributes)
{
    const unsigned depth = recursive ? AT_RECURSIVE : 0;
    struct mount_attr attr = {.attr_set = attributes};
    int tree = must(open_tree(AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | depth), source);
    must(mount_setattr(tree, "", AT_EMPTY_PATH | depth, &attr, sizeof(attr)), source);
    return tree;
}

static void bind_file(int parent, const char *name, const char *source, uint64_t attributes)
{
    int tree = clone_tree(source, false, attributes);
    must(mknodat(parent, name, S_IFREG | 0444, 0), name);
    attach(tree, parent, name);
}

static void set_up_dev(int root)
{
    static const struct option dev[] = {{"size", "1m"}, {"mode", "755"}};
    static const struct option pts[] = {{"newinstance", NULL}, {"ptmxmode", "0666"}, {"mode", "0620"}};
    static const struct option shm[] = {{"mode", "1777"}, {"size", "10%"}};
    char source[64];

    mount_new(root, "dev", "tmpfs", dev, COUNT(dev),
              MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_STRICTATIME);
    int directory = open_inside(root, "/dev");
    for (size_t i = 0; i < COUNT(devices); i++) {
        snprintf(source, sizeof(source), "/dev/%s", devices[i]);
        bind_file(directory, devices[i], source,
                  MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
    }
    mount_new(directory, "pts", "devpts", pts, COUNT(pts), MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
    for (size_t i = 0; i < COUNT(links); i++)
        must(symlinkat(links[i][0], directory, links[i][1]), links[i][1]);
    mount_new(directory, "shm", "tmpfs", shm, COUNT(shm),
              MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    close(directory);
}

static void set_up_etc(int root)
{
    must(mkdirat(root, "etc", 0755), "etc");
    int directory = open_inside(root, "/etc");
    write_file_at(directory, "passwd",
                  "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
                  O_CREAT | O_EXCL, 0644);
    write_file_at(directory, "group", "root:x:0:\nnogroup:x:65534:\n", O_CREAT | O_EXCL, 0644);
    write_file_at(directory, "hosts", "127.0.0.1 localhost\n::1 localhost\n", O_CREAT | O_EXCL, 0444);
    close(directory);
}

static void add_binds(int root, const struct task *task)
{
    const uint64_t attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
    unsigned long flags = MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV;
    struct statvfs status;
    char source[512], name[32];

    if (!task->binds)
        return;
    must(mkdirat(root, "binds", 0755), "binds");
    int directory = open_inside(root, "/binds");
    must(fchdir(directory), "chdir to the targets");
    must(statvfs(task->directory, &status), task->directory);
    if (status.f_flag & ST_NOEXEC)
        flags |= MS_NOEXEC; /* locked: a remount that leaves it out is EPERM */
    for (int i = 0; i < task->binds; i++) {
        snprintf(name, sizeof(name), "%04d", i);
        snprintf(source, sizeof(source), "%s/%s", task->directory, name);
        must(mkdirat(directory, name, 0755), name);
        if (task->legacy) {
            must(mount(source, name, NULL, MS_BIND | MS_REC, NULL), source);
            must(mount(NULL, name, NULL, flags, NULL), "remount read-only");
        } else
            attach(clone_tree(source, true, attributes), directory, name);
    }
    close(directory);
}

/* ---- the lock ---- */

/* More than one id is only mapped by a process with CAP_SETUID in the parent namespace, which the
   one that unshares gives up (user_namespaces(7)): a second one stays behind. */
static int write_lock_maps(void *argument)
{
    char byte;
    if (read(*(int *)argument, &byte, 1) != 1)
        return 1;
    write_file_at(AT_FDCWD, "/proc/1/gid_map", "0 0 65536", 0, 0);
    write_file_at(AT_FDCWD, "/proc/1/uid_map", "0 0 65536", 0, 0);
    return 0;
}

static void lock_mounts(void)
{
    static char stack[16384] __attribute__((aligned(16)));
    int unshared[2], status;
    pid_t mapper = 0;

    if (parent_maps) {
        must(pipe2(unshared, O_CLOEXEC), "pipe2");
        mapper = must(clone(write_lock_maps, stack + sizeof(stack), CLONE_VM | SIGCHLD, unshared),
                      "clone of the mapper");
    }
    must(unshare(CLONE_NEWUSER | CLONE_NEWNS), "unshare for the lock");
    if (!parent_maps) {
        write_file_at(AT_FDCWD, "/proc/self/gid_map", "0 0 1", 0, 0);
        write_file_at(AT_FDCWD, "/proc/self/uid_map", "0 0 1", 0, 0);
        return;
    }
    must(write(unshared[1], "", 1), "write to the mapper");
    must(waitpid(mapper, &status, 0), "wait for the mapper");
    if (status)
        refuse("maps of the lock");
    close(unshared[0]);
    close(unshared[1]);
}

void set_up_default(const struct task *task)
{
    static const struct option rootfs[] = {{"mode", "755"}, {"size", "10%"}};
    static const struct option tmp[] = {{"mode", "1777"}, {"size", "10%"}};
    const unsigned closed = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};

    /* EDQUOT: a user's dead keyrings are collected later than they die (keyrings(7)). */
    if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != EDQUOT)
        refuse("new session keyring");
    must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "private propagation");
    int root = make_filesystem("tmpfs", rootfs, COUNT(rootfs), MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    must(move_mount(root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH), "move the root tmpfs");
    mount_new(root, "proc", "proc", NULL, 0, closed);
    mount_new(root, "sys", "sysfs", NULL, 0, closed | MOUNT_ATTR_RDONLY);
    set_up_dev(root);
    mount_new(root, "tmp", "tmpfs", tmp, COUNT(tmp), MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    set_up_etc(root);
    if (task->program)
        bind_file(root, "true", task->program,
                  MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    add_binds(root, task);
    must(fchdir(root), "chdir to the new root");
    pivot();
    must(sethostname("localhost", strlen("localhost")), "sethostname");
    loopback_up();
    must(mount_setattr(root, "", AT_EMPTY_PATH, &read_only, sizeof(read_only)), "read-only root");
    close(root);
    if (!task->unlocked)
        lock_mounts();
    must(chdir("/"), "chdir /");
    must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS");
    /* Last: every change of credentials clears it. */
    must(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0), "PR_SET_PDEATHSIG");
}
