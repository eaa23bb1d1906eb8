/* What the parts of the helper share.  Python sees what cdef.h repeats; a test compares the two. */
#ifndef PYCONTAINER_H
#define PYCONTAINER_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- the plan: an array of steps and one blob of texts (plan/pack.py writes it) ---- */

enum {
    PC_OP_MAP_IDS = 1,
    PC_OP_BECOME,
    PC_OP_MAKE_PRIVATE,
    PC_OP_ROOT_TMPFS,
    PC_OP_ROOT_DIRECTORY,
    PC_OP_MAKE_DIRECTORY,
    PC_OP_WRITE_FILE,
    PC_OP_MAKE_SYMLINK,
    PC_OP_MOUNT,
    PC_OP_BIND,
    PC_OP_CONSOLE,
    PC_OP_PIVOT,
    PC_OP_ROOT_READ_ONLY,
    PC_OP_LOCK,
    PC_OP_SET_HOSTNAME,
    PC_OP_LOOPBACK_UP,
    PC_OP_NEW_KEYRING,
    PC_OP_CHANGE_DIRECTORY,
    PC_OP_LIMIT_CAPABILITIES,
    PC_OP_NO_NEW_PRIVILEGES,
    PC_OP_REFUSE_SET_ID,
    PC_OP_SET_LIMIT,
    PC_OP_SET_AFFINITY,
    PC_OP_INSTALL_FILTER,
};

enum {
    PC_STEP_OPTIONAL = 1,
    PC_STEP_CREATE_TARGET = 2,
    PC_STEP_IGNORE_EPERM = 4,
    PC_STEP_RECURSIVE = 8,
    PC_STEP_DEVICE = 16,
    PC_STEP_TREE = 32,
    PC_STEP_OPTIONAL_TARGET = 64,
    PC_STEP_INSIDE = 128,
};

enum {
    PC_MOUNT_READ_ONLY = 1,
    PC_MOUNT_NO_SUID = 2,
    PC_MOUNT_NO_DEV = 4,
    PC_MOUNT_NO_EXEC = 8,
    PC_MOUNT_STRICT_ATIME = 16,
    PC_MOUNT_NO_ATIME = 32,
    PC_MOUNT_NO_SYMFOLLOW = 64,
};

/* What a PC_OP_SET_LIMIT bounds. */
enum {
    PC_LIMIT_CPU,
    PC_LIMIT_FILE_SIZE,
    PC_LIMIT_DATA,
    PC_LIMIT_STACK,
    PC_LIMIT_CORE,
    PC_LIMIT_PROCESSES,
    PC_LIMIT_OPEN_FILES,
    PC_LIMIT_ADDRESS_SPACE,
};

struct pc_step {
    uint16_t op;
    uint16_t flags;
    uint32_t mode;
    uint32_t text[3];
    uint32_t length;
    uint64_t number[3];
};

/* ---- the messages ---- */

enum { PC_MAGIC = 0x70796331 }; /* "pyc1" */

/* Namespaces as bits of our own, so that Python needs none of the kernel's. */
enum {
    PC_NS_USER = 1,
    PC_NS_PID = 2,
    PC_NS_MNT = 4,
    PC_NS_NET = 8,
    PC_NS_IPC = 16,
    PC_NS_UTS = 32,
    PC_NS_CGROUP = 64,
    PC_NAMESPACES = 7, /* how many kinds there are */
};

/* The caller orders a child of the forkserver; the descriptors of PC_FD_* go along. */
enum {
    PC_ORDER_PARENT_MAPS = 1, /* the forkserver writes the id maps (it has the capability) */
    PC_ORDER_LOADER = 2,      /* first a child without new namespaces that loads the function */
    PC_ORDER_JOIN = 4,        /* an excursion: a plain child that joins the target's namespaces */
};

struct pc_order {
    uint32_t magic;
    uint32_t flags;
    uint32_t namespaces;
    uint32_t reserved;
    char uid_map[256];
    char gid_map[256];
};

/* The descriptors of an order, in this order; in the child each has the number PC_FD_*. */
enum {
    PC_FD_STDIN = 0,
    PC_FD_STDOUT = 1,
    PC_FD_STDERR = 2,
    PC_FD_CALL = 3,     /* the caller's: request, result */
    PC_FD_STATUS = 4,   /* the supervisor's: started, exited; never open in a container */
    PC_FD_CWD = 5,      /* the caller's working directory */
    PC_FD_TARGET = 6,   /* a join's pidfd */
    PC_FD_COUNT = 7,
    PC_FD_LIFELINE = 7, /* hangs up when the supervisor dies */
    PC_FD_MAPPED = 8,   /* readable when the parent has written the id maps */
    PC_FD_KEPT = 9,     /* the first number that is closed in a child */
};

