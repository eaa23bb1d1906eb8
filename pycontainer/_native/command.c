/* Running a program instead of a function: from the order to execve(2) without any Python.

   The program's process is made as vfork(2) makes one, so that an interpreter's pages are neither
   copied nor even counted twice, and the init knows when it goes on whether the program runs. */
#include "pycontainer.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

_Static_assert(sizeof(char *) == sizeof(uint64_t), "offsets are turned into pointers in place");

static struct {
    char **candidates, **arguments, **variables;
    const char *directory; /* of a join: where it goes first */
    const uint64_t *numbers; /* of the descriptors that are passed on, in the program */
    char *own_pid;           /* where the program's pid is to stand, or NULL */
    int parent;            /* a pidfd of the init, for the program's process; or -1 */
    /* what the program's process leaves behind; what it executes has a memory of its own */
    volatile enum { STARTING, EXECUTING, REFUSED } state;
    int error;      /* of execve(2) */
    unsigned which; /* of the candidates */
} command = {.parent = -1};

__attribute__((noreturn)) static void fail(int error, int stage)
{
    struct pc_failure failure = {.step = -1, .error = error, .stage = stage};
    pc_say(PC_SAY_SETUP_FAILED, &failure, sizeof(failure));
    _exit(125);
}

/* Turns the lists of offsets in the payload (struct pc_command) into lists of pointers. */
static bool read_command(const struct pc_request *request)
{
    char *payload = (char *)(uintptr_t)request + request->payload; /* our own copy, writable */
    const uint64_t length = request->payload_length;
    const struct pc_command *header = (const void *)payload;

    if (length <= sizeof(*header) || payload[length - 1] != 0)
        return false;
    const uint32_t counts[] = {header->candidates, header->arguments, header->variables};
    char ***lists[] = {&command.candidates, &command.arguments, &command.variables};
    uint64_t at = sizeof(*header);
    for (int i = 0; i < 3; i++) {
        if (counts[i] >= (length - at) / sizeof(char *))
            return false;
        char **list = *lists[i] = (char **)(payload + at);
        for (uint32_t k = 0; k < counts[i]; k++) {
            uint64_t offset;
            memcpy(&offset, &list[k], sizeof(offset));
            if (offset >= length)
                return false;
            list[k] = payload + offset;
        }
        list[counts[i]] = NULL;
        at += ((uint64_t)counts[i] + 1) * sizeof(char *);
    }
    if (header->directory >= length || header->passed > (length - at) / sizeof(uint64_t) ||
        header->own_pid + (uint64_t)PC_PID_DIGITS >= length)
        return false;
    command.directory = header->directory ? payload + header->directory : NULL;
    command.numbers = (const uint64_t *)(payload + at);
    command.own_pid = header->own_pid ? payload + header->own_pid : NULL;
    return counts[0] > 0 && counts[1] > 0;
}

/* Tries each candidate as execvp(3) does.  Returns only when none could be executed. */
static void execute(void)
{
    command.error = ENOENT;
    command.which = 0;
    for (unsigned i = 0; command.candidates[i]; i++) {
        execve(command.candidates[i], command.arguments, command.variables);
        if (errno == ENOENT || errno == ENOTDIR)
            continue;
        if (command.error != EACCES) {
            command.error = errno;
            command.which = i;
        }
        if (errno != EACCES)
            break;
    }
}

/* ---- why a program cannot be executed ---- */

enum { LINE = 256 /* BINPRM_BUF_SIZE in linux/binfmts.h: what the kernel reads of a "#!" */ };

/* The interpreter that a script or an ELF file asks for; an empty text when there is none. */
static void interpreter_of(const char *path, char found[LINE])
{
    union {
        char text[LINE];
        Elf64_Ehdr elf;
    } head;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    ssize_t length = fd < 0 ? -1 : pread(fd, &head, sizeof(head), 0);

    found[0] = 0;
    if (length > 2 && memcmp(head.text, "#!", 2) == 0) {
        const char *from = head.text + 2, *end = head.text + length;
        size_t used = 0;
        while (from < end && (*from == ' ' || *from == '\t'))
            from++;
        while (from < end && !memchr(" \t\n", *from, 4) && used < LINE - 1)
            found[used++] = *from++;
        found[used] = 0;
    } else if (length >= (ssize_t)sizeof(head.elf) && memcmp(head.text, ELFMAG, SELFMAG) == 0 &&
               head.elf.e_ident[EI_CLASS] == ELFCLASS64) {
        for (int i = 0; i < head.elf.e_phnum && i < 64; i++) {
            Elf64_Phdr part;
            const off_t at = (off_t)(head.elf.e_phoff + (uint64_t)i * head.elf.e_phentsize);
            if (pread(fd, &part, sizeof(part), at) != sizeof(part))
                break;
            if (part.p_type != PT_INTERP)
                continue;
            length = pread(fd, found, LINE - 1, (off_t)part.p_offset);
            found[length > 0 ? length : 0] = 0; /* it ends with a NUL of its own */
            break;
        }
    }
    if (fd >= 0)
        close(fd);
}

