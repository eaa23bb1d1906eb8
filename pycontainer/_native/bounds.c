/* What bounds the process that runs the function or program: resources, processors, a filter. */
#include "pycontainer.h"

#include <errno.h>
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
