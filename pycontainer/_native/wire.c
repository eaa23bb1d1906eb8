/* Messages with descriptors on SOCK_SEQPACKET sockets. */
#include "pycontainer.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST_FDS = 253 }; /* SCM_MAX_FD, include/net/scm.h */

/* Receives one message and up to *fd_count descriptors (close-on-exec).  A longer message, more
   descriptors or truncation is EMSGSIZE, and what came with it is closed.  Returns the length,
   0 at end of file, or -errno: then there are no descriptors. */
ssize_t pc_receive(int socket, void *buffer, size_t size, int *fds, int *fd_count, int flags)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * MOST_FDS)];
    } control;
    struct iovec vector = {buffer, size};
    struct msghdr message = {
        .msg_iov = &vector,
        .msg_iovlen = 1,
        .msg_control = control.space,
        .msg_controllen = sizeof(control.space),
    };
    int wanted = fd_count ? *fd_count : 0, got = 0;
    bool surplus = false;
    ssize_t length;

    if (fd_count)
        *fd_count = 0;
    do
        length = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | flags);
    while (length < 0 && errno == EINTR);
    if (length < 0)
        return -errno;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (got < wanted)
                fds[got++] = fd;
            else {
                close(fd);
                surplus = true;
            }
        }
    }
    if (surplus || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
        for (int i = 0; i < got; i++)
            close(fds[i]);
        return -EMSGSIZE;
    }
    if (fd_count)
        *fd_count = got;
    return length;
}

/* Takes what a supervisor says, and the descriptor if one comes with it, into memory of the
   caller's: Python cannot be interrupted between the receiving and the keeping.  Returns 1, 0 at
   the end, or -errno: EMSGSIZE when the descriptor could not be received, but the rest has been.
   A second descriptor is the end: whom the caller will kill is told once, before the waiter of an
   excursion, which holds this socket too, has been in the container. */
int pc_receive_status(int socket, struct pc_status *status, int *pidfd, int *loader)
{
    int fd, count = 1;
    ssize_t length = pc_receive(socket, status, sizeof(*status), &fd, &count, 0);
    const bool loading = length == sizeof(*status) && status->kind == PC_STATUS_LOADING;
    int *kept = loading ? loader : pidfd;
    const bool again = count > 0 && *kept >= 0;
    if (again)
        close(fd);
    else if (count > 0)
        *kept = fd;
    if (length == -EMSGSIZE)
        return -EMSGSIZE;
    if (length == sizeof(*status) && !again)
        return 1;
    status->kind = 0;
    return length < 0 ? (int)length : 0;
}

uint64_t pc_now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static uint64_t microseconds(struct timeval time)
{
    return (uint64_t)time.tv_sec * 1000000u + (uint64_t)time.tv_usec;
}

/* What the caller is told at the end of a process that was started at the moment *started*. */
struct pc_status pc_end_status(int wait_status, const struct rusage *usage, uint64_t started)
{
    return (struct pc_status){
        .kind = PC_STATUS_EXITED,
        .value = wait_status,
        .user_us = microseconds(usage->ru_utime),
        .system_us = microseconds(usage->ru_stime),
        .wall_ns = pc_now() - started,
        .max_rss = (uint64_t)usage->ru_maxrss * 1024,
    };
}

/* Closes a descriptor that somebody else has sent.  close(2) of a socket may wait for its peer as long
   as the sender has asked for (SO_LINGER, socket(7)). */
void pc_discard(int fd)
{
    const struct linger off = {0, 0};
    (void)!setsockopt(fd, SOL_SOCKET, SO_LINGER, &off, sizeof(off)); /* ENOTSOCK */
    close(fd);
}

/* Closes a descriptor once, whatever interrupts the Python around it. */
void pc_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Sends one message whole.  Returns 0 or an errno. */
int pc_send(int socket, const void *buffer, size_t size, const int *fds, int fd_count)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * MOST_FDS)];
    } control;
    struct iovec vector = {(void *)buffer, size};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    ssize_t sent;

    if (fd_count > MOST_FDS)
        return EMSGSIZE;
    if (fd_count > 0) {
        message.msg_control = control.space;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)fd_count);
        memset(control.space, 0, message.msg_controllen);
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)fd_count);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * (size_t)fd_count);
    }
    do
        sent = sendmsg(socket, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? errno : 0;
}
