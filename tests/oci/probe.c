/* What a container looks like from inside: a line "name<TAB>value" for each fact.  Static, so that
   it runs in an empty root. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

extern char **environ;

static void copy(const char *name, const char *path)
{
    char line[4096];
    FILE *file = fopen(path, "re");

    if (file == NULL) {
        printf("%s\terrno %d\n", name, errno);
        return;
    }
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = 0;
        printf("%s\t%s\n", name, line);
    }
    fclose(file);
}

static void ids(void)
{
    uid_t r, e, s;
    gid_t groups[64];
    int count, number;

    getresuid(&r, &e, &s);
    printf("uid\t%u %u %u\n", r, e, s);
    getresgid(&r, &e, &s);
    printf("gid\t%u %u %u\n", r, e, s);
    count = getgroups(64, groups);
    printf("groups\t");
    for (number = 0; number < count; number++)
        printf("%u ", groups[number]);
    printf("\npid\t%d\nparent\t%d\n", getpid(), getppid());
    printf("session leader\t%d\n", getsid(0) == getpid());
}

static void capabilities(void)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    unsigned long long bounding = 0, ambient = 0;
    int number;

    syscall(SYS_capget, &header, data);
    for (number = 0; number < 64; number++) {
        if (prctl(PR_CAPBSET_READ, number, 0, 0, 0) == 1)
            bounding |= 1ULL << number;
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, number, 0, 0) == 1)
            ambient |= 1ULL << number;
    }
    printf("effective\t%08x%08x\n", data[1].effective, data[0].effective);
    printf("permitted\t%08x%08x\n", data[1].permitted, data[0].permitted);
    printf("inheritable\t%08x%08x\n", data[1].inheritable, data[0].inheritable);
    printf("bounding\t%016llx\nambient\t%016llx\n", bounding, ambient);
    printf("no_new_privs\t%d\n", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    printf("securebits\t%d\n", prctl(PR_GET_SECUREBITS, 0, 0, 0, 0));
    printf("seccomp\t%d\n", prctl(PR_GET_SECCOMP, 0, 0, 0, 0));
    printf("death signal\t");
    prctl(PR_GET_PDEATHSIG, &number, 0, 0, 0);
    printf("%d\n", number);
}

static void limits(void)
{
    static const struct { int number; const char *name; } each[] = {
        {RLIMIT_CORE, "core"}, {RLIMIT_CPU, "cpu"}, {RLIMIT_DATA, "data"},
        {RLIMIT_FSIZE, "fsize"}, {RLIMIT_NOFILE, "nofile"}, {RLIMIT_NPROC, "nproc"},
        {RLIMIT_STACK, "stack"}, {RLIMIT_AS, "as"},
    };
    struct rlimit bound;
    size_t number;

    for (number = 0; number < sizeof each / sizeof *each; number++) {
        getrlimit(each[number].number, &bound);
        printf("limit %s\t%lld %lld\n", each[number].name, (long long)bound.rlim_cur,
               (long long)bound.rlim_max);
    }
    printf("processors\t");
    for (number = 0; number < 4; number++) {
        unsigned long set[16] = {0};
        syscall(SYS_sched_getaffinity, 0, sizeof set, set);
        printf("%lx", set[number]);
    }
    printf("\npriority\t%d\n", getpriority(PRIO_PROCESS, 0));
}

static void names(void)
{
    static const char *kinds[] = {"user", "pid", "mnt", "net", "ipc", "uts", "cgroup"};
    char path[64], text[4096];
    struct utsname name;
    struct ifreq request = {0};
    size_t number;
    ssize_t length;
    int fd;

    for (number = 0; number < 7; number++) {
        snprintf(path, sizeof path, "/proc/self/ns/%s", kinds[number]);
        length = readlink(path, text, sizeof text - 1);
        text[length < 0 ? 0 : length] = 0;
        printf("namespace %s\t%s\n", kinds[number], text);
    }
    uname(&name);
    printf("hostname\t%s\n", name.nodename);
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    strcpy(request.ifr_name, "lo");
    if (ioctl(fd, SIOCGIFFLAGS, &request) == 0)
        printf("lo\t%s\n", request.ifr_flags & IFF_UP ? "up" : "down");
    close(fd);
    printf("cwd\t%s\n", getcwd(text, sizeof text) != NULL ? text : strerror(errno));
    printf("umask\t%03o\n", umask(022));
    for (number = 0; environ[number] != NULL; number++)
        printf("env\t%s\n", environ[number]);
    for (fd = 0; fd < 256; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            printf("fd\t%d\n", fd);
}

static void entry(const char *path, int depth)
{
    char text[4096], below[4096];
    struct stat found;
    struct statfs system;
    struct dirent *one;
    DIR *directory;
    int fd;
    ssize_t length;

    if (lstat(path, &found) != 0) {
        printf("file %s\terrno %d\n", path, errno);
        return;
    }
    printf("file %s\t%o %u:%u", path, found.st_mode, found.st_uid, found.st_gid);
    if (S_ISLNK(found.st_mode)) {
        length = readlink(path, text, sizeof text - 1);
        printf(" -> %.*s", (int)length, text);
    } else if (S_ISCHR(found.st_mode)) {
        printf(" device %lx", (unsigned long)found.st_rdev);
    } else if (S_ISREG(found.st_mode) && found.st_size < 200) {
        fd = open(path, O_RDONLY | O_CLOEXEC);
        length = fd < 0 ? 0 : read(fd, text, sizeof text);
        if (fd < 0)
            printf(" errno %d", errno);
        for (ssize_t at = 0; at < length; at++)
            printf("%s%02x", at ? "" : " ", (unsigned char)text[at]);
        close(fd);
    }
    if (!S_ISLNK(found.st_mode) && access(path, W_OK) == 0)
        printf(" writable");
    printf("\n");
    if (!S_ISDIR(found.st_mode) || depth == 0 || statfs(path, &system) != 0
        || system.f_type == 0x9fa0 /* proc */ || system.f_type == 0x62656572 /* sysfs */)
        return;
    directory = opendir(path);
    if (directory == NULL)
        return;
    while ((one = readdir(directory)) != NULL) {
        if (strcmp(one->d_name, ".") == 0 || strcmp(one->d_name, "..") == 0)
            continue;
        snprintf(below, sizeof below, "%s/%s", strcmp(path, "/") ? path : "", one->d_name);
        entry(below, depth - 1);
    }
    closedir(directory);
}

