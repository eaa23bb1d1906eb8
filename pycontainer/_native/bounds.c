/* What bounds the process that runs the function or program: resources, processors, a filter. */
#include "pycontainer.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* By PC_LIMIT_*. */
static const int resources[] = {
    [PC_LIMIT_CPU] = RLIMIT_CPU,       [PC_LIMIT_FILE_SIZE] = RLIMIT_FSIZE,
    [PC_LIMIT_DATA] = RLIMIT_DATA,     [PC_LIMIT_STACK] = RLIMIT_STACK,
    [PC_LIMIT_CORE] = RLIMIT_CORE,     [PC_LIMIT_PROCESSES] = RLIMIT_NPROC,
    [PC_LIMIT_OPEN_FILES] = RLIMIT_NOFILE, [PC_LIMIT_ADDRESS_SPACE] = RLIMIT_AS,
};

/* Never above what the process has already: raising a hard limit takes CAP_SYS_RESOURCE over the
   host (setrlimit(2)).  UINT64_MAX is no bound.  Returns 0 or an errno. */
int pc_set_limit(uint64_t resource, uint64_t soft, uint64_t hard)
{
    struct rlimit limit;

    if (resource >= sizeof(resources) / sizeof(resources[0]))
        return EINVAL;
    if (getrlimit(resources[resource], &limit) != 0)
        return errno;
    if (hard < limit.rlim_max)
        limit.rlim_max = hard;
    limit.rlim_cur = soft < limit.rlim_max ? soft : limit.rlim_max;
    return setrlimit(resources[resource], &limit) != 0 ? errno : 0;
}

/* set: bits, processor 0 first, of a whole number of longs (sched_setaffinity(2)). */
int pc_set_affinity(const void *set, size_t size)
{
    return syscall(SYS_sched_setaffinity, 0, size, set) != 0 ? errno : 0;
}

/* program: an array of struct sock_filter.  flags: SECCOMP_FILTER_FLAG_*. */
int pc_install_filter(const void *program, size_t size, uint64_t flags)
{
    struct sock_fprog filter = {
        .len = (unsigned short)(size / sizeof(struct sock_filter)),
        /* The kernel copies it, aligned or not, and does not write to it. */
        .filter = (struct sock_filter *)(uintptr_t)program,
    };

    if (size == 0 || size % sizeof(struct sock_filter) != 0 || size / sizeof(struct sock_filter) > BPF_MAXINSNS)
        return EINVAL;
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter) != 0 ? errno : 0;
}

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "pycontainer supports x86-64 and aarch64"
#endif

/* For an init above a filtered program: it cannot have the program's own filter (which may kill who
   reaps), and without any it would be the way around it, since a program of the same user may write
   to its memory (/proc/1/mem).  So it can do an init's work, and nothing else.  Returns 0 or an
   errno. */
int pc_install_init_filter(void)
{
    static const uint32_t calls[] = {
        __NR_rt_sigtimedwait, __NR_rt_sigprocmask, __NR_wait4, __NR_kill, __NR_sendmsg, __NR_close,
        __NR_exit_group, __NR_getpid, __NR_restart_syscall,
        __NR_openat, __NR_read,               /* the list of its children */
        __NR_write,                           /* that it has this */
        __NR_prctl, __NR_capget, __NR_capset, /* what it gives up after this */
    };
    enum { COUNT = sizeof(calls) / sizeof(calls[0]) };
    struct sock_filter code[COUNT + 5], *next = code;

    *next++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                           offsetof(struct seccomp_data, arch));
    *next++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 0, COUNT + 1);
    *next++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                           offsetof(struct seccomp_data, nr));
    for (uint8_t i = 0; i < COUNT; i++)
        *next++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i],
                                               (uint8_t)(COUNT - i), 0);
    *next++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
    *next++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    return pc_install_filter(code, sizeof(code), 0);
}