/* What the supervisor of a child tells its caller (on PC_FD_STATUS). */
enum { PC_STATUS_STARTED = 1, PC_STATUS_FAILED, PC_STATUS_EXITED };

struct pc_status {
    uint32_t kind;
    int32_t value;       /* pid | errno | wait status */
    uint64_t user_us;    /* of the child and all that it reaped */
    uint64_t system_us;
    uint64_t wall_ns;    /* from the clone to the reaping */
    uint64_t max_rss;    /* bytes, the largest single process */
};

/* The request: first message on PC_FD_CALL.  Offsets count from its start.  With
   PC_REQUEST_MEMFD the message is this struct alone, and everything else lies in a memfd that
   begins with a copy of the struct. */
enum {
    PC_REQUEST_MEMFD = 1,
    PC_REQUEST_IDLE = 2,   /* no function: set up, then only the init runs */
    PC_REQUEST_INIT = 4,   /* the function is a child of an init */
    PC_REQUEST_WAIT = 8,   /* wait for the caller's word before the function starts */
    PC_REQUEST_JOIN_OWNER = 16, /* join the owner of the pid namespace first */
};

struct pc_request {
    uint32_t magic;
    uint32_t flags;
    uint32_t steps;        /* offset of the struct pc_step array, 8-aligned */
    uint32_t before_hook;  /* how many run before the populate hook */
    uint32_t step_count;
    uint32_t text;         /* offset of the blob */
    uint32_t text_length;
    uint32_t uid_map;      /* offset in the blob of the map that the child writes itself, or 0 */
    uint32_t gid_map;
    uint32_t lock_uid_map; /* the same for the lock's namespace */
    uint32_t lock_gid_map;
    uint32_t lock_mapper;  /* the lock's maps need a second process that stays outside */
    uint64_t payload;      /* offset of what Python reads */
    uint64_t payload_length;
    /* a join */
    uint32_t join_namespaces;
    uint32_t join_uid, join_gid;
    uint32_t join_no_new_privileges; /* PC_JOIN_* */
    uint32_t join_pid; /* for PC_REQUEST_JOIN_OWNER */
    uint32_t before_start; /* how many steps run before the function's own process */
    uint64_t join_capabilities[5]; /* inheritable permitted effective bounding ambient */
};

/* What a child says on PC_FD_CALL: one kind byte, then the body. */
enum {
    PC_SAY_SETUP_FAILED = 1, /* struct pc_failure */
    PC_SAY_LOAD_FAILED = 2,  /* an encoded exception */
    PC_SAY_THREADED = 3,     /* loading the function started threads: send it to a loader */
    PC_SAY_READY = 4,        /* set up; the function starts now */
    PC_SAY_VALUE = 5,
    PC_SAY_EXCEPTION = 6,
    PC_SAY_UNENCODABLE = 7,  /* text: why the value does not cross */
    PC_SAY_ENDED = 8,        /* int32 wait status of the function's process, from the init */
    PC_SAY_HOOK_FAILED = 9,  /* an encoded exception of populate_filesystem */
    PC_SAY_VALUE_PICKLE = 10,
};

enum {
    PC_JOIN_NO_NEW_PRIVILEGES = 1,
    PC_JOIN_REFUSE_SET_ID = 2,     /* the target has the filter of PC_OP_REFUSE_SET_ID */
    PC_JOIN_REFUSE_ATTRIBUTES = 4, /* and its second one */
};

enum { PC_AT_NOTHING, PC_AT_SOURCE, PC_AT_TARGET };

struct pc_failure {
    int32_t step;  /* index, or -1: before the steps */
    int32_t error; /* errno */
    int32_t at;    /* which path of the step: PC_AT_* */
    int32_t stage; /* PC_STAGE_*, when step is -1 */
};

enum {
    PC_STAGE_NONE,
    PC_STAGE_START,   /* descriptors, /proc */
    PC_STAGE_REQUEST, /* reading the request */
    PC_STAGE_FORK,
    PC_STAGE_TIE,     /* the parent's death signal */
    PC_STAGE_JOIN,    /* setns */
    PC_STAGE_JOIN_OWNER,
    PC_STAGE_JOIN_IDS,
    PC_STAGE_JOIN_CAPABILITIES,
    PC_STAGE_JOIN_FILTERS,
};

/* ---- the parts ---- */

