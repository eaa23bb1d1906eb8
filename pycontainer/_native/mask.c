/* What is hidden or made read-only when everything is mounted, before the lock seals it.

   Each place is opened once, below the container's root (resolve.c), and the mount is laid over the
   very descriptor that was opened: a path is never resolved a second time. */
#include "setup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

/* What masks: a mount of the host's null device, and an empty tmpfs.  They are attached at the first
   place that each masks and cloned from there for the next ones, since a mount that is attached
   nowhere cannot be cloned (before Linux 6.15). */
static struct mask {
    int mount;
    bool attached;
} null = {.mount = -1}, empty = {.mount = -1};

/* Another container is begun: in one inside a container, the state is still the outer one's. */
void pc_forget_masks(void)
{
    null = empty = (struct mask){.mount = -1};
}

/* Takes the null device while names are the host's.  The number says that it is the device and no
   file that stands in its place (CVE-2025-31133). */
static int hold_null(const char *path, uint64_t number)
{
    struct mount_attr attributes = pc_mount_attributes(PC_MOUNT_READ_ONLY | PC_MOUNT_NO_SUID |
                                                       PC_MOUNT_NO_EXEC);
    struct stat status;
    int tree = pc_open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    int error = 0;

    if (tree < 0)
        return errno;
    if (fstat(tree, &status) != 0)
        error = errno;
    else if (!S_ISCHR(status.st_mode) || status.st_rdev != number)
        error = ENODEV;
    else if (pc_mount_setattr(tree, 0, &attributes) != 0)
        error = errno;
    if (error)
        close(tree);
    else
        null = (struct mask){.mount = tree};
    return error;
}

/* Both are made before the populate hook: a filter of host root's (pc_refuse_set_id()) may refuse
   to make a file system from there on. */
int pc_hold_masks(const char *path, uint64_t number)
{
    const uint64_t closed = PC_MOUNT_READ_ONLY | PC_MOUNT_NO_SUID | PC_MOUNT_NO_DEV |
                            PC_MOUNT_NO_EXEC;
    int error = hold_null(path, number);
    return error ? error
                 : pc_make_filesystem("tmpfs", "size=4k\nmode=555", closed, &empty.mount);
}

/* Without openat2(2), which that filter refuses: no link is followed at all. */
static int walk(int directory, const char *path)
{
    char name[NAME_MAX + 1];
    struct stat status;
    int fd = openat(directory, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);

    while (fd >= 0 && *(path += strspn(path, "/"))) {
        size_t length = strcspn(path, "/");
        int error = length < sizeof(name) ? 0 : ENAMETOOLONG, next = -1;
        if (!error) {
            memcpy(name, path, length);
            name[length] = 0;
            next = openat(fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
            if (next < 0 || fstat(next, &status) != 0)
                error = errno;
            else if (S_ISLNK(status.st_mode))
                error = ELOOP;
        }
        close(fd);
        if (error && next >= 0)
            close(next);
        fd = error ? -1 : next;
        errno = error;
        path += length;
    }
    return fd;
}

static int open_below(int directory, const char *path)
{
    int fd = pc_open_place_below(directory, path);
    return fd < 0 && errno == ENOSYS ? walk(directory, path) : fd;
}

/* Opens a place; ENOENT also for one below a file, which is not there either. */
static int open_place(const char *path, int *place, int *at)
{
    const char *rest;
    int base, error = pc_base_of(path, open_below, &base, &rest);
    if (error)
        return error;
    *at = PC_AT_TARGET;
    *place = open_below(base, rest);
    if (*place < 0)
        return errno == ENOTDIR ? ENOENT : errno;
    *at = PC_AT_NOTHING; /* it is there: what fails from here on is not passed over */
    return 0;
}

static int attach(int tree, int place)
{
    return pc_move_mount(tree, PC_EMPTY, place, PC_EMPTY,
                         MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0
               ? errno
               : 0;
}

/* Binds a place over itself, read-only, with the mounts below it. */
int pc_make_read_only(const char *path, int *at)
{
    struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
    int place;
    int error = open_place(path, &place, at);
    if (error)
        return error;
    int tree = pc_open_tree(place, PC_EMPTY, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH |
                                                 AT_RECURSIVE);
    if (tree < 0 || pc_mount_setattr(tree, AT_RECURSIVE, &read_only) != 0)
        error = errno;
    else
        error = attach(tree, place);
    if (tree >= 0)
        close(tree);
    close(place);
    pc_forget_below(path);
    return error;
}

static int lay(struct mask *mask, int place)
{
    if (!mask->attached) {
        int error = attach(mask->mount, place);
        mask->attached = error == 0;
        return error;
    }
    int tree = pc_open_tree(mask->mount, PC_EMPTY,
                            OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    if (tree < 0)
        return errno;
    int error = attach(tree, place);
    close(tree);
    return error;
}

int pc_mask(const char *path, int *at)
{
    struct stat status;
    int place;
    int error = open_place(path, &place, at);
    if (error)
        return error;
    if (fstat(place, &status) != 0)
        error = errno;
    else if (!S_ISDIR(status.st_mode))
        error = lay(&null, place);
    else
        error = lay(&empty, place);
    close(place);
    pc_forget_below(path);
    return error;
}
