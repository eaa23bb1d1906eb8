/* What a process is that somebody wants to join: its namespaces against ours, ids, capabilities. */
#include "pycontainer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Reads a whole small file of /proc, NUL-terminated.  0 or an errno. */
static int read_at(int directory, const char *name, char *buffer, size_t size)
{
    size_t used = 0;
    ssize_t length = 0;
    int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    while (used < size - 1 && (length = read(fd, buffer + used, size - 1 - used)) > 0)
        used += (size_t)length;
    int error = length < 0 ? errno : 0;
    close(fd);
    buffer[used] = 0;
    return error;
}

/* What follows a name at the start of a line of /proc/PID/status (proc_pid_status(5)). */
static const char *field(const char *status, const char *name)
{
    const size_t length = strlen(name);
    for (const char *line = status; line; line = strchr(line, '\n'), line = line ? line + 1 : NULL)
        if (strncmp(line, name, length) == 0 && line[length] == ':') {
            line += length + 1;
            return line + strspn(line, " \t");
        }
    return NULL;
}

/* An id as the target's user namespace has it; UINT32_MAX where it has none. */
static int inside(int directory, const char *name, uint32_t outside, uint32_t *id)
{
    char map[1 << 14]; /* 340 lines of 33 bytes at most: user_namespaces(7), uid_m_show() */
    int error = read_at(directory, name, map, sizeof(map));
    unsigned first, start, count;

    *id = UINT32_MAX;
    for (const char *line = map; !error && sscanf(line, "%u %u %u", &first, &start, &count) == 3;) {
        if (outside >= start && outside - start < count)
            *id = first + (outside - start);
        line = strchr(line, '\n');
        if (!line)
            break;
        line++;
    }
    return error;
}

static const struct {
    const char *name;
    uint32_t bit;
} namespaces[PC_NAMESPACES] = {
    {"ns/user", PC_NS_USER}, {"ns/pid", PC_NS_PID}, {"ns/mnt", PC_NS_MNT},
    {"ns/net", PC_NS_NET},   {"ns/ipc", PC_NS_IPC}, {"ns/uts", PC_NS_UTS},
    {"ns/cgroup", PC_NS_CGROUP},
};

/* The inode numbers of a process's namespaces, from the text of the links, "net:[4026531840]":
   that costs half of what following them does.  0 stands for a kind that the kernel lacks.
   directory: its /proc/PID.  Returns 0 or an errno. */
int pc_namespace_numbers(int directory, uint64_t numbers[PC_NAMESPACES])
{
    for (size_t i = 0; i < PC_NAMESPACES; i++) {
        char text[64];
        ssize_t length = readlinkat(directory, namespaces[i].name, text, sizeof(text) - 1);
        if (length < 0 && errno != ENOENT)
            return errno;
        numbers[i] = 0;
        if (length < 0)
            continue;
        text[length] = 0;
        const char *number = strchr(text, '[');
        if (!number || (numbers[i] = strtoull(number + 1, NULL, 10)) == 0)
            return EBADMSG;
    }
    return 0;
}

static int fill(int directory, struct pc_target *target)
{
    static const char *const sets[] = {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"};
    char status[8192];
    const char *found;
    int error = read_at(directory, "status", status, sizeof(status));

    if (error)
        return error;
    found = field(status, "State");
    target->state = found ? *found : '?';
    found = field(status, "Uid"); /* real, effective, saved, file system */
    if (!found || sscanf(found, "%*u %u", &target->outer_uid) != 1)
        return EBADMSG;
    found = field(status, "Gid");
    if (!found || sscanf(found, "%*u %u", &target->outer_gid) != 1)
        return EBADMSG;
    for (size_t i = 0; i < 5; i++) {
        found = field(status, sets[i]);
        target->capabilities[i] = found ? strtoull(found, NULL, 16) : 0;
    }
    found = field(status, "Seccomp_filters");
    target->filters = found ? (uint32_t)strtoul(found, NULL, 10) : 0;
    if (target->state == 'Z' || target->state == 'X')
        return 0; /* its namespaces have gone */
    int own = open("/proc/thread-self", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (own < 0)
        return errno;
    uint64_t ours[PC_NAMESPACES], theirs[PC_NAMESPACES];
    error = pc_namespace_numbers(own, ours);
    close(own);
    if (!error)
        error = pc_namespace_numbers(directory, theirs);
    target->differing = 0;
    for (size_t i = 0; !error && i < PC_NAMESPACES; i++)
        if (ours[i] != theirs[i])
            target->differing |= namespaces[i].bit;
    if (!error)
        error = inside(directory, "uid_map", target->outer_uid, &target->uid);
    if (!error)
        error = inside(directory, "gid_map", target->outer_gid, &target->gid);
    return error;
}

/* Looks at a process.  The caller holds a pidfd of it and checks afterwards that it still lives.
   0 or an errno: ENOENT when there is none, EACCES when it may not be looked at. */
int pc_look_at(int pid, struct pc_target *target)
{
    char name[64];
    int error;

    snprintf(name, sizeof(name), "/proc/%d", pid);
    int directory = open(name, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return errno;
    error = fill(directory, target);
    close(directory);
    return error;
}