/* wire.c */
ssize_t pc_receive(int socket, void *buffer, size_t size, int *fds, int *fd_count, int flags);
int pc_send(int socket, const void *buffer, size_t size, const int *fds, int fd_count);
int pc_receive_status(int socket, struct pc_status *status, int *pidfd);
void pc_close(int *fd);
uint64_t pc_now(void);
struct rusage;
struct pc_status pc_end_status(int wait_status, const struct rusage *usage, uint64_t started);

/* attributes.c */
uint64_t pc_kernel_mount_attributes(uint64_t flags, uint64_t *clear);

/* caller.c */
int pc_clone_root_read_only(void);
int pc_clone_file_read_only(const char *path);
int pc_open_source(const char *path, bool recursive, uint64_t flags, int user_namespace);
int pc_graft(int tree, const char *path, int submount);
int pc_make_user_namespace(const char *uid_map, const char *gid_map);
void pc_fill_fresh(void *target, const void *source, size_t size);
int pc_probe_user_namespace(void);
uint64_t pc_effective_capabilities(void);
int pc_fingerprint(char *buffer, size_t size);

/* setup.c */
int pc_run_steps(const struct pc_request *request, uint32_t first, uint32_t last,
                 struct pc_failure *failure);

/* identity.c: each returns 0 or an errno */
int pc_map_ids(const char *uid_map, const char *gid_map);
int pc_take_ids(uint32_t uid, uint32_t gid);
int pc_become(uint32_t uid, uint32_t gid);
int pc_lock(const char *uid_map, const char *gid_map, bool mapper);
int pc_limit_capabilities(uint64_t kept);
int pc_set_capabilities(const uint64_t sets[5]);
int pc_refuse_set_id(bool attributes);
int pc_new_keyring(void);
int pc_enter_user_namespace(int control);
int pc_write_at(int directory, const char *name, const char *text);
extern int pc_proc; /* O_PATH of the host's /proc, opened before the first mount */

/* bounds.c: each returns 0 or an errno */
int pc_set_limit(uint64_t resource, uint64_t soft, uint64_t hard);
int pc_set_affinity(const void *set, size_t size);
int pc_install_filter(const void *program, size_t size, uint64_t flags);

/* child.c */
void pc_default_signals(void);
void pc_reset_signals(void);
int pc_child_arrange(const int *fds, int lifeline, int mapped);
int pc_tie_to_parent(void);
void pc_end_children(void);
void pc_init(pid_t main_child, int say) __attribute__((noreturn));
void pc_exit_as(int wait_status, int say) __attribute__((noreturn));
void pc_signals_of_init(void);
int pc_say(int kind, const void *body, size_t length);
int pc_say_with(int kind, const void *body, size_t length, int fd);
int pc_wait_for_word(void);

/* request.c */
const struct pc_request *pc_receive_request(void);
const struct pc_request *pc_current_request(void);
int pc_run_plan(int part);
int pc_close_all_but_call(void);

/* clone.c */
int pc_namespace_flags(uint32_t namespaces);
int pc_raise_fds(int *fds, int count);
pid_t pc_spawn(const struct pc_order *order, const int *fds, int lifeline, bool received,
               int *pidfd);
pid_t pc_spawn_spare(const struct pc_order *order, int socket, int lifeline, int *pidfd);
void pc_await_order(void);
const struct pc_order *pc_ordered(void);
int pc_is_loader(void);
int pc_is_join(void);
int pc_fork_below_init(void);

/* server.c */
enum { PC_SERVED_END, PC_SERVED_CHILD, PC_SERVED_SPARE };
int pc_serve(int control, int caller);
int pc_supervise_one(const struct pc_order *order, const int *fds, int watched, bool received);
int pc_supervise_loaded(void);

/* join.c */
int pc_join(const struct pc_request *request, struct pc_failure *failure);
void pc_load_name_services(void);

/* target.c */
struct pc_target {
    int32_t state; /* as in /proc/PID/status: 'S', 'Z', ... */
    uint32_t differing; /* PC_NS_* that are not ours */
    uint32_t outer_uid, outer_gid; /* effective ids as we see them */
    uint32_t uid, gid;             /* as its user namespace has them, or UINT32_MAX */
    uint64_t capabilities[5];
    uint32_t filters, reserved; /* seccomp filters */
};
int pc_namespace_numbers(int directory, uint64_t numbers[PC_NAMESPACES]);
int pc_look_at(int pid, struct pc_target *target);

/* visit.c */
int pc_fork_visitor(void);
int pc_say_ready_as_visitor(void);
/* library.c */
void *pc_symbol(const char *library, const char *name);


#endif
