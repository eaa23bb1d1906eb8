/* Our flags of a mount as the kernel's. */
#include "pycontainer.h"

#include <sys/mount.h>

/* What to set; *clear receives what mount_setattr(2) must clear for it. */
uint64_t pc_kernel_mount_attributes(uint64_t flags, uint64_t *clear)
{
    uint64_t set = 0;

    *clear = 0;
    if (flags & PC_MOUNT_READ_ONLY)
        set |= MOUNT_ATTR_RDONLY;
    if (flags & PC_MOUNT_NO_SUID)
        set |= MOUNT_ATTR_NOSUID;
    if (flags & PC_MOUNT_NO_DEV)
        set |= MOUNT_ATTR_NODEV;
    if (flags & PC_MOUNT_NO_EXEC)
        set |= MOUNT_ATTR_NOEXEC;
    if (flags & PC_MOUNT_NO_SYMFOLLOW)
        set |= MOUNT_ATTR_NOSYMFOLLOW;
    if (flags & (PC_MOUNT_STRICT_ATIME | PC_MOUNT_NO_ATIME)) {
        *clear = MOUNT_ATTR__ATIME; /* an enumeration, not bits: mount_setattr(2) */
        set |= flags & PC_MOUNT_NO_ATIME ? MOUNT_ATTR_NOATIME : MOUNT_ATTR_STRICTATIME;
    }
    return set;
}
