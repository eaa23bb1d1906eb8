/* Reading the caller's request, and running the plan in it. */
#include "pycontainer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { INLINE = 1 << 17 };

static const struct pc_request *current;

/* What came with the request besides its memfd: the files of members of the cgroups that the
   container is to enter, and in a loader those of the watch behind them. */
static int others[1 + PC_WATCH_PARENTS + PC_WATCH_MOST]; /* and a memfd that none wants */
static int other_count;

/* And what a program is to have of its caller's, above the numbers that have a use here. */
static int passed[PC_PASSED_MOST];
static int passed_count;

const struct pc_request *pc_current_request(void)
{
    return current;
}

static int say_failure(struct pc_failure failure)
{
    pc_say(PC_SAY_SETUP_FAILED, &failure, sizeof(failure));
    return failure.error;
}

static bool fits(const struct pc_request *request, uint64_t size)
{
    uint64_t steps_end = (uint64_t)request->steps + (uint64_t)request->step_count * sizeof(struct pc_step);
    uint64_t text_end = (uint64_t)request->text + request->text_length;
    return request->magic == PC_MAGIC && request->steps % 8 == 0 && steps_end <= size &&
           text_end <= size && request->payload <= size &&
           request->payload_length <= size - request->payload &&
           request->before_hook <= request->before_start &&
           request->before_start <= request->step_count;
}

/* Takes what a program is to have from the end of *fds*.  Returns 0 or an errno. */
static int take_passed(const struct pc_request *request, const int *fds, int *count)
{
    const struct pc_command *command = (const void *)((const char *)request + request->payload);

    if (!(request->flags & PC_REQUEST_COMMAND) || request->payload_length < sizeof(*command))
        return 0;
    if (command->passed > PC_PASSED_MOST || (int)command->passed > *count)
        return EBADMSG;
    *count -= (int)command->passed;
    memcpy(passed, fds + *count, command->passed * sizeof(*passed));
    passed_count = (int)command->passed;
    return pc_raise_fds(passed, passed_count);
}

/* Those descriptors; how many. */
int pc_passed(int *fds)
{
    memcpy(fds, passed, (size_t)passed_count * sizeof(*fds));
    return passed_count;
}

/* The lowest of their numbers from *first* on; ~0 when there is none. */
unsigned pc_next_passed(unsigned first)
{
    unsigned next = ~0U;

    for (int i = 0; i < passed_count; i++)
        if ((unsigned)passed[i] >= first && (unsigned)passed[i] < next)
            next = (unsigned)passed[i];
    return next;
}

/* In a process that has a copy of them besides the program. */
void pc_drop_passed(void)
{
    while (passed_count > 0)
        close(passed[--passed_count]);
}

/* The first message of the call, checked; NULL when there is none (the caller has gone) or it is
   not ours, which the caller then has been told. */
const struct pc_request *pc_receive_request(void)
{
    static char buffer[INLINE] __attribute__((aligned(16)));
    int fds[1 + PC_WATCH_PARENTS + PC_WATCH_MOST + PC_PASSED_MOST];
    int count = sizeof(fds) / sizeof(fds[0]), memfd = -1;
    ssize_t length = pc_receive(PC_FD_CALL, buffer, sizeof(buffer), fds, &count, 0);
    const struct pc_request *request = (const void *)buffer;
    uint64_t size = length > 0 ? (uint64_t)length : 0;
    int error = 0;

    if (length == 0)
        return NULL;
    if (length < 0) {
        error = (int)-length;
        count = 0;
    } else if (size < sizeof(*request) || request->magic != PC_MAGIC)
        error = EBADMSG;
    else if (request->flags & PC_REQUEST_MEMFD) {
        struct stat status;
        memfd = count > 0 ? fds[0] : -1;
        if (memfd < 0 || fstat(memfd, &status) != 0)
            error = EBADMSG;
        else {
            void *mapped = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE,
                                memfd, 0);
            if (mapped == MAP_FAILED)
                error = errno;
            request = mapped;
            size = (uint64_t)status.st_size;
        }
    }
    if (memfd >= 0)
        close(memfd);
    if (!error && (size < sizeof(*request) || !fits(request, size)))
        error = EBADMSG;
    if (!error)
        error = take_passed(request, fds, &count);
    other_count = count - (memfd >= 0);
    if (!error && (other_count < 0 || other_count > (int)(sizeof(others) / sizeof(others[0]))))
        error = EBADMSG;
    if (error) {
        say_failure((struct pc_failure){.step = -1, .error = error, .stage = PC_STAGE_REQUEST});
        return NULL;
    }
    memcpy(others, fds + (memfd >= 0), (size_t)other_count * sizeof(*others));
    current = request;
    return request;
}