/* Tells the caller which file could not be executed and why: the failure, the path, a detail. */
static void explain(void)
{
    unsigned which = command.which;
    struct pc_failure failure = {.step = -1, .error = command.error, .stage = PC_STAGE_EXEC};
    struct stat status;
    struct statvfs mounted;
    char body[sizeof(failure) + 4096 + LINE], detail[LINE] = "";

    if (failure.error == EACCES && command.candidates[1]) {
        /* A directory of PATH that may not be searched holds nothing, as for a shell. */
        for (which = 0; command.candidates[which]; which++)
            if (lstat(command.candidates[which], &status) == 0)
                break;
        if (!command.candidates[which]) {
            failure.error = ENOENT;
            which = 0;
        }
    }
    if (failure.error == ENOENT) /* which of them is there, then? */
        for (unsigned i = 0; command.candidates[i] && failure.at == PC_EXEC_PLAIN; i++) {
            if (lstat(command.candidates[i], &status) != 0)
                continue;
            which = i;
            if (stat(command.candidates[i], &status) != 0) {
                failure.at = PC_EXEC_LINK;
                ssize_t length = readlink(command.candidates[i], detail, LINE - 1);
                detail[length > 0 ? length : 0] = 0;
                break;
            }
            failure.at = PC_EXEC_INTERPRETER;
            char path[LINE];
            interpreter_of(command.candidates[i], detail);
            /* The kernel follows five in a row (fs/exec.c). */
            for (int depth = 0; depth < 5 && detail[0] && access(detail, F_OK) == 0; depth++) {
                memcpy(path, detail, LINE);
                interpreter_of(path, detail);
            }
        }
    const char *path = command.candidates[which];
    if (failure.error == EACCES && stat(path, &status) == 0) {
        if (S_ISDIR(status.st_mode))
            failure.at = PC_EXEC_DIRECTORY;
        else if (!(status.st_mode & 0111))
            failure.at = PC_EXEC_MODE;
        else if (statvfs(path, &mounted) == 0 && (mounted.f_flag & ST_NOEXEC))
            failure.at = PC_EXEC_MOUNT;
    }
    memcpy(body, &failure, sizeof(failure));
    int length = snprintf(body + sizeof(failure), sizeof(body) - sizeof(failure), "%s%c%s", path, 0,
                          detail);
    if (length < 0 || (size_t)length >= sizeof(body) - sizeof(failure))
        length = 0;
    pc_say(PC_SAY_SETUP_FAILED, body, sizeof(failure) + (size_t)length);
}

/* ---- the program's process ---- */

/* Dies with the init: where its pid namespace does not see to that. */
static int tie(void)
{
    struct pollfd parent = {.fd = command.parent, .events = POLLIN};

    if (command.parent < 0)
        return 0;
    setpgid(0, 0);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
        return errno;
    return poll(&parent, 1, 0) != 0 ? EOWNERDEAD : 0;
}

/* Makes the terminal on stdin the controlling terminal of a session that this process leads: so its
   Ctrl-C and its size reach the jobs of the program, and a shell can control them (ioctl_tty(2)). */
static void take_terminal(void)
{
    if (!(pc_current_request()->flags & PC_REQUEST_TERMINAL))
        return;
    /* Process 1 leads one already. */
    if ((getsid(0) != getpid() && setsid() < 0) || ioctl(STDIN_FILENO, TIOCSCTTY, 0) != 0)
        fail(errno, PC_STAGE_TERMINAL);
}

/* Puts the descriptors that are passed on where the program expects them, and its pid into its
   environment.  The caller is told of a failure by a socket that is out of their way. */
