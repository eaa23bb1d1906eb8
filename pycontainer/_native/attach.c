/* Mounts as descriptors: taken, given their flags, attached at a place of the container. */
#include "setup.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int pc_open_tree(int directory, const char *path, unsigned flags)
{
    return (int)syscall(SYS_open_tree, directory, path, flags);
}

int pc_move_mount(int from, const char *from_path, int to, const char *to_path, unsigned flags)
{
    return (int)syscall(SYS_move_mount, from, from_path, to, to_path, flags);
}

int pc_mount_setattr(int fd, unsigned flags, struct mount_attr *attributes)
{
    return (int)syscall(SYS_mount_setattr, fd, PC_EMPTY, flags | AT_EMPTY_PATH, attributes,
                        sizeof(*attributes));
}

struct mount_attr pc_mount_attributes(uint64_t flags)
{
    uint64_t clear = 0;
    uint64_t set = pc_kernel_mount_attributes(flags, &clear);
    return (struct mount_attr){.attr_set = set, .attr_clr = clear};
}

/* Makes a directory or an empty file to mount on.  *fresh: it was not there before, so its name
   below the parent is known to be no link. */
int pc_create_target(const char *path, bool directory, bool *fresh)
{
    const char *name;
    int parent, fd;
    int error = pc_open_own_parent(path, &name, &parent);
    if (error)
        return error;
    *fresh = true;
    if (directory) {
        if (mkdirat(parent, name, 0755) == 0)
            return 0;
        if (errno != EEXIST)
            return errno;
    } else {
        fd = openat(parent, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0444);
        if (fd >= 0) {
            close(fd);
            return 0;
        }
        if (errno != EEXIST)
            return errno;
    }
    *fresh = false;
    return 0;
}

int pc_attach(int tree, const char *target, bool fresh)
{
    int error = 0;

    if (fresh) {
        /* Without MOVE_MOUNT_T_SYMLINKS a single name below a descriptor is never followed. */
        const char *name;
        int parent;
        error = pc_open_parent(target, &name, &parent);
        if (!error && pc_move_mount(tree, PC_EMPTY, parent, name, MOVE_MOUNT_F_EMPTY_PATH) != 0)
            error = errno;
    } else {
        int fd = pc_open_inside(target, O_PATH, 0);
        if (fd < 0)
            return errno;
        if (pc_move_mount(tree, PC_EMPTY, fd, PC_EMPTY,
                          MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0) {
            struct stat mount, place;
            error = errno;
            /* A directory and something that is none: mount(2) says ENOTDIR, move_mount(2) EINVAL,
               which may mean many a thing. */
            if (error == EINVAL && fstat(tree, &mount) == 0 && fstat(fd, &place) == 0 &&
                S_ISDIR(mount.st_mode) != S_ISDIR(place.st_mode))
                error = ENOTDIR;
        }
        close(fd);
    }
    pc_forget_below(target); /* another directory now */
    return error;
}
