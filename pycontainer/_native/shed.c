/* Giving up an interpreter's memory, in a process that will never run Python again.

   An init is a copy of the helper.  The kernel would take its thousand pages apart when the program
   has ended, while the caller waits: a tenth of the whole call.  And what the program may look at,
   in /proc/1, should tell it nothing: the arguments that the helper was started with say where the
   caller's modules lie and how the caller was called. */
#include "pycontainer.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <locale.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)

enum { LEAST = 1 << 17, MOST_SEGMENTS = 512 };

/* The data of the program and its libraries, as the loader knows them: where a library's zeroes end,
   nothing else tells. */
static struct {
    uintptr_t start, end;
} segments[MOST_SEGMENTS];
static int segment_count;

static int note_segments(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size;
    (void)unused;
    for (int i = 0; i < info->dlpi_phnum && segment_count < MOST_SEGMENTS; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_W))
            continue;
        segments[segment_count].start = info->dlpi_addr + part->p_vaddr;
        segments[segment_count++].end = info->dlpi_addr + part->p_vaddr + part->p_memsz;
    }
    return segment_count == MOST_SEGMENTS;
}

struct mapping {
    uintptr_t start, end;
    const char *mode, *name;
};

/* The heap, the arenas of small objects (1 MiB each, which the kernel may join to the zeroes of a
   library that lies before), what malloc(3) has mapped by itself, and the interpreter's own data:
   types, modules.  What C library and loader keep for themselves stays; nothing here is bound lazily
   (-z now) and nothing allocates.  exe: the name of the program that runs. */
static void shed(const struct mapping *mapping, const char *exe)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t thread = (uintptr_t)pthread_self();
    uintptr_t start = mapping->start, end = mapping->end;
    const char *base = strrchr(mapping->name, '/');

    if (strncmp(mapping->mode, "rw-p", 4) != 0 || (thread >= start && thread < end))
        return;
    if (mapping->name[0] == 0) {
        for (int i = 0; i < segment_count; i++)
            if (segments[i].start < end && segments[i].end > start)
                start = (segments[i].end + page - 1) & -page;
        if (segment_count == MOST_SEGMENTS || start >= end || end - start < LEAST)
            return; /* smaller ones are the loader's */
    } else if (base && (strcmp(mapping->name, exe) == 0 || strncmp(base, "/libpython", 10) == 0))
        end -= page; /* the last may hold what the C library keeps there: environ (ld(1), "-z copyreloc") */
    else if (strcmp(mapping->name, "[heap]") != 0)
        return;
    if (start < end)
        (void)madvise((void *)start, end - start, MADV_DONTNEED);
}

static char text[1 << 15];

static void read_own(const char *name)
{
    size_t length = 0;
    ssize_t more = 0;
    int fd = openat(pc_proc, name, O_RDONLY | O_CLOEXEC);

    while (fd >= 0 && length < sizeof(text) - 1 &&
           (more = read(fd, text + length, sizeof(text) - 1 - length)) > 0)
        length += (size_t)more;
    if (fd >= 0)
        close(fd);
    text[length] = 0;
}

/* What /proc/PID/cmdline and environ show: arg_start to env_end of proc_pid_stat(5), each 0 for
   whom it does not concern. */
static void hide_arguments(void)
{
    static const char title[] = "container-init"; /* comm holds 15 (proc_pid_comm(5)) */
    unsigned long long places[4] = {0};

    read_own("self/stat");
    char *rest = strrchr(text, ')');
    for (int field = 3; rest && field <= 51; field++) {
        rest = strchr(rest + 1, ' ');
        if (rest && field >= 48)
            places[field - 48] = strtoull(rest, NULL, 10);
    }
    for (int i = 0; i < 4; i += 2)
        if (places[i] && places[i] < places[i + 1])
            memset((void *)(uintptr_t)places[i], 0, (size_t)(places[i + 1] - places[i]));
    if (places[0] && places[1] - places[0] > sizeof(title))
        memcpy((void *)(uintptr_t)places[0], title, sizeof(title));
    prctl(PR_SET_NAME, title, 0, 0, 0);
}

/* Once; needs the host's /proc. */
void pc_shed_interpreter(void)
{
    static char exe[1024];
    static bool done;
    ssize_t more;

    if (done)
        return;
    done = true;
    hide_arguments();
    read_own("self/maps");
    more = readlinkat(pc_proc, "self/exe", exe, sizeof(exe) - 1);
    exe[more > 0 ? more : 0] = 0;
    setlocale(LC_ALL, "C"); /* another's tables lie on the heap */
    segment_count = 0;
    (void)dl_iterate_phdr(note_segments, NULL);
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        struct mapping mapping;
        char *rest = line;
        int words = 0;
        *end = 0;
        mapping.start = strtoull(rest, &rest, 16);
        mapping.end = strtoull(rest + 1, &rest, 16);
        mapping.mode = rest + 1;
        while (*rest && words < 4) { /* offset, device, inode */
            rest += strspn(rest, " ");
            rest += strcspn(rest, " ");
            words++;
        }
        mapping.name = rest + strspn(rest, " ");
        shed(&mapping, exe);
    }
}

#else

void pc_shed_interpreter(void)
{
}

#endif
