/* Makes system calls that a filter must refuse, each in a process of its own, and prints what the
   kernel says: "NAME 0", "NAME ERRNO" or "NAME signal NUMBER".  Arguments: names, or nothing for
   all. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define HIGH (1UL << 32)
/* The same on every architecture; newer than some headers. */
enum { OPENAT2 = 437, CLONE3 = 435, FCHMODAT2 = 452, IO_URING_SETUP = 425, IO_URING_ENTER = 426,
       OPEN_TREE = 428, MOVE_MOUNT = 429, FSOPEN = 430, FSCONFIG = 431, FSMOUNT = 432,
       FSPICK = 433, MOUNT_SETATTR = 442, STATMOUNT = 457, OPEN_TREE_ATTR = 467,
       PIDFD_GETFD = 438, MEMFD_SECRET = 447, QUOTACTL_FD = 443, FUTURE = 500 };
enum { NEWUSER = 0x10000000, NEWTIME = 0x80 };

static long number;   /* what a call returned */

static long child_of(long pid)
{
    if (pid == 0)
        _exit(0);
    return pid;
}

#define CALL(...) syscall(__VA_ARGS__)
#define X(name, expression) static long name(void) { return (expression); }

X(unshare_user, CALL(SYS_unshare, NEWUSER))
X(unshare_mount, CALL(SYS_unshare, CLONE_NEWNS))
X(unshare_time, CALL(SYS_unshare, NEWTIME))
X(clone_user, child_of(CALL(SYS_clone, NEWUSER | SIGCHLD, 0, 0, 0, 0)))
X(clone_user_high, child_of(CALL(SYS_clone, NEWUSER | SIGCHLD | HIGH, 0, 0, 0, 0)))
X(clone_net, child_of(CALL(SYS_clone, CLONE_NEWNET | SIGCHLD, 0, 0, 0, 0)))
static long clone3_user(void)
{
    uint64_t arguments[8] = {NEWUSER, 0, 0, 0, SIGCHLD};
    return child_of(CALL(CLONE3, arguments, sizeof(arguments)));
}
static long setns_user(void)
{
    int fd = open("/proc/self/ns/user", O_RDONLY);
    return CALL(SYS_setns, fd, 0);
}
static long setns_pidfd(void)
{
    return CALL(SYS_setns, CALL(SYS_pidfd_open, getpid(), 0), CLONE_NEWNS);
}

X(mount_tmpfs, CALL(SYS_mount, "t", "/tmp", "tmpfs", 0, 0))
X(remount, CALL(SYS_mount, 0, "/tmp", 0, MS_REMOUNT | MS_BIND, 0))
X(unmount, CALL(SYS_umount2, "/tmp", MNT_DETACH))
X(pivot, CALL(SYS_pivot_root, "/tmp", "/tmp"))
X(chroot_here, CALL(SYS_chroot, "/tmp"))
X(open_tree_tmp, CALL(OPEN_TREE, AT_FDCWD, "/tmp", 1))
X(open_tree_attr, CALL(OPEN_TREE_ATTR, AT_FDCWD, "/tmp", 0, 0, 0))
X(move_mount_none, CALL(MOVE_MOUNT, -1, "", -1, "", 0))
X(fsopen_tmpfs, CALL(FSOPEN, "tmpfs", 0))
X(fsconfig_none, CALL(FSCONFIG, -1, 0, 0, 0, 0))
X(fsmount_none, CALL(FSMOUNT, -1, 0, 0))
X(fspick_tmp, CALL(FSPICK, AT_FDCWD, "/tmp", 0))
static long mount_setattr_tmp(void)
{
    uint64_t attributes[4] = {0};
    return CALL(MOUNT_SETATTR, AT_FDCWD, "/tmp", 0, attributes, sizeof(attributes));
}

