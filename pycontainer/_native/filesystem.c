/* File systems that are made anew: the root's tmpfs, proc, sysfs, an overlay, and so on. */
#include "setup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Makes a file system from options that are separated by newlines: "key=value" or "flag". */
int pc_make_filesystem(const char *type, const char *options, uint64_t flags, int *made)
{
    char option[PATH_MAX + 64];
    int error = 0;
    int context = (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);
    if (context < 0)
        return errno;
    /* Each file is a kilobyte of the kernel's, which size= does not count, and the kernel's own
       bound is one for every two pages of RAM (tmpfs(5)).  The options may say otherwise. */
    if (strcmp(type, "tmpfs") == 0 &&
        syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "nr_inodes", "1m", 0) != 0)
        error = errno;
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
                             pc_mount_attributes(flags).attr_set);
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
    directory = pc_open_inside(target, O_PATH | O_DIRECTORY, 0);
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
    pc_forget_below(target);
    return error;
}

int pc_mount(const struct pc_step *step, const char *target, const char *type,
             const char *options, int *at)
{
    bool fresh = false;
    int mount, error;

    if (strcmp(type, "overlay") == 0) {
        *at = PC_AT_TARGET;
        error = step->flags & PC_STEP_CREATE_TARGET ? pc_create_target(target, true, &fresh) : 0;
        return error ? error : mount_overlay(step, target, options);
    }
    *at = PC_AT_SOURCE;
    error = pc_make_filesystem(type, options, step->number[0], &mount);
    if (error)
        return error == EPERM && (step->flags & PC_STEP_IGNORE_EPERM) ? 0 : error;
    *at = PC_AT_TARGET;
    if (step->flags & PC_STEP_CREATE_TARGET)
        error = pc_create_target(target, true, &fresh);
    if (!error)
        error = pc_attach(mount, target, fresh);
    if (!error)
        pc_hold_mount(mount, target);
    if (!error && strcmp(type, "tmpfs") == 0)
        error = pc_remember_own_mount(mount);
    close(mount);
    return error;
}

int pc_root_tmpfs(const char *size, uint32_t mode)
{
    char options[96];
    int mount;
    int length = snprintf(options, sizeof(options), "size=%s\nmode=%o", size, mode);
    if (length < 0 || (size_t)length >= sizeof(options))
        return EINVAL;
    int error = pc_make_filesystem("tmpfs", options, PC_MOUNT_NO_SUID | PC_MOUNT_NO_DEV, &mount);
    if (!error)
        error = pc_take_root(mount);
    return error ? error : pc_remember_own_mount(mount);
}
