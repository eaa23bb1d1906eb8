/* Reading the caller's request, and running the plan in it. */
#include "pycontainer.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { INLINE = 1 << 17 };

static const struct pc_request *current;

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

/* The first message of the call, checked; NULL when there is none (the caller has gone) or it is
   not ours, which the caller then has been told. */
const struct pc_request *pc_receive_request(void)
{
    static char buffer[INLINE] __attribute__((aligned(16)));
    int memfd = -1, fds = 1;
    ssize_t length = pc_receive(PC_FD_CALL, buffer, sizeof(buffer), &memfd, &fds, 0);
    const struct pc_request *request = (const void *)buffer;
    uint64_t size = length > 0 ? (uint64_t)length : 0;
    int error = 0;

    if (length == 0)
        return NULL;
    if (length < 0)
        error = (int)-length;
    else if (size < sizeof(*request) || request->magic != PC_MAGIC)
        error = EBADMSG;
    else if (request->flags & PC_REQUEST_MEMFD) {
        struct stat status;
        if (fds != 1 || fstat(memfd, &status) != 0)
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
    if (fds == 1)
        close(memfd);
    if (!error && (size < sizeof(*request) || !fits(request, size)))
        error = EBADMSG;
    if (error) {
        say_failure((struct pc_failure){.step = -1, .error = error, .stage = PC_STAGE_REQUEST});
        return NULL;
    }
    current = request;
    return request;
}

/* Closes whatever is still held of the host: its /proc, the lifeline, the old root's mounts. */
static int close_from(int first)
{
    return syscall(SYS_close_range, (unsigned)first, ~0U, 0) != 0 ? errno : 0;
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
