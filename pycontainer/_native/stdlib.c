/* The standard library of the host's Python, for functions that import while they run.

   A container with an empty root holds one descriptor of the host: of the directory with the
   standard library, in a mount of its own.  That mount belongs to no mount namespace, so nobody can
   change it any more: a detached clone as open_tree(2) returns it could be made writable, moved into
   a container and mounted upon by every container that is root in its own user namespace, and
   so reach the others (do_mount_setattr() and do_move_mount() in fs/namespace.c). */
#include "pycontainer.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Whether PC_FD_STDLIB is this descriptor here, and which directory it is. */
static bool held;
static struct stat directory;

struct library {
    const char *path;
    const char *hidden; /* directories below, relative, each ending in NUL; an empty one is last */
    int fd;
};

static struct mount_attr protection(void)
{
    /* No link is followed: an absolute one would lead into the container. */
    return (struct mount_attr){
        .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSYMFOLLOW,
        .propagation = MS_PRIVATE,
    };
}

static int clone_tree(const char *path, unsigned flags)
{
    return (int)syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | flags);
}

/* Covers what is not the standard library, such as site-packages, with empty directories, in this
   process's mount namespace: only since Linux 6.15 can a detached mount be mounted upon. */
static int hide(const struct library *library)
{
    char place[PATH_MAX];
    int tree, error = 0;

    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        return errno;
    if ((tree = clone_tree(library->path, 0)) < 0)
        return errno;
    if (syscall(SYS_move_mount, tree, "", AT_FDCWD, library->path, MOVE_MOUNT_F_EMPTY_PATH) != 0)
        error = errno;
    close(tree);
    for (const char *name = library->hidden; !error && *name; name += strlen(name) + 1) {
        if (snprintf(place, sizeof(place), "%s/%s", library->path, name) >= (int)sizeof(place))
            return ENAMETOOLONG;
        if (mount("none", place, "tmpfs", MS_RDONLY, "mode=0,size=4k,nr_inodes=1") != 0 &&
            errno != ENOENT)
            error = errno;
    }
    return error;
}

static int make_stdlib(struct library *library)
{
    struct mount_attr attributes = protection();
    int tree, error = 0;

    if (*library->hidden && (error = hide(library)) != 0)
        return error;
    /* Of what lies below only the covers, which hide() has mounted. */
    const unsigned recursive = *library->hidden ? AT_RECURSIVE : 0;
    if ((tree = clone_tree(library->path, recursive)) < 0)
        return errno;
    if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | recursive, &attributes,
                sizeof(attributes)) != 0)
        error = errno;
    /* A second descriptor: the mount lives as long as there is one, but with the first one's end
       it leaves its namespace, and the covers with it. */
    if (!error && (library->fd = openat(tree, ".", O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0)
        error = errno;
    close(tree);
    if (!error && (syscall(SYS_mount_setattr, library->fd, "", AT_EMPTY_PATH, &attributes,
                           sizeof(attributes)) == 0 || errno != EINVAL)) {
        close(library->fd);
        error = EBUSY; /* somebody else holds the first one */
    }
    return error;
}

static int make_stdlib_main(void *argument)
{
    return make_stdlib(argument);
}

/* Opens the library on PC_FD_STDLIB for this process and its children.  Returns 0 or an errno. */
int pc_hold_stdlib(const char *path, const char *hidden)
{
    struct library library = {path, hidden, -1};
    /* Root needs no user namespace, and would lack the right to search other users' directories
       in one; an ordinary user is not given a mount namespace without. */
    int error = pc_run_aside(make_stdlib_main, &library, CLONE_FILES | CLONE_NEWNS);

    if (error == EPERM)
        error = pc_run_aside(make_stdlib_main, &library, CLONE_FILES | CLONE_NEWNS | CLONE_NEWUSER);
    if (error)
        return error;
    if (library.fd != PC_FD_STDLIB) {
        if (dup3(library.fd, PC_FD_STDLIB, O_CLOEXEC) < 0)
            error = errno;
        close(library.fd);
    }
    held = !error && fstat(PC_FD_STDLIB, &directory) == 0;
    return error;
}

/* Whether it is still there: a function may have closed it, opened something else, and now starts
   a container from a fork of its process. */
bool pc_holds_stdlib(void)
{
    struct stat now;
    held = held && fstat(PC_FD_STDLIB, &now) == 0 && now.st_dev == directory.st_dev &&
           now.st_ino == directory.st_ino;
    return held;
}

/* In a process that runs no function, or that has powers over the whole file system with which
   one directory of it is a way to all others (open_by_handle_at(2)). */
void pc_drop_stdlib(void)
{
    if (held)
        close(PC_FD_STDLIB);
    held = false;
}

/* Closes every descriptor from a number on but the library, and what is passed on to a program.
   Returns 0 or an errno. */
int pc_close_from(unsigned first)
{
    for (;;) {
        unsigned kept = pc_next_passed(first);
        if (held && first <= PC_FD_STDLIB && kept > PC_FD_STDLIB)
            kept = PC_FD_STDLIB;
        if (first < kept && syscall(SYS_close_range, first, kept == ~0U ? kept : kept - 1, 0) != 0)
            return errno;
        if (kept == ~0U)
            return 0;
        first = kept + 1;
    }
}
