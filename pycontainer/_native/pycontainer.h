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
    PC_OP_NO_USER_NAMESPACES,
    PC_OP_HOLD_MASKS,
    PC_OP_MAKE_READ_ONLY,
    PC_OP_MASK,
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
    PC_ORDER_SWEEP = 8, /* no child: cgroups whose names begin with uid_map, in the directories that
                           come along, are to be removed when the caller has gone */
    PC_ORDER_COMMAND = 16, /* its request has PC_REQUEST_COMMAND: no Python will run */
    PC_ORDER_SIGNAL = 32, /* no child: a signal for the process whose pidfd comes along, from a
                             caller that no longer has the power to send it */
};

struct pc_order {
    uint32_t magic;
    uint32_t flags;
    uint32_t namespaces;
    uint32_t signal; /* of a PC_ORDER_SIGNAL */
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
    PC_FD_STDLIB = 9,   /* the standard library, in containers and excursions too */
    PC_FD_KEPT = 10,    /* the first number that is closed in a child */
};

/* What the supervisor watches, behind an order; its descriptors come behind the order's.  A loader
   gets them with its request instead, behind those of the cgroups that its container enters. */
enum {
    PC_WATCH_CPU_USER,   /* cpuacct.usage_user of cgroup v1, or v2's cpu.stat for both */
    PC_WATCH_CPU_SYSTEM, /* cpuacct.usage_sys */
    PC_WATCH_PEAK,       /* memory.max_usage_in_bytes, memory.peak */
    PC_WATCH_OOM,        /* memory.oom_control, memory.events: how often "oom_kill" */
    PC_WATCH_NOTICE,     /* an eventfd: the memory of a v1 cgroup is at an end */
    PC_WATCH_KILL,       /* cgroup.kill */
    PC_WATCH_FILES,
    PC_WATCH_PARENTS = 6, /* the most directories */
    PC_WATCH_MOST = PC_WATCH_FILES + PC_WATCH_PARENTS,
    PC_CGROUP_NAME = 96,
    PC_SWEEP_MOST = 16, /* directories of a PC_ORDER_SWEEP; an order's message has room for them */
};

#define PC_CGROUP_LEAF "inside" /* the cgroup of the processes, below the one with the limits */

struct pc_watch {
    uint64_t wall_ns; /* from the start; 0: without a bound, as the next two */
    uint64_t cpu_ns;  /* of all processes together */
    uint64_t memory;  /* bytes, where no cgroup holds it */
    uint32_t files;   /* 1 << PC_WATCH_*: those that come along, in their order */
    uint32_t parents; /* how many directories come behind them that have a cgroup of this name */
    uint32_t init;    /* 1: the first process is an init of ours */
    uint32_t reserved;
    char name[PC_CGROUP_NAME];
};

/* Which limit ended it. */
enum { PC_WATCHED_NONE, PC_WATCHED_WALL_TIME, PC_WATCHED_CPU_TIME, PC_WATCHED_MEMORY };

/* What the supervisor of a child tells its caller (on PC_FD_STATUS). */
enum {
    PC_STATUS_STARTED = 1,
    PC_STATUS_FAILED,
    PC_STATUS_EXITED,
    PC_STATUS_LOADING, /* a loader is at work, whose pidfd comes along; it reports by itself then */
};

struct pc_status {
    uint32_t kind;
    int32_t value;       /* pid | errno | wait status */
    uint64_t user_us;    /* of the child and all that it reaped */
    uint64_t system_us;
    uint64_t wall_ns;    /* from the clone to the reaping */
    uint64_t max_rss;    /* bytes: the largest single process; the tree's peak where it is known */
    uint32_t limit;      /* PC_WATCHED_* */
    uint32_t reserved;
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
    PC_REQUEST_COMMAND = 32, /* a program instead of a function: the payload is a struct pc_command */
    PC_REQUEST_TERMINAL = 64, /* the program's stdin becomes its controlling terminal */
    PC_REQUEST_HIDE_INIT = 128, /* the program's init is a copy of the caller's process */
};

/* Offsets count from the start of the payload.  Behind the struct lie three lists of uint64_t, each
   ended by a 0: paths to try, the arguments, the environment.  Then come the numbers that the
   descriptors have in the program which come with the request, behind all others; and the texts. */
struct pc_command {
    uint32_t candidates, arguments, variables; /* how many */
    uint32_t directory; /* a join's working directory, or 0 */
    uint32_t passed;    /* how many descriptors, at most PC_PASSED_MOST */
    uint32_t own_pid;   /* where the program's pid is written, for its environment; or 0 */
};

