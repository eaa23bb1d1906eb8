/* A new child before and after Python: descriptors, signals, its tie to the parent, the init. */
#include "pycontainer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void no_action(int number)
{
    (void)number;
}

/* Default dispositions throughout, in a process that has the caller's (a fork of it). */
void pc_default_signals(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    for (int number = 1; number < NSIG; number++)
        sigaction(number, &action, NULL); /* EINVAL for SIGKILL, SIGSTOP and glibc's own */
}

/* glibc keeps 32 and 33 to itself: posix_spawn() leaves them ignored in what it starts (the
   helper), and its sigaction() refuses them (nptl(7)). */
static void default_internal_signals(void)
{
    enum { KERNEL_SIGSET = 8 }; /* bytes; the kernel's struct sigaction is shorter than this array */
    static const unsigned long default_action[8];

    for (int number = 32; number <= 33; number++)
        (void)!syscall(SYS_rt_sigaction, number, default_action, NULL, KERNEL_SIGSET);
}

/* Default dispositions in a child of the helper.  Every signal is blocked since before the clone
   and stays so until pc_take_signals(): one that its caller relays must not be lost meanwhile.
   Python programs expect EPIPE and EFBIG as exceptions: a handler that does nothing gives them that
   and, unlike SIG_IGN, is not inherited by an exec. */
void pc_reset_signals(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL};

    /* The clone has cleared every handler (CLONE_CLEAR_SIGHAND); what the helper ignores is left:
       SIGINT by its own choice, the others by Python's. */
    sigaction(SIGINT, &action, NULL);
    default_internal_signals();
    action.sa_handler = no_action;
    action.sa_flags = SA_RESTART;
    sigaction(SIGPIPE, &action, NULL);
    sigaction(SIGXFSZ, &action, NULL);
}

/* Puts the PC_FD_COUNT descriptors of an order on their fixed numbers (-1: nothing is there) and
   closes everything else but the standard library.  A descriptor lies at its number already or above
   PC_FD_KEPT (pc_raise_fds), so that no dup3 overwrites one that is still to be moved.
   lifeline and mapped may be -1. */
int pc_child_arrange(const int *fds, int lifeline, int mapped)
{
    const struct {
        int from, to;
    } extra[] = {{lifeline, PC_FD_LIFELINE}, {mapped, PC_FD_MAPPED}};

    for (int i = 0; i < PC_FD_COUNT; i++)
        if (fds[i] < 0)
            close(i); /* EBADF when it is not open */
        else if (fds[i] != i && dup3(fds[i], i, i <= PC_FD_STDERR ? 0 : O_CLOEXEC) < 0)
            return errno;
    for (int i = 0; i < 2; i++)
        if (extra[i].from < 0)
            close(extra[i].to);
        else if (extra[i].from != extra[i].to && dup3(extra[i].from, extra[i].to, O_CLOEXEC) < 0)
            return errno;
    return pc_close_from(PC_FD_STDLIB);
}

/* Dies with the parent.  Every change of credentials clears the setting (prctl(2)), so this comes
   after the last one; a parent that died before shows as a hang-up of the lifeline. */
int pc_tie_to_parent(void)
{
    struct pollfd lifeline = {.fd = PC_FD_LIFELINE, .events = 0};

    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
        return errno;
    if (poll(&lifeline, 1, 0) < 0)
        return errno;
    return lifeline.revents & (POLLHUP | POLLERR | POLLNVAL) ? EOWNERDEAD : 0;
}

/* The same for a child of a child, in a process group of its own.  parent: a pidfd of the parent,
   opened before the fork; a parent in another pid namespace has no number here. */
int pc_tie_to(int parent)
{
    struct pollfd ended = {.fd = parent, .events = POLLIN};

    setpgid(0, 0);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
        return errno;
    if (poll(&ended, 1, 0) < 0)
        return errno;
    return ended.revents ? EOWNERDEAD : 0;
}

int pc_call = PC_FD_CALL;

/* Sends one message to the caller: its kind, its body and, unless -1, a descriptor.
   Returns 0 or an errno. */
int pc_say_with(int kind, const void *body, size_t length, int fd)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    unsigned char kind_byte = (unsigned char)kind;
    struct iovec vector[2] = {{&kind_byte, 1}, {(void *)body, length}};
    struct msghdr message = {.msg_iov = vector, .msg_iovlen = 2};
    ssize_t sent;

    if (fd >= 0) {
        message.msg_control = control.space;
        message.msg_controllen = sizeof(control.space);
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof(int));
    }
    do
        sent = sendmsg(pc_call, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? errno : 0;
}

int pc_say(int kind, const void *body, size_t length)
{
    return pc_say_with(kind, body, length, -1);
}

/* Waits for the caller's word.  Returns 0, or an errno when the caller has gone. */
int pc_wait_for_word(void)
{
    char byte;
    ssize_t length;
    do
        length = recv(PC_FD_CALL, &byte, 1, 0);
    while (length < 0 && errno == EINTR);
    return length == 1 ? 0 : length < 0 ? errno : EPIPE;
}