static long io_uring(void)
{
    uint32_t parameters[32] = {0};
    return CALL(IO_URING_SETUP, 1, parameters);
}
X(io_uring_enter, CALL(IO_URING_ENTER, -1, 0, 0, 0, 0, 0))
static long bpf(void)
{
    uint32_t attributes[32] = {2, 4, 4, 1}; /* BPF_MAP_TYPE_ARRAY */
    return CALL(SYS_bpf, 0, attributes, sizeof(attributes));
}
static long perf(void)
{
    uint64_t attributes[16] = {1 | 112UL << 32, 0}; /* a software event, PERF_ATTR_SIZE_VER5 */
    attributes[5] = 1 << 5 | 1 << 6;                /* exclude_kernel, exclude_hv */
    return CALL(SYS_perf_event_open, attributes, 0, -1, -1, 0);
}
X(userfault, CALL(SYS_userfaultfd, 1 /* UFFD_USER_MODE_ONLY */))
X(keyring, CALL(SYS_keyctl, 0, -3, 1, 0, 0))
X(new_key, CALL(SYS_add_key, "user", "x", "y", 1, -3))
X(requested_key, CALL(SYS_request_key, "user", "x", 0, -3))
X(kexec, CALL(SYS_kexec_load, 0, 0, 0, 0))
X(module, CALL(SYS_finit_module, -1, "", 0))
X(handle, CALL(SYS_open_by_handle_at, AT_FDCWD, "", 0))
X(fanotify, CALL(SYS_fanotify_init, 0x200 /* FAN_REPORT_FID */, 0))
X(trace_me, CALL(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0))
X(read_memory, CALL(SYS_process_vm_readv, getpid(), 0, 0, 0, 0, 0))
static long get_descriptor(void)
{
    return CALL(PIDFD_GETFD, CALL(SYS_pidfd_open, getpid(), 0), 1, 0);
}
X(secret_memory, CALL(MEMFD_SECRET, 0))
X(quota, CALL(QUOTACTL_FD, -1, 0, 0, 0))
X(no_randomisation, CALL(SYS_personality, ADDR_NO_RANDOMIZE))
X(no_randomisation_high, CALL(SYS_personality, ADDR_NO_RANDOMIZE | HIGH))
X(call_of_the_future, CALL(FUTURE))

X(vsock, CALL(SYS_socket, 40, SOCK_STREAM, 0))
X(crypto, CALL(SYS_socket, 38, SOCK_SEQPACKET, 0))
X(netfilter, CALL(SYS_socket, AF_NETLINK, SOCK_RAW, 12))
X(sctp, CALL(SYS_socket, AF_INET, SOCK_STREAM, 132))
X(crypto_high, CALL(SYS_socket, 38 | HIGH, SOCK_SEQPACKET, 0))

/* set-id modes */
static int file(void)
{
    return open("/tmp/file", O_CREAT | O_RDWR, 0600);
}
X(fchmod_setuid, CALL(SYS_fchmod, file(), 04700))
X(fchmod_setgid, CALL(SYS_fchmod, file(), 02700))
X(fchmod_high, CALL(SYS_fchmod, file(), 04700 | HIGH))
X(fchmodat_setuid, (file(), CALL(SYS_fchmodat, AT_FDCWD, "/tmp/file", 06700)))
X(fchmodat2_setuid, (file(), CALL(FCHMODAT2, AT_FDCWD, "/tmp/file", 04700, 0)))
X(mknodat_setuid, CALL(SYS_mknodat, AT_FDCWD, "/tmp/node", S_IFREG | 04700, 0))
X(openat_setuid, CALL(SYS_openat, AT_FDCWD, "/tmp/new", O_CREAT | O_RDWR, 04700))
X(openat_tmpfile, CALL(SYS_openat, AT_FDCWD, "/tmp", O_TMPFILE | O_RDWR, 04700))
static long openat2_setuid(void)
{
    uint64_t how[3] = {O_CREAT | O_RDWR, 04700, 0};
    return CALL(OPENAT2, AT_FDCWD, "/tmp/new2", how, sizeof(how));
}
#ifdef __x86_64__
X(chmod_setuid, (file(), CALL(SYS_chmod, "/tmp/file", 04700)))
X(creat_setuid, CALL(SYS_creat, "/tmp/new3", 04700))
X(mknod_setuid, CALL(SYS_mknod, "/tmp/node2", S_IFREG | 04700, 0))
X(open_setuid, CALL(SYS_open, "/tmp/new4", O_CREAT | O_RDWR, 04700))

