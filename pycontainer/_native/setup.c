/* Executes the packed steps of a plan in the container's first process.

   Every path of the container is resolved with openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
   below the new root, so that a symbolic link cannot lead onto the host; what was resolved is used
   by descriptor only.  Nothing is created except on file systems that this process has mounted. */
#include "pycontainer.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <linux/stat.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define EMPTY ""

enum { MOST_OWN_MOUNTS = 4096, BATCH = 200 };

static struct {
    int root;                 /* O_PATH of the new root */
    char parent_path[PATH_MAX]; /* the directory opened last, as written in the plan */
    int parent;
    bool parent_is_own;       /* it lies on a file system that we mounted */
    uint64_t own[MOST_OWN_MOUNTS]; /* mount ids of the tmpfs that we mounted */
    int own_count;
    int trees[BATCH];         /* sources that a privileged caller opened for us */
    uint8_t tree_errors[BATCH];
    int tree_count, tree_next;
} setup = {.root = -1, .parent = -1};

static int sys_open_tree(int directory, const char *path, unsigned flags)
{
    return (int)syscall(SYS_open_tree, directory, path, flags);
}

static int sys_move_mount(int from, const char *from_path, int to, const char *to_path, unsigned flags)
{
    return (int)syscall(SYS_move_mount, from, from_path, to, to_path, flags);
}

static int sys_mount_setattr(int fd, unsigned flags, struct mount_attr *attributes)
{
    return (int)syscall(SYS_mount_setattr, fd, EMPTY, flags | AT_EMPTY_PATH, attributes,
                        sizeof(*attributes));
}

static struct mount_attr kernel_attributes(uint64_t flags)
{
    uint64_t clear = 0;
    uint64_t set = pc_kernel_mount_attributes(flags, &clear);
    return (struct mount_attr){.attr_set = set, .attr_clr = clear};
}

/* ---- resolving ---- */

static int open_inside(const char *path, uint64_t flags, uint64_t mode)
{
    struct open_how how = {
        .flags = flags | O_CLOEXEC,
        .mode = mode,
        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
    };
    int fd, tries = 0;
    /* EAGAIN: a rename somewhere on the host raced with ".." (openat2(2)). */
    do
        fd = (int)syscall(SYS_openat2, setup.root, path, &how, sizeof(how));
    while (fd < 0 && (errno == EAGAIN || errno == EINTR) && ++tries < 1000);
    return fd;
}

static int mount_id(int fd, uint64_t *id)
{
    struct statx status;
    if (syscall(SYS_statx, fd, EMPTY, AT_EMPTY_PATH, STATX_MNT_ID, &status) != 0)
        return errno;
    *id = status.stx_mnt_id;
    return 0;
}

static void forget_parent(void)
{
    if (setup.parent >= 0)
        close(setup.parent);
    setup.parent = -1;
    setup.parent_is_own = false;
}

/* The directory above path, kept open from step to step because neighbours come in runs. */
static int open_parent(const char *path, const char **name, int *directory)
{
    const char *slash = strrchr(path, '/');
    size_t length;

    if (!slash || !slash[1])
        return EINVAL;
    *name = slash + 1;
    length = slash == path ? 1 : (size_t)(slash - path);
    if (length >= sizeof(setup.parent_path))
        return ENAMETOOLONG;
    if (setup.parent < 0 || strncmp(setup.parent_path, path, length) != 0 ||
        setup.parent_path[length]) {
        forget_parent();
        memcpy(setup.parent_path, path, length);
        setup.parent_path[length] = 0;
        setup.parent = open_inside(setup.parent_path, O_PATH | O_DIRECTORY, 0);
        if (setup.parent < 0)
            return errno;
    }
    *directory = setup.parent;
    return 0;
}

/* The parent of something that is to be created: it must lie on a file system of ours. */
static int open_own_parent(const char *path, const char **name, int *directory)
{
    uint64_t id;
    int error = open_parent(path, name, directory);
    if (error || setup.parent_is_own)
        return error;
    error = mount_id(*directory, &id);
    if (error)
        return error;
    for (int i = 0; i < setup.own_count; i++)
        if (setup.own[i] == id) {
            setup.parent_is_own = true;
            return 0;
        }
    return EXDEV; /* it would be made on the host: a link or a bind leads away from our root */
}

