/* Cgroups of containers, which the caller makes: entering them, reading them, removing them.

   Each is two directories, NAME with the limits and NAME/PC_CGROUP_LEAF with the processes: the
   container's cgroup namespace begins at the leaf, so that a cgroup file system mounted inside
   holds none of the limits (cgroup_namespaces(7)). */
#include "pycontainer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- in the container's process ---- */

/* Enters the cgroups whose files of members are open, and closes them.  The cgroup namespace, if it
   is to have one, is made anew, since it begins where its process is.  Returns 0 or an errno. */
int pc_enter_cgroups(int *members, int count, bool namespace)
{
    int error = 0;

    for (int i = 0; i < count; i++) {
        if (!error && write(members[i], "0", 1) != 1)
            error = errno;
        close(members[i]);
        members[i] = -1;
    }
    if (!error && namespace && count > 0 && unshare(CLONE_NEWCGROUP) != 0)
        error = errno;
    return error;
}

/* ---- in its supervisor ---- */

/* The number behind *key* at the start of a line of a small file, or the first one of the file
   (key NULL).  Returns false when there is none. */
bool pc_read_number(int fd, const char *key, uint64_t *number)
{
    char text[4096];
    ssize_t length = pread(fd, text, sizeof(text) - 1, 0);

    if (length <= 0)
        return false;
    text[length] = 0;
    const size_t size = key ? strlen(key) : 0;
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (size && (strncmp(line, key, size) != 0 || line[size] != ' '))
            continue;
        char *end;
        const char *digits = line + size + (size > 0);
        errno = 0;
        *number = strtoull(digits, &end, 10);
        return end != digits && errno == 0;
    }
    return false;
}

static void kill_members(int directory)
{
    char text[4096];
    int fd = openat(directory, "cgroup.procs", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

    if (fd >= 0)
        close(fd);
    if (length <= 0)
        return;
    text[length] = 0;
    for (char *rest = text, *end; *rest; rest = *end ? end + 1 : end) {
        long pid = strtol(rest, &end, 10);
        if (end == rest)
            break;
        /* A number that is cut off has no newline, and is read whole the next time.  0 is a process
           of another pid namespace. */
        if (pid > 1 && *end == '\n')
            kill((pid_t)pid, SIGKILL);
    }
}

/* Removes the cgroup *name* of a directory.  One that still has members is EBUSY: they are killed,
   and given a moment to go if *patient*.  Returns 0 or an errno. */
int pc_remove_cgroup(int parent, const char *name, bool patient)
{
    char leaf[PC_CGROUP_NAME + 16];
    int error = 0;

    snprintf(leaf, sizeof(leaf), "%s/" PC_CGROUP_LEAF, name);
    for (int attempt = 0; attempt < (patient ? 100 : 1); attempt++) {
        if ((unlinkat(parent, leaf, AT_REMOVEDIR) == 0 || errno == ENOENT) &&
            (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT))
            return 0;
        error = errno;
        if (error != EBUSY)
            break;
        int directory = openat(parent, leaf, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (directory >= 0) {
            kill_members(directory);
            close(directory);
        }
        if (patient)
            usleep(1000);
    }
    return error;
}

/* ---- in the helper, for what nobody else has removed ---- */

static struct {
    int parents[PC_SWEEP_MOST];
    int count;
    char prefix[PC_CGROUP_NAME];
} swept;

/* Takes over directories in which the caller makes cgroups whose names begin with *prefix*. */
void pc_sweep_later(const char *prefix, const int *parents, int count)
{
    for (int i = 0; i < swept.count; i++)
        close(swept.parents[i]);
    swept.count = count < PC_SWEEP_MOST ? count : PC_SWEEP_MOST;
    for (int i = 0; i < count; i++)
        if (i < swept.count)
            swept.parents[i] = parents[i];
        else
            close(parents[i]);
    snprintf(swept.prefix, sizeof(swept.prefix), "%s", prefix);
}

static void sweep_directory(int parent, const char *prefix)
{
    int fd = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;

    if (!directory) {
        if (fd >= 0)
            close(fd);
        return;
    }
    while ((entry = readdir(directory)))
        if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0 &&
            strlen(entry->d_name) < PC_CGROUP_NAME)
            pc_remove_cgroup(parent, entry->d_name, true);
    closedir(directory);
}

/* The caller has gone, and its containers with it. */
void pc_sweep_cgroups(void)
{
    for (int i = 0; i < swept.count && swept.prefix[0]; i++)
        sweep_directory(swept.parents[i], swept.prefix);
}