/* other ABIs */
static long i386(long call, long first)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(call), "b"(first)
                     : "memory", "r8", "r9", "r10", "r11");
    if (result < 0 && result > -4096) {
        errno = (int)-result;
        return -1;
    }
    return result;
}
X(i386_getpid, i386(20, 0))
X(i386_unshare, i386(310, NEWUSER))
X(x32_getpid, CALL(0x40000000 | SYS_getpid))
X(x32_unshare, CALL(0x40000000 | SYS_unshare, NEWUSER))
X(ldt, CALL(SYS_modify_ldt, 0, 0, 0))
#endif

/* the terminal on stdin */
static long terminal(unsigned long request, void *argument)
{
    setsid();
    CALL(SYS_ioctl, 0, TIOCSCTTY, 0);
    return CALL(SYS_ioctl, 0, request, argument);
}
X(tiocsti, terminal(TIOCSTI, "x"))
X(tiocsti_high, terminal(TIOCSTI | HIGH, "x"))
X(tiocsti_highest, terminal(TIOCSTI | 1UL << 63, "x"))
X(tioclinux, terminal(0x541C, "\2"))
X(tioclinux_high, terminal(0x541C | HIGH, "\2"))
X(tiocsetd, terminal(TIOCSETD, &(int){3}))

/* from a second thread */
static int saved;
static void *threaded(void *call)
{
    number = ((long (*)(void))call)();
    saved = errno;
    return NULL;
}
static long in_thread(long (*call)(void))
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, threaded, (void *)call) != 0)
        _exit(99);
    pthread_join(thread, NULL);
    errno = saved;
    return number;
}
X(thread_unshare, in_thread(mount_tmpfs))
X(thread_clone, in_thread(clone_user))
X(thread_fchmod, in_thread(fchmod_setuid))
X(thread_socket, in_thread(crypto))

static const struct {
    const char *name;
    long (*call)(void);
} calls[] = {
#define C(name) {#name, name}
    C(unshare_user), C(unshare_mount), C(unshare_time), C(clone_user), C(clone_user_high),
    C(clone_net), C(clone3_user), C(setns_user), C(setns_pidfd), C(mount_tmpfs), C(remount),
    C(unmount), C(pivot), C(chroot_here), C(open_tree_tmp), C(open_tree_attr), C(move_mount_none),
    C(fsopen_tmpfs), C(fsconfig_none), C(fsmount_none), C(fspick_tmp), C(mount_setattr_tmp),
    C(io_uring), C(io_uring_enter), C(bpf), C(perf), C(userfault), C(keyring), C(new_key),
    C(requested_key), C(kexec), C(module), C(handle), C(fanotify), C(trace_me), C(read_memory),
    C(get_descriptor), C(secret_memory), C(quota), C(no_randomisation), C(no_randomisation_high),
    C(call_of_the_future), C(vsock), C(crypto), C(netfilter), C(sctp), C(crypto_high),
    C(fchmod_setuid), C(fchmod_setgid), C(fchmod_high), C(fchmodat_setuid), C(fchmodat2_setuid),
    C(mknodat_setuid), C(openat_setuid), C(openat_tmpfile), C(openat2_setuid),
#ifdef __x86_64__
    C(chmod_setuid), C(creat_setuid), C(mknod_setuid), C(open_setuid), C(i386_getpid),
    C(i386_unshare), C(x32_getpid), C(x32_unshare), C(ldt),
#endif
    C(tiocsti), C(tiocsti_high), C(tiocsti_highest), C(tioclinux), C(tioclinux_high), C(tiocsetd),
    C(thread_unshare), C(thread_clone), C(thread_fchmod), C(thread_socket),
};

int main(int count, char **names)
{
    for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        int status, wanted = count == 1;
        for (int k = 1; k < count; k++)
            wanted |= strcmp(names[k], calls[i].name) == 0;
        if (!wanted)
            continue;
        pid_t pid = fork();
        if (pid == 0) {
            errno = 0;
            long result = calls[i].call();
            _exit(result < 0 ? errno : 0);
        }
        waitpid(pid, &status, 0);
        if (WIFSIGNALED(status))
            printf("%s signal %d\n", calls[i].name, WTERMSIG(status));
        else
            printf("%s %d\n", calls[i].name, WEXITSTATUS(status));
        fflush(stdout);
    }
    return 0;
}