static int remember_own_mount(int fd)
{
    if (setup.own_count == MOST_OWN_MOUNTS)
        return EMFILE;
    int error = mount_id(fd, &setup.own[setup.own_count]);
    if (!error)
        setup.own_count++;
    return error;
}

/* ---- attaching ---- */

/* Makes a directory or an empty file to mount on.  *fresh: it was not there before, so its name
   below the parent is known to be no link. */
static int create_target(const char *path, bool directory, bool *fresh)
{
    const char *name;
    int parent, fd;
    int error = open_own_parent(path, &name, &parent);
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

static int attach(int tree, const char *target, bool fresh)
{
    int error = 0;

    if (fresh) {
        /* Without MOVE_MOUNT_T_SYMLINKS a single name below a descriptor is never followed. */
        const char *name;
        int parent;
        error = open_parent(target, &name, &parent);
        if (!error && sys_move_mount(tree, EMPTY, parent, name, MOVE_MOUNT_F_EMPTY_PATH) != 0)
            error = errno;
    } else {
        int fd = open_inside(target, O_PATH, 0);
        if (fd < 0)
            return errno;
        if (sys_move_mount(tree, EMPTY, fd, EMPTY,
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
    /* What lies below the new mount is another directory now. */
    size_t length = strlen(target);
    if (setup.parent >= 0 && strncmp(setup.parent_path, target, length) == 0)
        forget_parent();
    return error;
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
    if (setup.tree_next == setup.tree_count) {
        int fds[BATCH], count = BATCH, used = 0;
        ssize_t length =
            pc_receive(PC_FD_CALL, setup.tree_errors, sizeof(setup.tree_errors), fds, &count, 0);
        if (length <= 0)
            return length < 0 ? (int)-length : EPIPE;
        for (ssize_t i = 0; i < length; i++) {
            bool there = setup.tree_errors[i] == 0;
            if (there && used == count)
                return EBADMSG;
            setup.trees[i] = there ? fds[used++] : -1;
        }
        setup.tree_count = (int)length;
        setup.tree_next = 0;
    }
    *tree = setup.trees[setup.tree_next];
    return setup.tree_errors[setup.tree_next++];
}

static int bind_at(const struct pc_step *step, const char *target, const char *source, int *at)
{
    bool recursive = step->flags & PC_STEP_RECURSIVE, fresh = false, directory;
    struct mount_attr attributes = kernel_attributes(step->number[0]);
    int tree = -1, error = 0;

    *at = PC_AT_SOURCE;
    if (step->flags & PC_STEP_TREE)
        error = next_tree(&tree);
    else if (step->flags & PC_STEP_INSIDE) {
        int place = open_inside(source, O_PATH, 0);
        tree = place < 0 ? -1 : sys_open_tree(place, EMPTY, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC |
                                                                AT_EMPTY_PATH);
        if (tree < 0)
            error = errno;
        if (place >= 0)
            close(place);
    } else {
        tree = sys_open_tree(AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC |
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
        sys_mount_setattr(tree, recursive ? AT_RECURSIVE : 0, &attributes) != 0)
        error = errno;
    if (!error) {
        *at = PC_AT_TARGET;
        if (step->flags & PC_STEP_CREATE_TARGET)
            error = create_target(target, directory, &fresh);
        if (!error)
            error = attach(tree, target, fresh);
    }
    close(tree);
    return error;
}

/* Makes a file system from options that are separated by newlines: "key=value" or "flag". */
static int make_filesystem(const char *type, const char *options, uint64_t flags, int *made)
{
    char option[PATH_MAX + 64];
    int error = 0;
    int context = (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);
    if (context < 0)
        return errno;
    for (const char *start = options; !error && start && *start;) {
        size_t length = strcspn(start, "\n");
        if (length >= sizeof(option)) {
            error = ENAMETOOLONG;
            break;
        }
        memcpy(option, start, length);
        option[length] = 0;
        char *value = strchr(option, '=');
        if (value)
            *value++ = 0;
        if (syscall(SYS_fsconfig, context, value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, option,
                    value, 0) != 0)
            error = errno;
        start += length + (start[length] == '\n');
    }
    if (!error && syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) != 0)
        error = errno;
    if (!error) {
        *made = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC,
                             kernel_attributes(flags).attr_set);
        if (*made < 0)
            error = errno;
    }
    close(context);
    return error;
}

/* An overlay goes by mount(2): fsconfig(2) takes no string above 255 bytes, and a list of layers
   may be longer.  Layers without a leading "/" lie in the mount that is at the target already. */
static int mount_overlay(const struct pc_step *step, const char *target, const char *options)
{
    char joined[4096]; /* mount(2) takes a page of options */
    uint64_t clear;
    uint64_t wanted = pc_kernel_mount_attributes(step->number[0], &clear);
    unsigned long flags = 0;
    int error = 0;
    size_t length = strlen(options);
    int directory, back;

    if (length >= sizeof(joined))
        return E2BIG;
    for (size_t i = 0; i <= length; i++)
        joined[i] = options[i] == '\n' ? ',' : options[i];
    flags |= wanted & MOUNT_ATTR_RDONLY ? MS_RDONLY : 0;
    flags |= wanted & MOUNT_ATTR_NOSUID ? MS_NOSUID : 0;
    flags |= wanted & MOUNT_ATTR_NODEV ? MS_NODEV : 0;
    flags |= wanted & MOUNT_ATTR_NOEXEC ? MS_NOEXEC : 0;
    directory = open_inside(target, O_PATH | O_DIRECTORY, 0);
    if (directory < 0)
        return errno;
    back = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fchdir(directory) != 0 || mount("overlay", ".", "overlay", flags, joined) != 0)
        error = errno;
    if (back >= 0 && fchdir(back) != 0 && !error)
        error = errno;
    if (back >= 0)
        close(back);
    close(directory);
    size_t prefix = strlen(target);
    if (setup.parent >= 0 && strncmp(setup.parent_path, target, prefix) == 0)
        forget_parent();
    return error;
}

static int mount_at(const struct pc_step *step, const char *target, const char *type,
                    const char *options, int *at)
{
    bool fresh = false;
    int mount, error;

    if (strcmp(type, "overlay") == 0) {
        *at = PC_AT_TARGET;
        error = step->flags & PC_STEP_CREATE_TARGET ? create_target(target, true, &fresh) : 0;
        return error ? error : mount_overlay(step, target, options);
    }
    *at = PC_AT_SOURCE;
    error = make_filesystem(type, options, step->number[0], &mount);
    if (error)
        return error == EPERM && (step->flags & PC_STEP_IGNORE_EPERM) ? 0 : error;
    *at = PC_AT_TARGET;
    if (step->flags & PC_STEP_CREATE_TARGET)
        error = create_target(target, true, &fresh);
    if (!error)
        error = attach(mount, target, fresh);
    if (!error && strcmp(type, "tmpfs") == 0)
        error = remember_own_mount(mount);
    close(mount);
    return error;
}

/* The terminal of stdin, by its name: its descriptor belongs to another mount namespace. */
static int bind_console(const struct pc_step *step, const char *target, int *at)
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
    tree = sys_open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (tree < 0)
        return errno == ENOENT ? 0 : errno; /* a terminal of another devpts has no path here */
    if (fstat(0, &wanted) != 0 || fstat(tree, &found) != 0)
        error = errno;
    else if (found.st_rdev != wanted.st_rdev) {
        close(tree);
        return 0;
    } else if (sys_mount_setattr(tree, 0, &attributes) != 0)
        error = errno;
    *at = PC_AT_TARGET;
    if (!error && (step->flags & PC_STEP_CREATE_TARGET))
        error = create_target(target, false, &fresh);
    if (!error)
        error = attach(tree, target, fresh);
    close(tree);
    return error;
}

/* ---- entries ---- */

#define UMASK 022u /* of every child, see clone.c */

static int make_directory(const char *path, uint32_t mode)
{
    const char *name;
    struct stat status;
    int parent;
    int error = open_own_parent(path, &name, &parent);
    if (error)
        return error;
    if (mkdirat(parent, name, mode) != 0) {
        if (errno != EEXIST)
            return errno;
        if (fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) != 0)
            return errno;
        if (!S_ISDIR(status.st_mode))
            return ENOTDIR;
    }
    /* Sticky and set-gid bits, which mkdir() leaves to the file system, and what the umask cut. */
    if ((mode & (~0777u | UMASK)) && fchmodat(parent, name, mode, 0) != 0)
        return errno;
    return 0;
}

