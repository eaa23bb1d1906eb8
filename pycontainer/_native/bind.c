/* What of the host is seen in the container: binds, a directory as root, the terminal. */
#include "setup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BATCH = 200 };

/* Sources that a privileged caller opened for us. */
static struct {
    int fds[BATCH];
    uint8_t errors[BATCH];
    int count, next;
} trees;

void pc_forget_trees(void)
{
    trees.count = trees.next = 0;
}

static bool is_directory(int fd, int *error)
{
    struct stat status;
    *error = fstat(fd, &status) != 0 ? errno : 0;
    return !*error && S_ISDIR(status.st_mode);
}

/* The next source of a privileged caller: it opened them, idmapped and with their flags set. */
static int next_tree(int *tree)
{
    if (trees.next == trees.count) {
        int fds[BATCH], count = BATCH, used = 0;
        ssize_t length =
            pc_receive(PC_FD_CALL, trees.errors, sizeof(trees.errors), fds, &count, 0);
        if (length <= 0)
            return length < 0 ? (int)-length : EPIPE;
        for (ssize_t i = 0; i < length; i++) {
            bool there = trees.errors[i] == 0;
            if (there && used == count)
                return EBADMSG;
            trees.fds[i] = there ? fds[used++] : -1;
        }
        trees.count = (int)length;
        trees.next = 0;
    }
    *tree = trees.fds[trees.next];
    return trees.errors[trees.next++];
}

int pc_bind(const struct pc_step *step, const char *target, const char *source, int *at)
{
    bool recursive = step->flags & PC_STEP_RECURSIVE, fresh = false, directory;
    struct mount_attr attributes = pc_mount_attributes(step->number[0]);
    int tree = -1, error = 0;

    *at = PC_AT_SOURCE;
    if (step->flags & PC_STEP_TREE)
        error = next_tree(&tree);
    else if (step->flags & PC_STEP_INSIDE) {
        int place = pc_open_inside(source, O_PATH, 0);
        tree = place < 0 ? -1
                         : pc_open_tree(place, PC_EMPTY,
                                        OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
        if (tree < 0)
            error = errno;
        if (place >= 0)
            close(place);
    } else {
        tree = pc_open_tree(AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC |
                                                  (recursive ? AT_RECURSIVE : 0));
        if (tree < 0)
            error = errno;
    }
    if (error)
        return error;
    directory = is_directory(tree, &error);
    if (!error && (step->flags & PC_STEP_DEVICE)) {
        /* A device of the host, not a file that somebody put there. */
        struct stat status;
        if (fstat(tree, &status) != 0)
            error = errno;
        else if (!S_ISCHR(status.st_mode) || (step->number[1] && status.st_rdev != step->number[1]))
            error = ENODEV;
    }
    if (!error && !(step->flags & PC_STEP_TREE) && (attributes.attr_set | attributes.attr_clr) &&
        pc_mount_setattr(tree, recursive ? AT_RECURSIVE : 0, &attributes) != 0)
        error = errno;
    if (!error) {
        *at = PC_AT_TARGET;
        if (step->flags & PC_STEP_CREATE_TARGET)
            error = pc_create_target(target, directory, &fresh);
        if (!error)
            error = pc_attach(tree, target, fresh);
        if (!error && directory)
            pc_hold_mount(tree, target);
    }
    close(tree);
    return error;
}

int pc_root_directory(const struct pc_step *step, const char *source)
{
    struct mount_attr attributes = pc_mount_attributes(step->number[0]);
    struct stat status;
    int tree, error = 0;

    if (step->flags & PC_STEP_TREE)
        error = next_tree(&tree);
    else {
        tree = pc_open_tree(AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
        if (tree < 0)
            return errno;
        if (attributes.attr_set && pc_mount_setattr(tree, AT_RECURSIVE, &attributes) != 0)
            error = errno;
    }
    /* The kernel's own answer to a file that is to be a root is EINVAL. */
    if (!error && fstat(tree, &status) == 0 && !S_ISDIR(status.st_mode))
        error = ENOTDIR;
    return error ? error : pc_take_root(tree);
}

/* The terminal of stdin, by its name: its descriptor belongs to another mount namespace. */
int pc_bind_console(const struct pc_step *step, const char *target, int *at)
{
    char path[PATH_MAX];
    struct stat wanted, found;
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC};
    bool fresh = false;
    int tree, error = 0;

    *at = PC_AT_SOURCE;
    if (!isatty(0))
        return 0;
    ssize_t length = readlinkat(pc_proc, "self/fd/0", path, sizeof(path) - 1);
    if (length < 0)
        return errno;
    path[length] = 0;
    tree = pc_open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (tree < 0)
        return errno == ENOENT ? 0 : errno; /* a terminal of another devpts has no path here */
    if (fstat(0, &wanted) != 0 || fstat(tree, &found) != 0)
        error = errno;
    else if (found.st_dev != wanted.st_dev || found.st_ino != wanted.st_ino) {
        /* Another instance of devpts has somebody else's terminal of that number. */
        close(tree);
        return 0;
    } else if (pc_mount_setattr(tree, 0, &attributes) != 0)
        error = errno;
    *at = PC_AT_TARGET;
    if (!error && (step->flags & PC_STEP_CREATE_TARGET))
        error = pc_create_target(target, false, &fresh);
    if (!error)
        error = pc_attach(tree, target, fresh);
    close(tree);
    return error;
}