/* Which of a few system calls a filter answers: with what. */
static void calls(void)
{
    printf("call mkdir\t%d\n", mkdir("/tmp/made", 0700) == 0 ? 0 : errno);
    printf("call unshare\t%d\n", syscall(SYS_unshare, 0x04000000 /* uts */) == 0 ? 0 : errno);
    printf("call sethostname\t%d\n", sethostname("new", 3) == 0 ? 0 : errno);
    printf("call fsync\t%d\n", fsync(9999) == 0 ? 0 : errno);
    printf("call clone3\t%d\n", syscall(SYS_clone3, NULL, 0) == 0 ? 0 : errno);
    printf("call chmod set-id\t%d\n", chmod("/tmp", 04777) == 0 ? 0 : errno);
    printf("call add_key\t%ld\n", syscall(SYS_add_key, "user", "a", "b", 1, -3) < 0 ? errno : 0L);
    printf("call ioctl\t%d\n", ioctl(9999, 0x5412) == 0 ? 0 : errno);
    printf("call umount\t%d\n", umount2("/tmp", 2 /* MNT_DETACH */) == 0 ? 0 : errno);
}

int main(void)
{
    ids();
    capabilities();
    limits();
    names();
    copy("uid_map", "/proc/self/uid_map");
    copy("gid_map", "/proc/self/gid_map");
    copy("setgroups", "/proc/self/setgroups");
    copy("mount", "/proc/self/mountinfo");
    entry("/", 4);
    fflush(stdout);
    calls();
    return 7;
}