enum { PC_PASSED_MOST = 64, PC_PID_DIGITS = 10 /* the room for own_pid, without the NUL */ };

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
    PC_SAY_WAITING = 11,     /* a command's PC_REQUEST_WAIT: set up, and the word is awaited */
};

enum {
    PC_JOIN_NO_NEW_PRIVILEGES = 1,
    PC_JOIN_REFUSE_SET_ID = 2,     /* the target has the filter of PC_OP_REFUSE_SET_ID */
    PC_JOIN_REFUSE_ATTRIBUTES = 4, /* and its second one */
};

/* What a PC_OP_REFUSE_SET_ID refuses: modes and attributes by filters; file capabilities by giving up
   CAP_SETFCAP, which the lock still needs. */
enum { PC_REFUSE_MODES = 1, PC_REFUSE_ATTRIBUTES = 2, PC_REFUSE_CAPABILITIES = 4 };

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
    PC_STAGE_EXEC,      /* at: PC_EXEC_*; behind the struct the path, a NUL, and a detail */
    PC_STAGE_DIRECTORY, /* a visitor's working directory */
    PC_STAGE_CGROUP,    /* entering one */
    PC_STAGE_TERMINAL,
};

/* Why a program could not be executed, as far as the files tell. */
enum {
    PC_EXEC_PLAIN,
    PC_EXEC_INTERPRETER, /* it is there; its interpreter (the detail) is not */
    PC_EXEC_LINK,        /* a link, and what it leads to (the detail) is not there */
    PC_EXEC_DIRECTORY,
    PC_EXEC_MODE,        /* nobody may execute it */
    PC_EXEC_MOUNT,       /* it lies on a noexec mount */
};

/* ---- the parts ---- */

/* wire.c */
ssize_t pc_receive(int socket, void *buffer, size_t size, int *fds, int *fd_count, int flags);
int pc_send(int socket, const void *buffer, size_t size, const int *fds, int fd_count);
int pc_receive_status(int socket, struct pc_status *status, int *pidfd, int *loader);
void pc_close(int *fd);
void pc_discard(int fd);
uint64_t pc_now(void);
struct rusage;
struct pc_status pc_end_status(int wait_status, const struct rusage *usage, uint64_t started);

/* attributes.c */
uint64_t pc_kernel_mount_attributes(uint64_t flags, uint64_t *clear);

/* caller.c */
int pc_run_aside(int (*main)(void *), void *argument, int flags);
enum { PC_VIEW_NAMESPACE, PC_VIEW_CLONE, PC_VIEW_READ_ONLY }; /* what of it was refused */
int pc_clone_root_read_only(int *refused);
int pc_clone_file_read_only(const char *path);
int pc_open_source(const char *path, bool recursive, uint64_t flags, int user_namespace);
int pc_graft(int tree, const char *path, int submount);
int pc_make_user_namespace(const char *uid_map, const char *gid_map);
void pc_fill_fresh(void *target, const void *source, size_t size);
int pc_probe_user_namespace(void);
uint64_t pc_effective_capabilities(void);
int pc_fingerprint(char *buffer, size_t size);
int pc_fork_supervisor(const struct pc_order *order, const int *fds, const struct pc_watch *watch,
                       int watched);

/* stdlib.c */
int pc_hold_stdlib(const char *path, const char *hidden);
bool pc_holds_stdlib(void);
void pc_drop_stdlib(void);
int pc_close_from(unsigned first);

/* setup.c */
int pc_run_steps(const struct pc_request *request, uint32_t first, uint32_t last,
                 struct pc_failure *failure);

/* identity.c: each returns 0 or an errno */
int pc_map_ids(const char *uid_map, const char *gid_map);
int pc_take_ids(uint32_t uid, uint32_t gid, bool kept);
int pc_become(uint32_t uid, uint32_t gid, bool own_namespace);
int pc_lock(const char *uid_map, const char *gid_map, bool mapper);
int pc_limit_capabilities(uint64_t kept, bool ambient);
int pc_set_capabilities(const uint64_t sets[5]);
int pc_no_user_namespaces(void);
int pc_leave_keyring(void);
int pc_new_keyring(void);
int pc_enter_user_namespace(int control);
int pc_write_at(int directory, const char *name, const char *text);
extern int pc_proc; /* O_PATH of the host's /proc, opened before the first mount */

/* refuse.c */
int pc_refuse_set_id(uint64_t what); /* 0 or an errno */

/* bounds.c: each returns 0 or an errno */
int pc_set_limit(uint64_t resource, uint64_t soft, uint64_t hard);
int pc_set_affinity(const void *set, size_t size);
int pc_install_filter(const void *program, size_t size, uint64_t flags);
int pc_install_init_filter(void);

