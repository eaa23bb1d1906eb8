/* Spares: processes for containers and for excursions, cloned before they are ordered; one of each
   for a function, one for a command. */
#include "pycontainer.h"

#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { JOINS = 1, COMMANDS = 2, SPARES = 4 };

static struct spare {
    pid_t pid; /* 0: there is none */
    int pidfd, socket;
    bool wanted;
    struct pc_order order;
} spares[SPARES];

static struct spare *spare_for(const struct pc_order *order)
{
    return &spares[(order->flags & PC_ORDER_JOIN ? JOINS : 0) |
                   (order->flags & PC_ORDER_COMMAND ? COMMANDS : 0)];
}

static void forget(struct spare *spare)
{
    close(spare->pidfd);
    close(spare->socket);
    spare->pid = 0;
}

bool pc_is_spare(pid_t pid)
{
    for (int i = 0; i < SPARES; i++)
        if (spares[i].pid == pid)
            return true;
    return false;
}

/* One that has ended.  Returns whether it was a spare. */
bool pc_forget_spare(pid_t pid)
{
    for (int i = 0; i < SPARES; i++)
        if (spares[i].pid == pid) {
            forget(&spares[i]);
            return true;
        }
    return false;
}

void pc_end_spares(void)
{
    for (int i = 0; i < SPARES; i++)
        if (spares[i].pid > 0) {
            kill(spares[i].pid, SIGKILL); /* not reaped yet, so the number is its own */
            forget(&spares[i]);
        }
}

/* In a copy of their parent. */
void pc_drop_spares(void)
{
    memset(spares, 0, sizeof(spares));
}

/* Hands the order to a spare that was made for such a one.  Returns its pid, or 0. */
pid_t pc_use_spare(const struct pc_order *order, const int *fds, int count, int *pidfd)
{
    struct spare *spare = spare_for(order);

    if (spare->pid == 0 || memcmp(&spare->order, order, sizeof(*order)) != 0 ||
        pc_send(spare->socket, order, sizeof(*order), fds, count) != 0)
        return 0;
    pid_t pid = spare->pid;
    *pidfd = spare->pidfd;
    close(spare->socket);
    spare->pid = 0;
    return pid;
}

/* The next order is likely to be like this one. */
void pc_want_spare(const struct pc_order *order)
{
    struct spare *spare = spare_for(order);

    if (spare->pid > 0) {
        if (memcmp(&spare->order, order, sizeof(*order)) == 0)
            return;
        kill(spare->pid, SIGKILL);
        forget(spare);
    }
    spare->order = *order;
    spare->wanted = true;
}

/* The one that is to be made first, an excursion's before a container's. */
static struct spare *first_wanted(void)
{
    static const int places[SPARES] = {JOINS, JOINS | COMMANDS, 0, COMMANDS};

    for (int i = 0; i < SPARES; i++)
        if (spares[places[i]].wanted)
            return &spares[places[i]];
    return NULL;
}

/* What it is to be made for; NULL when none is wanted. */
const struct pc_order *pc_wanted_spare(void)
{
    const struct spare *spare = first_wanted();
    return spare ? &spare->order : NULL;
}

/* Whether there is one that waits for its order. */
bool pc_spares_wait(void)
{
    for (int i = 0; i < SPARES; i++)
        if (spares[i].pid > 0)
            return true;
    return false;
}

/* Makes the one that is wanted.  0: in it. */
int pc_make_spare(int lifeline)
{
    struct spare *spare = first_wanted();
    int sockets[2];

    spare->wanted = false;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0)
        return 1; /* the next order is served without */
    if (pc_raise_fds(sockets, 2) == 0) {
        spare->pid = pc_spawn_spare(&spare->order, sockets[1], lifeline, &spare->pidfd);
        if (spare->pid == 0)
            return 0;
        spare->socket = sockets[0];
    }
    if (spare->pid <= 0) {
        spare->pid = 0;
        close(sockets[0]);
    }
    close(sockets[1]);
    return 1;
}
