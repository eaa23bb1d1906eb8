/* Places in the container that is being set up.

   Every path is resolved with openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS) below the new root,
   so that a symbolic link cannot lead onto the host; what was resolved is used by descriptor only.
   Nothing is created except on file systems that this process has mounted. */
#include "setup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <linux/stat.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MOST_OWN_MOUNTS = 4096, MOST_HELD = 16, LONGEST_HELD = 64 };

int pc_root = -1;

static struct {
    int fd;              /* the directory opened last, or -1 */
    char path[PATH_MAX]; /* as written in the plan */
    bool is_own;         /* it lies on a file system that we mounted */
} parent = {.fd = -1};

static struct {
    uint64_t mounts[MOST_OWN_MOUNTS]; /* ids of the tmpfs that we mounted */
    int count;
} own;

/* Mounts of ours, so that what lies in them is found there, and not by a name in a root directory
   that another container may be changing (CVE-2019-19921). */
static struct {
    struct held {
        int fd;
        uint64_t id;
        char path[LONGEST_HELD];
    } mounts[MOST_HELD];
    int count;
} held;

/* Another container is begun: in one inside a container, the state is still the outer one's. */
void pc_forget_places(void)
{
    pc_root = parent.fd = -1;
    parent.is_own = false;
    own.count = held.count = 0;
}

/* Moves the mount over "/": names still resolve below the old root until the pivot, because a
   process keeps the root directory it has. */
int pc_take_root(int mount)
{
    if (pc_move_mount(mount, PC_EMPTY, AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) != 0)
        return errno;
    pc_root = mount;
    return 0;
}

static int open_below(int directory, const char *path, uint64_t flags, uint64_t mode)
{
    struct open_how how = {
        .flags = flags | O_CLOEXEC,
        .mode = mode,
        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
    };
    int fd, tries = 0;
    /* EAGAIN: a rename somewhere on the host raced with ".." (openat2(2)). */
    do
        fd = (int)syscall(SYS_openat2, directory, path, &how, sizeof(how));
    while (fd < 0 && (errno == EAGAIN || errno == EINTR) && ++tries < 1000);
    return fd;
}

int pc_open_inside(const char *path, uint64_t flags, uint64_t mode)
{
    return open_below(pc_root, path, flags, mode);
}

static int mount_id(int fd, uint64_t *id)
{
    struct statx status;
    if (syscall(SYS_statx, fd, PC_EMPTY, AT_EMPTY_PATH, STATX_MNT_ID, &status) != 0)
        return errno;
    *id = status.stx_mnt_id;
    return 0;
}

void pc_forget_parent(void)
{
    if (parent.fd >= 0)
        close(parent.fd);
    parent.fd = -1;
    parent.is_own = false;
}

/* The directory above path, kept open from step to step because neighbours come in runs. */
int pc_open_parent(const char *path, const char **name, int *directory)
{
    const char *slash = strrchr(path, '/');
    size_t length;

    if (!slash || !slash[1])
        return EINVAL;
    *name = slash + 1;
    length = slash == path ? 1 : (size_t)(slash - path);
    if (length >= sizeof(parent.path))
        return ENAMETOOLONG;
    if (parent.fd < 0 || strncmp(parent.path, path, length) != 0 || parent.path[length]) {
        pc_forget_parent();
        memcpy(parent.path, path, length);
        parent.path[length] = 0;
        parent.fd = pc_open_inside(parent.path, O_PATH | O_DIRECTORY, 0);
        if (parent.fd < 0)
            return errno;
    }
    *directory = parent.fd;
    return 0;
}

/* The parent of something that is to be created: it must lie on a file system of ours. */
int pc_open_own_parent(const char *path, const char **name, int *directory)
{
    uint64_t id;
    int error = pc_open_parent(path, name, directory);
    if (error || parent.is_own)
        return error;
    error = mount_id(*directory, &id);
    if (error)
        return error;
    for (int i = 0; i < own.count; i++)
        if (own.mounts[i] == id) {
            parent.is_own = true;
            return 0;
        }
    return EXDEV; /* it would be made on the host: a link or a bind leads away from our root */
}

int pc_remember_own_mount(int fd)
{
    if (own.count == MOST_OWN_MOUNTS)
        return EMFILE;
    int error = mount_id(fd, &own.mounts[own.count]);
    if (!error)
        own.count++;
    return error;
}

/* Whether path is above or is below it. */
static bool is_below(const char *path, const char *above)
{
    size_t length = strlen(above);
    return strncmp(path, above, length) == 0 && (!path[length] || path[length] == '/');
}

/* Remembers a directory that was mounted at path.  With too many of them the rest are found by
   their names, as what lies in none is. */
void pc_hold_mount(int mount, const char *path)
{
    struct held *one = &held.mounts[held.count];
    size_t length = strlen(path);
    if (held.count == MOST_HELD || length >= sizeof(one->path) || mount_id(mount, &one->id) != 0)
        return;
    one->fd = fcntl(mount, F_DUPFD_CLOEXEC, 0);
    if (one->fd < 0)
        return;
    memcpy(one->path, path, length + 1);
    held.count++;
}

/* The mount of ours that path lies in, or the root; *rest: path from there.  EBUSY: its name leads
   to something else by now. */
int pc_base_of(const char *path, int (*by_name)(int, const char *), int *base, const char **rest)
{
    const struct held *found = NULL;
    uint64_t id = 0;

    *base = pc_root;
    *rest = path;
    for (int i = 0; i < held.count; i++)
        if (is_below(path, held.mounts[i].path) && path[strlen(held.mounts[i].path)] &&
            (!found || strlen(held.mounts[i].path) > strlen(found->path)))
            found = &held.mounts[i];
    if (!found)
        return 0;
    int fd = by_name(pc_root, found->path);
    int error = fd < 0 ? errno : mount_id(fd, &id);
    if (fd >= 0)
        close(fd);
    if (error || id != found->id)
        return EBUSY;
    *base = found->fd;
    *rest = path + strlen(found->path);
    return 0;
}

/* Opens a place below a directory, which is its root. */
int pc_open_place_below(int directory, const char *path)
{
    return open_below(directory, path, O_PATH, 0);
}

/* Something was mounted at path: a parent that lies below it is another directory now. */
void pc_forget_below(const char *path)
{
    for (int i = held.count - 1; i >= 0; i--)
        if (is_below(held.mounts[i].path, path)) {
            close(held.mounts[i].fd);
            held.mounts[i] = held.mounts[--held.count];
        }
    if (parent.fd >= 0 && strncmp(parent.path, path, strlen(path)) == 0)
        pc_forget_parent();
}