static int write_file(const char *path, const char *content, size_t length, uint32_t mode)
{
    const char *name;
    int parent, fd;
    int error = open_own_parent(path, &name, &parent);
    if (error)
        return error;
    fd = openat(parent, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return errno;
    while (!error && length > 0) {
        ssize_t written = write(fd, content, length);
        if (written < 0)
            error = errno == EINTR ? 0 : errno;
        else {
            content += written;
            length -= (size_t)written;
        }
    }
    if (!error && (mode & UMASK) && fchmod(fd, mode) != 0)
        error = errno;
    close(fd);
    return error;
}

static int make_symlink(const char *path, const char *to)
{
    const char *name;
    int parent;
    int error = open_own_parent(path, &name, &parent);
    if (error)
        return error;
    return symlinkat(to, parent, name) != 0 ? errno : 0;
}

/* ---- the root ---- */

/* Moves the mount over "/": names still resolve below the old root until the pivot, because a
   process keeps the root directory it has. */
static int take_root(int mount)
{
    if (sys_move_mount(mount, EMPTY, AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) != 0)
        return errno;
    setup.root = mount;
    return 0;
}

static int root_tmpfs(const char *size, uint32_t mode)
{
    char options[96];
    int mount;
    int length = snprintf(options, sizeof(options), "size=%s\nmode=%o", size, mode);
    if (length < 0 || (size_t)length >= sizeof(options))
        return EINVAL;
    int error =
        make_filesystem("tmpfs", options, PC_MOUNT_NO_SUID | PC_MOUNT_NO_DEV, &mount);
    if (!error)
        error = take_root(mount);
    return error ? error : remember_own_mount(mount);
}

static int root_directory(const struct pc_step *step, const char *source)
{
    struct mount_attr attributes = kernel_attributes(step->number[0]);
    struct stat status;
    int tree, error = 0;

    if (step->flags & PC_STEP_TREE)
        error = next_tree(&tree);
    else {
        tree = sys_open_tree(AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
        if (tree < 0)
            return errno;
        if (attributes.attr_set && sys_mount_setattr(tree, AT_RECURSIVE, &attributes) != 0)
            error = errno;
    }
    /* The kernel's own answer to a file that is to be a root is EINVAL. */
    if (!error && fstat(tree, &status) == 0 && !S_ISDIR(status.st_mode))
        error = ENOTDIR;
    return error ? error : take_root(tree);
}

static int pivot(void)
{
    forget_parent();
    if (fchdir(setup.root) != 0)
        return errno;
    /* pivot_root(".", "."): the old root lies on top of the new one and is detached by the same
       name (pivot_root(2), NOTES), without a directory for it. */
    if (syscall(SYS_pivot_root, ".", ".") != 0)
        return errno;
    if (umount2(".", MNT_DETACH) != 0)
        return errno;
    return chdir("/") != 0 ? errno : 0;
}

static int loopback_up(void)
{
    struct ifreq request = {.ifr_name = "lo"};
    int error = 0;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    if (ioctl(fd, SIOCGIFFLAGS, &request) != 0)
        error = errno;
    request.ifr_flags |= IFF_UP;
    if (!error && ioctl(fd, SIOCSIFFLAGS, &request) != 0)
        error = errno;
    close(fd);
    return error;
}

static int map_ids(const struct pc_request *request, const char *text)
{
    if (request->uid_map)
        return pc_map_ids(text + request->uid_map, text + request->gid_map);
    /* The supervisor writes them; one byte says that it has. */
    char byte;
    ssize_t length;
    do
        length = read(PC_FD_MAPPED, &byte, 1);
    while (length < 0 && errno == EINTR);
    return length == 1 ? 0 : length < 0 ? errno : EPIPE;
}

static int run_step(const struct pc_request *request, const struct pc_step *step, const char *text,
                    int *at)
{
    const char *first = text + step->text[0], *second = text + step->text[1];
    struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};

    switch (step->op) {
    case PC_OP_MAP_IDS:
        return map_ids(request, text);
    case PC_OP_BECOME:
        return pc_become((uint32_t)step->number[0], (uint32_t)step->number[1]);
    case PC_OP_NEW_KEYRING:
        return pc_new_keyring();
    case PC_OP_MAKE_PRIVATE:
        return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ? errno : 0;
    case PC_OP_ROOT_TMPFS:
        return root_tmpfs(first, step->mode);
    case PC_OP_ROOT_DIRECTORY:
        *at = PC_AT_SOURCE;
        return root_directory(step, first);
    case PC_OP_MAKE_DIRECTORY:
        *at = PC_AT_TARGET;
        return make_directory(first, step->mode);
    case PC_OP_WRITE_FILE:
        *at = PC_AT_TARGET;
        return write_file(first, second, step->length, step->mode);
    case PC_OP_MAKE_SYMLINK:
        *at = PC_AT_TARGET;
        return make_symlink(first, second);
    case PC_OP_MOUNT:
        return mount_at(step, first, second, text + step->text[2], at);
    case PC_OP_BIND:
        return bind_at(step, first, second, at);
    case PC_OP_CONSOLE:
        return bind_console(step, first, at);
    case PC_OP_PIVOT:
        return pivot();
    case PC_OP_ROOT_READ_ONLY:
        return sys_mount_setattr(setup.root, 0, &read_only) != 0 ? errno : 0;
    case PC_OP_LOCK:
        return pc_lock(text + request->lock_uid_map, text + request->lock_gid_map,
                       request->lock_mapper != 0);
    case PC_OP_SET_HOSTNAME:
        return sethostname(first, strlen(first)) != 0 ? errno : 0;
    case PC_OP_LOOPBACK_UP:
        return loopback_up();
    case PC_OP_CHANGE_DIRECTORY:
        *at = PC_AT_TARGET;
        return chdir(first) != 0 ? errno : 0;
    case PC_OP_LIMIT_CAPABILITIES:
        return pc_limit_capabilities(step->number[0]);
    case PC_OP_NO_NEW_PRIVILEGES:
        return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ? errno : 0;
    case PC_OP_REFUSE_SET_ID:
        return pc_refuse_set_id(step->number[0] != 0);
    default:
        return ENOSYS;
    }
}

int pc_run_steps(const struct pc_request *request, uint32_t first, uint32_t last,
                 struct pc_failure *failure)
{
    const struct pc_step *steps = (const void *)((const char *)request + request->steps);
    const char *text = (const char *)request + request->text;

    if (first == 0) { /* in a container inside a container, the state is still the outer one's */
        setup.root = setup.parent = -1;
        setup.parent_is_own = false;
        setup.own_count = setup.tree_count = setup.tree_next = 0;
    }
    for (uint32_t i = first; i < last; i++) {
        int at = PC_AT_NOTHING;
        int error = run_step(request, &steps[i], text, &at);
        const int optional = at == PC_AT_TARGET ? PC_STEP_OPTIONAL_TARGET : PC_STEP_OPTIONAL;
        if (error == ENOENT && (steps[i].flags & optional))
            continue;
        if (error) {
            *failure = (struct pc_failure){.step = (int32_t)i, .error = error, .at = at};
            return error;
        }
    }
    forget_parent();
    return 0;
}
