/* What the parts of the floor share. */
#ifndef FLOOR_H
#define FLOOR_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { GUEST_IDS = 65536 };
#define FIRST_HOST_ID "1879048192"

/* What a container of one measurement does beside its own set-up. */
struct task {
    int binds;                  /* read-only binds of directory/0000, directory/0001 ... */
    bool legacy;                /* by mount(2) and a remount in place of open_tree(2) */
    const char *directory;
    bool unlocked;              /* leaves the lock out */
    const char *program;        /* a static program of the host that is bound at /true, or NULL */
};

/* Every result of a system call goes through one of these: a refusal names its step in the answer
   to the harness, and ends the process that met it. */
void refuse(const char *step) __attribute__((noreturn));
int must(long result, const char *step);

/* The parent writes the maps and setresuid follows: an init namespace's root.  Otherwise the child
   maps its one user to 0 by itself. */
extern bool parent_maps;
extern uid_t host_uid; /* in a new user namespace geteuid() says 65534 until it is mapped */
extern gid_t host_gid;

void write_file_at(int directory, const char *path, const char *text, int flags, mode_t mode);
void map_self(void);
void become_root(void);

void set_up_bare(void);                       /* Guix's mounts by mount(2), no lock */
void set_up_default(const struct task *task); /* what pycontainer's default container does */

#endif
