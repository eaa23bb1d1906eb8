/* What host root's containers may not do with files of the host: leave set-id files, or files with
   capabilities, through a writable bind, which is idmapped.  Filters of system calls. */
#include "pycontainer.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SET_ID_BITS (S_ISUID | S_ISGID)

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "pycontainer supports x86-64 and aarch64"
#endif
#ifndef __NR_setxattrat
#define __NR_setxattrat 463 /* likewise */
#endif
#ifndef __NR_fchmodat2
#define __NR_fchmodat2 452 /* the same on every architecture; newer than Debian 12's headers */
#endif

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
/* Little-endian: the low half of a 64-bit argument lies first; the kernel takes modes as 32 bits. */
#define LOAD_ARGUMENT(n) LOAD(args[n])
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, (what))
#define REFUSE(error) RETURN(SECCOMP_RET_ERRNO | (error))
#define ALLOW RETURN(SECCOMP_RET_ALLOW)

/* A mode with set-id bits in argument n of this call: EPERM. */
#define MODE_RULE(number, n)                                       \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 4),           \
    LOAD_ARGUMENT(n),                                              \
    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, SET_ID_BITS, 0, 1),       \
    REFUSE(EPERM),                                                 \
    ALLOW
/* The same where the mode counts only with O_CREAT or O_TMPFILE in argument f. */
#define OPEN_RULE(number, f, n)                                    \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 6),           \
    LOAD_ARGUMENT(f),                                              \
    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_CREAT | (O_TMPFILE & ~O_DIRECTORY), 0, 3), \
    LOAD_ARGUMENT(n),                                              \
    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, SET_ID_BITS, 0, 1),       \
    REFUSE(EPERM),                                                 \
    ALLOW
#define ERRNO_RULE(number, error)                                  \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1),           \
    REFUSE(error)

/* A user namespace below gives CAP_SETFCAP back, over the ids that it maps.  The kernel keeps our
   id 0 out of such a map (verify_root_map() in kernel/user_namespace.c, since CAP_SETFCAP is gone),
   but where host root is another id of the container's, a file capability set in there is host
   root's on the disk: seen.  The name of an attribute lies behind a pointer, so that all of them are
   refused, with what a file system without attributes says. */
static int refuse_attributes(void)
{
    static struct sock_filter code[] = {
        LOAD(nr),
        ERRNO_RULE(__NR_setxattr, EOPNOTSUPP),
        ERRNO_RULE(__NR_lsetxattr, EOPNOTSUPP),
        ERRNO_RULE(__NR_fsetxattr, EOPNOTSUPP),
        ERRNO_RULE(__NR_setxattrat, EOPNOTSUPP),
        ALLOW,
    };
    struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0 ? errno : 0;
}

/* Needs CAP_SYS_ADMIN in this user namespace or no_new_privs; before and after the lock there is the
   first.  Neither may be missing: a caller that has given both away is refused. */
static int refuse_modes(void)
{
    static struct sock_filter code[] = {
        LOAD(arch),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0),
        REFUSE(ENOSYS), /* i386 calls have other numbers */
        LOAD(nr),
#if defined(__x86_64__)
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1), /* x32 */
        REFUSE(ENOSYS),
#endif
        /* These hide their arguments behind a pointer; callers fall back on ENOSYS. */
        ERRNO_RULE(__NR_openat2, ENOSYS),
        ERRNO_RULE(__NR_io_uring_setup, ENOSYS),
        /* A new overlay could copy a set-id file up into the bind. */
        ERRNO_RULE(__NR_fsopen, EPERM),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_mount, 0, 7),
        LOAD_ARGUMENT(3),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, MS_BIND | MS_MOVE | MS_REMOUNT, 4, 0),
        /* The kernel takes this old mark off the upper half (path_mount() in fs/namespace.c), and
           the flags of propagation, whose bits it holds, with it. */
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, MS_MGC_MSK),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MS_MGC_VAL, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE, 1, 0),
        REFUSE(EPERM),
        ALLOW,
        MODE_RULE(__NR_fchmod, 1),
        MODE_RULE(__NR_fchmodat, 2),
        MODE_RULE(__NR_fchmodat2, 2),
        MODE_RULE(__NR_mkdirat, 2),
        MODE_RULE(__NR_mknodat, 2),
        OPEN_RULE(__NR_openat, 2, 3),
#if defined(__x86_64__)
        MODE_RULE(__NR_chmod, 1),
        MODE_RULE(__NR_mkdir, 1),
        MODE_RULE(__NR_mknod, 1),
        MODE_RULE(__NR_creat, 1),
        OPEN_RULE(__NR_open, 1, 2),
#endif
        ALLOW,
    };
    struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0 ? errno : 0;
}

static int give_up_file_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    struct __user_cap_data_struct data[2];
    const uint32_t setfcap = 1u << CAP_SETFCAP;
    _Static_assert(CAP_SETFCAP < 32, "CAP_SETFCAP lies in the first word");

    if (prctl(PR_CAPBSET_DROP, CAP_SETFCAP, 0, 0, 0) != 0)
        return errno;
    if (syscall(SYS_capget, &header, data) != 0)
        return errno;
    data[0].effective &= ~setfcap;
    data[0].permitted &= ~setfcap;
    data[0].inheritable &= ~setfcap;
    return syscall(SYS_capset, &header, data) != 0 ? errno : 0;
}

/* Host root's containers reach its files through idmapped binds: a set-id file made inside would
   be set-id *root* outside.  CAP_SETFCAP goes for the same reason (file capabilities).
   what: PC_REFUSE_*. */
int pc_refuse_set_id(uint64_t what)
{
    int error = what & PC_REFUSE_CAPABILITIES ? give_up_file_capabilities() : 0;

    if (!error && (what & PC_REFUSE_MODES))
        error = refuse_modes();
    if (!error && (what & PC_REFUSE_ATTRIBUTES))
        error = refuse_attributes();
    return error;
}