static void take_passed(void)
{
    int fds[PC_PASSED_MOST];
    const int count = pc_passed(fds);
    int above = PC_FD_KEPT;

    if (command.own_pid)
        snprintf(command.own_pid, PC_PID_DIGITS + 1, "%d", (int)getpid());
    if (count == 0)
        return;
    for (int i = 0; i < count; i++)
        if (command.numbers[i] >= (uint64_t)above)
            above = (int)command.numbers[i] + 1;
    const int call = fcntl(PC_FD_CALL, F_DUPFD_CLOEXEC, above);
    if (call < 0)
        fail(errno, PC_STAGE_START);
    pc_call = call;
    for (int i = 0; i < count; i++)
        if ((fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, above)) < 0)
            fail(errno, PC_STAGE_START);
    for (int i = 0; i < count; i++)
        if (dup2(fds[i], (int)command.numbers[i]) < 0)
            fail(errno, PC_STAGE_START);
}

/* A program starts with none blocked. */
static void let_signals_in(void)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static int start_program(void *unused)
{
    (void)unused;
    let_signals_in();
    take_terminal();
    int error = tie(), stage = PC_STAGE_TIE;
    if (!error && command.directory && chdir(command.directory) != 0) {
        error = errno;
        stage = PC_STAGE_DIRECTORY;
    }
    if (error)
        fail(error, stage);
    take_passed();
    if (pc_run_plan(2) != 0)
        _exit(125);
    command.state = EXECUTING;
    execute();
    command.state = REFUSED;
    _exit(125);
}

/* Starts the program below this process, which becomes its init. */
__attribute__((noreturn)) static void run_below_init(void)
{
    static char stack[1 << 16] __attribute__((aligned(16)));
    const bool joins = pc_is_join();
    int pidfd = -1, status;

    if (getpid() != 1) {
        command.parent = (int)syscall(SYS_pidfd_open, getpid(), 0);
        if (command.parent < 0)
            fail(errno, PC_STAGE_TIE);
        if (!joins)
            prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    }
    /* Signals are blocked since the clone; the init forwards what has come until then. */
    if (pc_current_request()->flags & PC_REQUEST_WAIT) {
        pc_say(PC_SAY_WAITING, NULL, 0);
        if (pc_wait_for_word() != 0)
            _exit(125);
    }
    /* A copy of the caller's process executes the caller's own interpreter, on the mount that the
       host has of it: /proc/1/exe must not lead there.  A helper's is a read-only clone.  The
       program's process is as ever once it has been executed. */
    const bool hidden = pc_current_request()->flags & PC_REQUEST_HIDE_INIT;
    const bool filtered = !joins && pc_has_filter();
    if (hidden || filtered)
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    pid_t pid = clone(start_program, stack + sizeof(stack),
                      CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, NULL, &pidfd, NULL, NULL);
    pc_call = PC_FD_CALL; /* it shares this memory, not the descriptors */
    if (pid < 0)
        fail(errno, PC_STAGE_FORK);
    pc_drop_passed();
    if (command.state != EXECUTING) {
        if (command.state == REFUSED)
            explain();
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
        pc_exit_as(status, PC_FD_CALL);
    }
    /* Out of the program's reach until it is bound as well; then visitors must be able to join. */
    if (filtered && pc_limit_init() != 0)
        _exit(125);
    if (filtered && !hidden)
        prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    /* The process that the caller knows is this one; a visitor's signals are for the visitor. */
    pc_say_with(PC_SAY_READY, NULL, 0, joins ? pidfd : -1);
    close(pidfd);
    if (command.parent >= 0)
        close(command.parent);
    pc_init(pid, PC_FD_CALL);
}

/* Becomes the program.  That the call's socket ends, without a word, tells that it runs. */
__attribute__((noreturn)) static void run_as_first(void)
{
    if (pc_current_request()->flags & PC_REQUEST_WAIT) {
        pc_say(PC_SAY_WAITING, NULL, 0);
        if (pc_wait_for_word() != 0)
            _exit(125);
    }
    take_terminal();
    take_passed();
    if (pc_run_plan(2) != 0)
        _exit(125);
    let_signals_in();
    execute();
    explain();
    _exit(125);
}

/* In a child that has read a request with PC_REQUEST_COMMAND. */
void pc_run_command(const struct pc_request *request)
{
    if (!read_command(request))
        fail(EBADMSG, PC_STAGE_REQUEST);
    pc_shed_interpreter();
    if (pc_is_join()) {
        struct pc_failure failure = {.step = -1};
        if (pc_join(request, &failure) != 0) {
            pc_say(PC_SAY_SETUP_FAILED, &failure, sizeof(failure));
            _exit(125);
        }
        int error = pc_close_all_but_call();
        if (error)
            fail(error, PC_STAGE_START);
        run_below_init();
    }
    if (pc_run_plan(0) != 0 || pc_run_plan(1) != 0)
        _exit(125);
    if (request->flags & PC_REQUEST_INIT)
        run_below_init();
    run_as_first();
}