/* The kernel drops a signal for process 1 that has no handler (pid_namespaces(7)), so a function
   that is process 1 would survive SIGTERM.  The handler ends it and says by which signal. */
static void end_by_signal(int number)
{
    int32_t status = number;
    if (getpid() != 1) {
        /* A fork of the function's has the handler too: it ends as it would anywhere. */
        sigset_t this_one;
        signal(number, SIG_DFL);
        kill(getpid(), number);
        sigemptyset(&this_one);
        sigaddset(&this_one, number);
        sigprocmask(SIG_UNBLOCK, &this_one, NULL);
        return; /* one that the kernel has taken for another thread is under way */
    }
    pc_say(PC_SAY_ENDED, &status, sizeof(status));
    _exit(128 + number);
}

static void on_terminating_signals(void (*handler)(int))
{
    static const int terminating[] = {SIGTERM, SIGHUP, SIGQUIT,   SIGABRT, SIGUSR1, SIGUSR2,
                                      SIGALRM, SIGPROF, SIGIO,   SIGVTALRM, SIGXCPU};
    struct sigaction action = {.sa_handler = handler};

    sigfillset(&action.sa_mask);
    for (size_t i = 0; i < sizeof(terminating) / sizeof(terminating[0]); i++)
        sigaction(terminating[i], &action, NULL);
}

/* From here on signals act, those as well that have come since the clone.  With Python's handler for
   SIGINT in place. */
void pc_take_signals(void)
{
    sigset_t none;

    on_terminating_signals(getpid() == 1 ? end_by_signal : SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Ends as a child did.  An exit status has no room for a signal, so that one is said as well;
   say: where, or -1. */
void pc_exit_as(int wait_status, int say)
{
    if (WIFEXITED(wait_status))
        _exit(WEXITSTATUS(wait_status));
    if (say >= 0) {
        int32_t status = wait_status;
        pc_say(PC_SAY_ENDED, &status, sizeof(status));
    }
    _exit(128 + WTERMSIG(wait_status));
}

/* Kills and reaps every child of this process until there is none, those included that become so
   when their parents die (PR_SET_CHILD_SUBREAPER): what a container without a pid namespace of its
   own leaves, which nothing ends with its first process.  The kernel lists children in
   /proc/PID/task/TID/children (proc_pid_task(5)). */
void pc_end_children(void)
{
    char name[64], list[4096];

    snprintf(name, sizeof(name), "%d/task/%d/children", (int)getpid(), (int)getpid());
    for (;;) {
        int fd = openat(pc_proc, name, O_RDONLY | O_CLOEXEC);
        ssize_t length = fd < 0 ? 0 : read(fd, list, sizeof(list) - 1);
        if (fd >= 0)
            close(fd);
        if (length <= 0)
            break;
        list[length] = 0;
        for (char *rest = list, *end; *rest; rest = end) {
            long pid = strtol(rest, &end, 10);
            if (end == rest)
                break;
            /* Each is followed by a blank; one that is cut off is read whole the next time. */
            if (pid > 1 && *end == ' ')
                kill((pid_t)pid, SIGKILL);
        }
        if (waitpid(-1, NULL, 0) < 0 && errno == ECHILD)
            break;
    }
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
}

static void end_survivors(pid_t main_child)
{
    kill(-main_child, SIGKILL); /* its process group; ESRCH when nobody is left */
    if (pc_proc >= 0) /* else the outer half of an excursion: that is its container's to end */
        pc_end_children();
}

/* An init needs nothing of the caller's but the socket.  say: the socket, or -1. */
void pc_close_as_init(int say)
{
    for (int fd = 0; fd < PC_FD_COUNT; fd++)
        if (fd != say && fd != pc_proc)
            close(fd);
    pc_drop_stdlib();
}

/* Stays as process 1 of a container, or as the outer half of an excursion, while main_child runs
   (0: nothing does, an idle container).  Reaps, forwards signals, and at the end kills and reaps
   what is left, so that its usage is counted.  say: where the child's status is reported, or -1. */
void pc_init(pid_t main_child, int say)
{
    const bool is_init = getpid() == 1;
    sigset_t all;
    int main_status = 0;
    bool ended = false;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL); /* blocked signals reach an init through sigwaitinfo */
    pc_close_as_init(say);

    /* First as if SIGCHLD had come: a child that ended before the signal was blocked left none. */
    int number = SIGCHLD;
    while (!ended) {
        if (number == SIGCHLD) {
            int status;
            pid_t pid;
            while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
                if (pid == main_child) {
                    main_status = status;
                    ended = true;
                }
        } else if (main_child > 0)
            kill(main_child, number);
        else if (number == SIGTERM || number == SIGINT || number == SIGHUP || number == SIGQUIT) {
            main_status = number; /* an idle container ends as if the signal had killed it */
            ended = true;
        }
        while (!ended && (number = sigwaitinfo(&all, NULL)) < 0)
            ; /* EINTR */
    }
    if (is_init) {
        kill(-1, SIGKILL); /* everything in this pid namespace, and nothing else */
        while (waitpid(-1, NULL, 0) > 0)
            ;
    } else if (main_child > 0)
        end_survivors(main_child);
    pc_exit_as(main_status, say);
}
