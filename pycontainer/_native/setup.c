/* Executes the packed steps of a plan in the container's first process.

   Paths of the container are resolved in resolve.c, and nowhere else. */
#include "setup.h"

#include <errno.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static int pivot(void)
{
    pc_forget_parent();
    if (fchdir(pc_root) != 0)
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
        return pc_become((uint32_t)step->number[0], (uint32_t)step->number[1],
                         (pc_ordered()->namespaces & PC_NS_USER) || step->number[2]);
    case PC_OP_NEW_KEYRING:
        return pc_new_keyring();
    case PC_OP_MAKE_PRIVATE:
        return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ? errno : 0;
    case PC_OP_ROOT_TMPFS:
        return pc_root_tmpfs(first, step->mode);
    case PC_OP_ROOT_DIRECTORY:
        *at = PC_AT_SOURCE;
        return pc_root_directory(step, first);
    case PC_OP_MAKE_DIRECTORY:
        *at = PC_AT_TARGET;
        return pc_make_directory(first, step->mode);
    case PC_OP_WRITE_FILE:
        *at = PC_AT_TARGET;
        return pc_write_file(first, second, step->length, step->mode);
    case PC_OP_MAKE_SYMLINK:
        *at = PC_AT_TARGET;
        return pc_make_symlink(first, second);
    case PC_OP_MOUNT:
        return pc_mount(step, first, second, text + step->text[2], at);
    case PC_OP_BIND:
        return pc_bind(step, first, second, at);
    case PC_OP_CONSOLE:
        return pc_bind_console(step, first, at);
    case PC_OP_PIVOT:
        return pivot();
    case PC_OP_ROOT_READ_ONLY:
        return pc_mount_setattr(pc_root, 0, &read_only) != 0 ? errno : 0;
    case PC_OP_HOLD_MASKS:
        *at = PC_AT_SOURCE;
        return pc_hold_masks(first, step->number[0]);
    case PC_OP_MAKE_READ_ONLY:
        return pc_make_read_only(first, at);
    case PC_OP_MASK:
        return pc_mask(first, at);
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
        return pc_limit_capabilities(step->number[0], step->number[1] == 0);
    case PC_OP_NO_NEW_PRIVILEGES:
        return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ? errno : 0;
    case PC_OP_REFUSE_SET_ID:
        return pc_refuse_set_id(step->number[0]);
    case PC_OP_SET_LIMIT:
        return pc_set_limit(step->number[0], step->number[1], step->number[2]);
    case PC_OP_SET_AFFINITY:
        return pc_set_affinity(second, step->length);
    case PC_OP_NO_USER_NAMESPACES:
        return pc_no_user_namespaces();
    case PC_OP_INSTALL_FILTER:
        return pc_install_filter(second, step->length, step->number[0]);
    default:
        return ENOSYS;
    }
}

int pc_run_steps(const struct pc_request *request, uint32_t first, uint32_t last,
                 struct pc_failure *failure)
{
    const struct pc_step *steps = (const void *)((const char *)request + request->steps);
    const char *text = (const char *)request + request->text;

    if (first == 0) {
        pc_forget_places();
        pc_forget_trees();
        pc_forget_masks();
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
    pc_forget_parent();
    return 0;
}
