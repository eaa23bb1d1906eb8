/* The two processes of an excursion, in one memory.

   A pid namespace that is joined holds for children only (setns(2)), so the joiner needs a child.
   A fork would copy an interpreter's page tables and then its pages, one fault each, while the
   joiner does nothing but wait.  So the child takes over the joiner's memory as vfork(2) has it:
   the joiner sleeps in the kernel until its child has ended. */
#include "pycontainer.h"

#include <Python.h>
#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
#include <ucontext.h>

/* The joiner waits on a stack of its own; the child goes on where the joiner was. */
static char waiting_stack[16384] __attribute__((aligned(16)));
static ucontext_t going_on, waiting;
static int failure;

/* In line, because parent and child share the stack that a call would return on. */
static inline __attribute__((always_inline)) long raw_clone3(struct clone_args *arguments, size_t size)
{
#if defined(__x86_64__)
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "0"((long)SYS_clone3), "D"(arguments), "S"(size)
                     : "rcx", "r11", "memory");
    return result;
#else
    register long number __asm__("x8") = SYS_clone3;
    register long first __asm__("x0") = (long)arguments;
    register long second __asm__("x1") = (long)size;
    __asm__ volatile("svc 0" : "+r"(first) : "r"(second), "r"(number) : "memory");
    return first;
#endif
}

static void wait_for_visitor(void)
{
    struct clone_args arguments = {.flags = CLONE_VM | CLONE_VFORK, .exit_signal = SIGCHLD};
    const uint64_t started = pc_now();
    struct rusage usage;
    sigset_t all;
    int status = 0;
    pid_t reaped;

    /* A signal is for the visitor; the caller has a descriptor of it.  SIGKILL works all the same,
       and then the visitor's death signal ends it. */
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    long pid = raw_clone3(&arguments, sizeof(arguments));
    if (pid <= 0) {
        failure = (int)-pid;
        setcontext(&going_on); /* with the signal mask as it was */
        _exit(125);
    }
    do
        reaped = wait4((pid_t)pid, &status, 0, &usage);
    while (reaped < 0 && errno == EINTR);
    kill((pid_t)-pid, SIGKILL); /* its process group; ESRCH when nobody is left */
    /* The caller need not wait until the kernel has taken this process apart as well, an
       interpreter's pages and all: a third of the whole excursion. */
    struct pc_status end = pc_end_status(status, &usage, started);
    (void)pc_send(PC_FD_STATUS, &end, sizeof(end), NULL, 0); /* a caller that has gone: EPIPE */
    pc_exit_as(status, PC_FD_CALL);
}

/* Returns 0 in the visitor, or an errno in the joiner, which otherwise ends with its visitor. */
int pc_fork_visitor(void)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    int joiner = -1, error = 0;

    PyOS_BeforeFork();
    /* It waits in the container: with the caller's two sockets, the standard library, which the
       visitor takes over, and nothing else of ours. */
    error = pc_close_from(PC_FD_STATUS + 1);
    if (!error && ((joiner = (int)syscall(SYS_pidfd_open, getpid(), 0)) < 0 || /* for the visitor */
                   getcontext(&waiting) != 0))
        error = errno;
    if (!error) {
        waiting.uc_stack.ss_sp = waiting_stack;
        waiting.uc_stack.ss_size = sizeof(waiting_stack);
        waiting.uc_link = NULL;
        makecontext(&waiting, wait_for_visitor, 0);
        failure = 0;
        if (swapcontext(&going_on, &waiting) != 0)
            error = errno;
        else
            error = failure;
    }
    if (error) {
        PyOS_AfterFork_Parent();
        PyGILState_Release(gil);
        return error;
    }
    error = pc_tie_to(joiner);
    if (error == EOWNERDEAD) /* it was killed, and with it the caller's interest */
        _exit(128 + SIGKILL);
    PyOS_AfterFork_Child();
    PyGILState_Release(gil);
    return error;
}

#else

int pc_fork_visitor(void)
{
    return pc_fork_below_init();
}

#endif

/* Says that the function starts, with a pidfd of this process for the caller's signals: the
   process that the caller knows is the joiner. */
int pc_say_ready_as_visitor(void)
{
    int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    /* The target's filter, if it is known: the last thing before the function. */
    if (pc_run_plan(2) != 0)
        _exit(125);
    int error = pc_say_with(PC_SAY_READY, NULL, 0, pidfd);
    if (pidfd >= 0)
        close(pidfd);
    return error;
}