/* library.c */
void *pc_symbol(const char *library, const char *name);

/* child.c */
void pc_default_signals(void);
void pc_reset_signals(void);
int pc_child_arrange(const int *fds, int lifeline, int mapped);
int pc_tie_to_parent(void);
int pc_tie_to(int parent);
void pc_end_children(void);
void pc_close_as_init(int say);
void pc_init(pid_t main_child, int say) __attribute__((noreturn));
void pc_exit_as(int wait_status, int say) __attribute__((noreturn));
void pc_take_signals(void);
extern int pc_call; /* PC_FD_CALL, unless a program is to have that number for itself */
int pc_say(int kind, const void *body, size_t length);
int pc_say_with(int kind, const void *body, size_t length, int fd);
int pc_wait_for_word(void);

/* cgroup.c */
int pc_enter_cgroups(int *members, int count, bool namespace);
bool pc_read_number(int fd, const char *key, uint64_t *number);
int pc_remove_cgroup(int parent, const char *name, bool patient);
void pc_sweep_later(const char *prefix, const int *parents, int count);
void pc_sweep_cgroups(void);

/* tree.c */
struct pc_tree {
    uint64_t user_us, system_us, memory;
};
void pc_read_tree(pid_t first, struct pc_tree *tree);
uint64_t pc_read_tree_memory(pid_t first, bool init);
int pc_kill_children_of(pid_t pid, bool (*spared)(pid_t pid));
pid_t pc_child_in_session(pid_t session);

/* watch.c */
struct pc_watcher;
int pc_watch_descriptors(const struct pc_watch *watch);
void pc_watch_drop(const struct pc_watch *watch, const int *fds);
struct pc_watcher *pc_watch_begin(const struct pc_watch *watch, const int *fds, pid_t pid,
                                  bool own_pids, uint64_t started);
int pc_watch_notices(void);
int64_t pc_watch_patience(void);
void pc_watch_look(void);
void pc_watch_end(struct pc_watcher *watcher, struct pc_status *status);
void pc_watch_end_all(void);
void pc_forget_watchers(void);

/* request.c */
const struct pc_request *pc_receive_request(void);
const struct pc_request *pc_current_request(void);
int pc_cgroup_members(int *members);
void pc_set_cgroup_members(const int *members, int count);
bool pc_take_watch_descriptors(int *fds, int count);
int pc_become_member(bool namespace);
int pc_run_plan(int part);
bool pc_has_filter(void);
int pc_limit_init(void);
int pc_close_all_but_call(void);
int pc_passed(int *passed);
unsigned pc_next_passed(unsigned first);
void pc_drop_passed(void);

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

/* children.c */
int pc_tell(int socket, struct pc_status status, int pidfd);
void pc_adopt(pid_t pid, int pidfd, int socket, bool own_pids, const struct pc_watch *watch,
              const int *watch_fds, uint64_t started);
void pc_adopt_loader(pid_t pid);
size_t pc_count_children(void);
void pc_reap(int signals);
void pc_kill_children(void);
void pc_forget_children(void);

/* server.c */
enum { PC_SERVED_END, PC_SERVED_CHILD, PC_SERVED_SPARE };
int pc_serve(int control, int caller);
int pc_supervise_one(const struct pc_order *order, const int *fds, const struct pc_watch *watch,
                     int watched, bool received);
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

/* spares.c */
bool pc_is_spare(pid_t pid);
bool pc_forget_spare(pid_t pid);
void pc_end_spares(void);
void pc_drop_spares(void);
pid_t pc_use_spare(const struct pc_order *order, const int *fds, int count, int *pidfd);
void pc_want_spare(const struct pc_order *order);
const struct pc_order *pc_wanted_spare(void);
bool pc_spares_wait(void);
int pc_make_spare(int lifeline);

/* shed.c */
void pc_shed_interpreter(void);

/* command.c */
void pc_run_command(const struct pc_request *request) __attribute__((noreturn));

/* visit.c */
int pc_fork_visitor(void);
int pc_say_ready_as_visitor(void);

/* needles.c */
enum { PC_NEEDLE_LEAST = 4 };
#define PC_NEEDLE_NONE UINT32_MAX
struct pc_needles;
struct pc_needles *pc_needles_new(const uint8_t *texts, const uint32_t *lengths, uint32_t count);
void pc_needles_free(struct pc_needles *needles);
void pc_needles_drop(struct pc_needles *needles, uint32_t number);
int64_t pc_needles_find(const struct pc_needles *needles, const uint8_t *block, uint64_t start,
                        uint64_t end, uint32_t *which);

#endif
