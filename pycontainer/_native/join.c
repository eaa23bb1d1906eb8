/* Joining the namespaces of a running process. */
#include "pycontainer.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <netdb.h>
#ifdef __GLIBC__
#include <nss.h>
#endif
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The user namespace that owns the target's pid namespace (ioctl_nsfs(2)). */
static int join_owner(const struct pc_request *request)
{
    char name[64];
    int pid_namespace, owner, error = 0;

    snprintf(name, sizeof(name), "%u/ns/pid", request->join_pid);
    pid_namespace = openat(pc_proc, name, O_RDONLY | O_CLOEXEC);
    if (pid_namespace < 0)
        return errno;
    owner = ioctl(pid_namespace, NS_GET_USERNS);
    if (owner < 0)
        error = errno;
    close(pid_namespace);
    if (owner < 0)
        return error;
    /* EINVAL: we are in it already (user_namespaces(7)). */
    if (setns(owner, CLONE_NEWUSER) != 0 && errno != EINVAL)
        error = errno;
    close(owner);
    return error;
}

static int join_target(const struct pc_request *request)
{
    uint32_t namespaces = request->join_namespaces;

    if (!namespaces || setns(PC_FD_TARGET, pc_namespace_flags(namespaces)) == 0)
        return 0;
    /* The owner may have been the target's own user namespace, which cannot be joined again. */
    if (errno != EINVAL || !(request->flags & PC_REQUEST_JOIN_OWNER))
        return errno;
    namespaces &= ~(uint32_t)PC_NS_USER;
    return setns(PC_FD_TARGET, pc_namespace_flags(namespaces)) != 0 ? errno : 0;
}

/* Joins with one setns(pidfd, mask), so that no namespace can be missed or come from a process
   that has taken over the pid; then takes the target's ids and cuts capabilities to its sets.
   The caller's child forks afterwards: a pid namespace holds for children only (setns(2)). */
int pc_join(const struct pc_request *request, struct pc_failure *failure)
{
    int error = 0;

    failure->step = -1;
    failure->stage = PC_STAGE_TIE;
    /* Non-dumpable before the container can see us: it could write our memory or take our
       descriptors through /proc (CVE-2016-9962). */
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return failure->error = errno;
    failure->stage = PC_STAGE_JOIN_IDS;
    if (syscall(SYS_setgroups, 0, NULL) != 0 && errno != EPERM)
        return failure->error = errno;
    if (request->flags & PC_REQUEST_JOIN_OWNER) {
        failure->stage = PC_STAGE_JOIN_OWNER;
        if ((error = join_owner(request)) != 0)
            return failure->error = error;
    }
    /* While the function runs, this process waits in the container: with nothing of the host. */
    close(PC_FD_CWD);
    close(pc_proc);
    pc_proc = -1;
    failure->stage = PC_STAGE_JOIN;
    if ((error = join_target(request)) != 0)
        return failure->error = error;
    failure->stage = PC_STAGE_JOIN_IDS;
    /* Still denied where the target's namespace denies it; else root's groups end here. */
    if (syscall(SYS_setgroups, 0, NULL) != 0 && errno != EPERM)
        return failure->error = errno;
    if (request->join_uid != UINT32_MAX &&
        (error = pc_take_ids(request->join_uid, request->join_gid, true)) != 0)
        return failure->error = error;
    /* While there are the capabilities for it. */
    failure->stage = PC_STAGE_JOIN_FILTERS;
    if ((request->join_no_new_privileges & PC_JOIN_REFUSE_SET_ID) &&
        (error = pc_refuse_set_id(
             PC_REFUSE_MODES | PC_REFUSE_CAPABILITIES |
             (request->join_no_new_privileges & PC_JOIN_REFUSE_ATTRIBUTES ? PC_REFUSE_ATTRIBUTES
                                                                          : 0))) != 0)
        return failure->error = error;
    failure->stage = PC_STAGE_JOIN_CAPABILITIES;
    if ((error = pc_set_capabilities(request->join_capabilities)) != 0)
        return failure->error = error;
    if ((request->join_no_new_privileges & PC_JOIN_NO_NEW_PRIVILEGES) &&
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return failure->error = errno;
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return failure->error = errno;
    failure->stage = PC_STAGE_TIE;
    if ((error = pc_tie_to_parent()) != 0)
        return failure->error = error;
    if (chdir("/") != 0)
        return failure->error = errno;
    failure->stage = PC_STAGE_NONE;
    return 0;
}

/* ---- what the C library would otherwise load from the container's files (CVE-2019-14271) ---- */

#ifdef __GLIBC__
enum { SERVICES = 256 };

/* Those of a database's services that are here, with the actions between them. */
static void keep_loadable(char *kept, char *services)
{
    size_t used = 0;

    for (char *word = strtok(services, " \t\n"); word && *word != '#'; word = strtok(NULL, " \t\n")) {
        char name[64];
        snprintf(name, sizeof(name), "libnss_%s.so.2", word);
        /* Since glibc 2.34 these two need no file. */
        const bool built_in = strcmp(word, "files") == 0 || strcmp(word, "dns") == 0;
        if (*word != '[' && !dlopen(name, RTLD_NOW) && !built_in)
            continue;
        int length = snprintf(kept + used, SERVICES - used, "%s ", word);
        if (length < 0 || (size_t)length >= SERVICES - used)
            break;
        used += (size_t)length;
    }
    kept[used] = 0;
}

/* Fixes every database to the services of this host's nsswitch.conf that can be loaded now: one
   that cannot be, since it is not installed, would be looked for again in the container. */
static void fix_services(void)
{
    static const char *const databases[] = {
        "aliases",  "ethers", "group",     "gshadow",   "hosts", "netgroup", "networks",
        "passwd",   "protocols", "publickey", "rpc", "services", "shadow",
    };
    enum { COUNT = sizeof(databases) / sizeof(databases[0]) };
    char kept[COUNT][SERVICES] = {{0}}, line[512];
    FILE *file = fopen("/etc/nsswitch.conf", "re");

    while (file && fgets(line, sizeof(line), file)) {
        char *colon = strchr(line, ':'), *start = line + strspn(line, " \t");
        if (!colon)
            continue;
        *colon = 0;
        start[strcspn(start, " \t")] = 0;
        for (int i = 0; i < COUNT; i++)
            if (strcmp(start, databases[i]) == 0)
                keep_loadable(kept[i], colon + 1);
    }
    if (file)
        fclose(file);
    for (int i = 0; i < COUNT; i++) {
        const char *services = kept[i][0] && kept[i][0] != '[' ? kept[i] : "files";
        (void)__nss_configure_lookup(databases[i], services); /* of no use: one unknown to it */
    }
    /* dlopen()ed when a thread is cancelled, and for a name that is not ASCII. */
    (void)dlopen("libgcc_s.so.1", RTLD_NOW);
    (void)dlopen("libidn2.so.0", RTLD_NOW);
    /* What modules of the standard library need that are imported later (launch/stdlib.py). */
    (void)dlopen("libm.so.6", RTLD_NOW);
    (void)dlopen("libpthread.so.0", RTLD_NOW);
    (void)dlopen("libdl.so.2", RTLD_NOW);
}
#endif

/* Once, in the helper: its children have it. */
void pc_load_name_services(void)
{
    static bool loaded;
    struct addrinfo *found = NULL;

    if (loaded)
        return;
    loaded = true;
#ifdef __GLIBC__
    fix_services();
#endif
    (void)getpwuid(0);
    if (getaddrinfo("localhost", NULL, NULL, &found) == 0)
        freeaddrinfo(found);
}