/* In a loader: the last *count* descriptors are the watch's. */
bool pc_take_watch_descriptors(int *fds, int count)
{
    if (other_count < count)
        return false;
    other_count -= count;
    memcpy(fds, others + other_count, (size_t)count * sizeof(*fds));
    return true;
}

/* Those of the cgroups, whose numbers a supervisor changes; how many. */
int pc_cgroup_members(int *members)
{
    const int count = other_count < PC_WATCH_PARENTS ? other_count : PC_WATCH_PARENTS;
    memcpy(members, others, (size_t)count * sizeof(*members));
    return count;
}

void pc_set_cgroup_members(const int *members, int count)
{
    memcpy(others, members, (size_t)count * sizeof(*members));
    other_count = count;
}

/* Enters the container's cgroups, if it has any.  Returns 0 or an errno. */
int pc_become_member(bool namespace)
{
    const int count = other_count;
    other_count = 0;
    return pc_enter_cgroups(others, count, namespace);
}

/* Closes whatever is still held of the host but the standard library: its /proc, the lifeline, the
   old root's mounts. */
static int close_from(int first)
{
    return pc_close_from((unsigned)first);
}

/* Whether the container's powers end at it. */
static bool has_walls(void)
{
    const uint32_t walls = PC_NS_USER | PC_NS_MNT;
    return (pc_ordered()->namespaces & walls) == walls;
}

int pc_close_all_but_call(void)
{
    pc_proc = -1;
    return close_from(PC_FD_CALL + 1);
}

/* Runs the steps before (0) or after (1) the populate hook, or those of the process that runs the
   function or program, which may be the child of an init (2).  The caller is told of a failure.
   Returns 0 or an errno. */
int pc_run_plan(int part)
{
    const uint32_t ends[] = {current->before_hook, current->before_start, current->step_count};
    struct pc_failure failure = {.step = -1};
    int error = pc_run_steps(current, part == 0 ? 0 : ends[part - 1], ends[part], &failure);
    if (error)
        return say_failure(failure);
    if (part == 1) {
        error = pc_tie_to_parent();
        if (error)
            return say_failure((struct pc_failure){.step = -1, .error = error, .stage = PC_STAGE_TIE});
        if (!has_walls())
            pc_drop_stdlib();
        /* An init that is not process 1 looks for its children there (end_survivors()). */
        const bool keeps = (current->flags & PC_REQUEST_INIT) && getpid() != 1;
        if (keeps && pc_proc != PC_FD_STATUS && dup3(pc_proc, PC_FD_STATUS, O_CLOEXEC) < 0)
            return say_failure((struct pc_failure){.step = -1, .error = errno, .stage = PC_STAGE_TIE});
        error = close_from(keeps ? PC_FD_STATUS + 1 : PC_FD_STATUS);
        if (error)
            return say_failure(
                (struct pc_failure){.step = -1, .error = error, .stage = PC_STAGE_START});
        pc_proc = keeps ? PC_FD_STATUS : -1;
    }
    return 0;
}

/* Whether the function or program has a filter. */
bool pc_has_filter(void)
{
    const struct pc_step *steps = (const void *)((const char *)current + current->steps);

    for (uint32_t i = current->before_start; i < current->step_count; i++)
        if (steps[i].op == PC_OP_INSTALL_FILTER)
            return true;
    return false;
}

/* Binds an init, or an idle container's only process, as what is below it is bound: by a filter of
   its own if that has one, and to the same capabilities, which may be cut after the filter (it takes
   one of them).  Before what is below it can touch it.  Returns 0 or an errno. */
int pc_limit_init(void)
{
    const struct pc_step *steps = (const void *)((const char *)current + current->steps);
    int error = pc_has_filter() ? pc_install_init_filter() : 0;

    for (uint32_t i = current->before_start; !error && i < current->step_count; i++)
        if (steps[i].op == PC_OP_LIMIT_CAPABILITIES)
            error = pc_limit_capabilities(steps[i].number[0], steps[i].number[1] == 0);
    return error;
}
