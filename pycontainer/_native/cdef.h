/* What Python sees of the helper: repeated from pycontainer.h, checked by the C compiler. */

enum {
    PC_OP_MAP_IDS, PC_OP_BECOME, PC_OP_MAKE_PRIVATE, PC_OP_ROOT_TMPFS, PC_OP_ROOT_DIRECTORY,
    PC_OP_MAKE_DIRECTORY, PC_OP_WRITE_FILE, PC_OP_MAKE_SYMLINK, PC_OP_MOUNT, PC_OP_BIND,
    PC_OP_CONSOLE, PC_OP_PIVOT, PC_OP_ROOT_READ_ONLY, PC_OP_LOCK, PC_OP_SET_HOSTNAME,
    PC_OP_LOOPBACK_UP, PC_OP_NEW_KEYRING, PC_OP_CHANGE_DIRECTORY, PC_OP_LIMIT_CAPABILITIES,
    PC_OP_NO_NEW_PRIVILEGES, PC_OP_REFUSE_SET_ID, PC_OP_SET_LIMIT, PC_OP_SET_AFFINITY,
    PC_OP_INSTALL_FILTER, PC_OP_NO_USER_NAMESPACES, PC_OP_HOLD_MASKS, PC_OP_MAKE_READ_ONLY,
    PC_OP_MASK, ...
};
enum {
    PC_STEP_OPTIONAL, PC_STEP_CREATE_TARGET, PC_STEP_IGNORE_EPERM, PC_STEP_RECURSIVE,
    PC_STEP_DEVICE, PC_STEP_TREE, PC_STEP_OPTIONAL_TARGET, PC_STEP_INSIDE, ...
};
enum {
    PC_MOUNT_READ_ONLY, PC_MOUNT_NO_SUID, PC_MOUNT_NO_DEV, PC_MOUNT_NO_EXEC,
    PC_MOUNT_STRICT_ATIME, PC_MOUNT_NO_ATIME, PC_MOUNT_NO_SYMFOLLOW, ...
};
enum {
    PC_NS_USER, PC_NS_PID, PC_NS_MNT, PC_NS_NET, PC_NS_IPC, PC_NS_UTS, PC_NS_CGROUP, ...
};
enum { PC_MAGIC, ... };
enum { PC_SERVED_END, PC_SERVED_CHILD, PC_SERVED_SPARE, ... };
enum {
    PC_ORDER_PARENT_MAPS, PC_ORDER_LOADER, PC_ORDER_JOIN, PC_ORDER_SWEEP, PC_ORDER_COMMAND,
    PC_ORDER_SIGNAL, ...
};
enum {
    PC_WATCH_CPU_USER, PC_WATCH_CPU_SYSTEM, PC_WATCH_PEAK, PC_WATCH_OOM, PC_WATCH_NOTICE,
    PC_WATCH_KILL, PC_WATCH_PARENTS, PC_CGROUP_NAME, ...
};
enum { PC_WATCHED_NONE, PC_WATCHED_WALL_TIME, PC_WATCHED_CPU_TIME, PC_WATCHED_MEMORY, ... };
enum { PC_FD_CALL, PC_FD_STATUS, PC_FD_LIFELINE, PC_FD_COUNT, PC_FD_STDLIB, PC_FD_KEPT, ... };
enum { PC_STATUS_STARTED, PC_STATUS_FAILED, PC_STATUS_EXITED, PC_STATUS_LOADING, ... };
enum {
    PC_REQUEST_MEMFD, PC_REQUEST_IDLE, PC_REQUEST_INIT, PC_REQUEST_WAIT, PC_REQUEST_JOIN_OWNER,
    PC_REQUEST_COMMAND, PC_REQUEST_TERMINAL, PC_REQUEST_HIDE_INIT, ...
};
enum {
    PC_SAY_SETUP_FAILED, PC_SAY_LOAD_FAILED, PC_SAY_THREADED, PC_SAY_READY, PC_SAY_VALUE,
    PC_SAY_EXCEPTION, PC_SAY_UNENCODABLE, PC_SAY_ENDED, PC_SAY_HOOK_FAILED, PC_SAY_VALUE_PICKLE,
    PC_SAY_WAITING, ...
};
enum {
    PC_LIMIT_CPU, PC_LIMIT_FILE_SIZE, PC_LIMIT_DATA, PC_LIMIT_STACK, PC_LIMIT_CORE,
    PC_LIMIT_PROCESSES, PC_LIMIT_OPEN_FILES, PC_LIMIT_ADDRESS_SPACE, ...
};
enum { PC_JOIN_NO_NEW_PRIVILEGES, PC_JOIN_REFUSE_SET_ID, PC_JOIN_REFUSE_ATTRIBUTES, ... };
enum { PC_REFUSE_MODES, PC_REFUSE_ATTRIBUTES, PC_REFUSE_CAPABILITIES, ... };
enum { PC_AT_NOTHING, PC_AT_SOURCE, PC_AT_TARGET, ... };
enum {
    PC_STAGE_NONE, PC_STAGE_START, PC_STAGE_REQUEST, PC_STAGE_FORK, PC_STAGE_TIE, PC_STAGE_JOIN,
    PC_STAGE_JOIN_OWNER, PC_STAGE_JOIN_IDS, PC_STAGE_JOIN_CAPABILITIES, PC_STAGE_JOIN_FILTERS,
    PC_STAGE_EXEC, PC_STAGE_DIRECTORY, PC_STAGE_CGROUP, PC_STAGE_TERMINAL, ...
};
enum {
    PC_EXEC_PLAIN, PC_EXEC_INTERPRETER, PC_EXEC_LINK, PC_EXEC_DIRECTORY, PC_EXEC_MODE,
    PC_EXEC_MOUNT, ...
};

struct pc_step { ...; };
struct pc_order {
    uint32_t magic, flags, namespaces, signal;
    char uid_map[256], gid_map[256];
};
struct pc_status {
    uint32_t kind;
    int32_t value;
    uint64_t user_us, system_us, wall_ns, max_rss;
    uint32_t limit, reserved;
};
struct pc_watch {
    uint64_t wall_ns, cpu_ns, memory;
    uint32_t files, parents, init, reserved;
    char name[96];
};
struct pc_request {
    uint32_t magic, flags, steps, before_hook, step_count, text, text_length, uid_map, gid_map;
    uint32_t lock_uid_map, lock_gid_map, lock_mapper;
    uint64_t payload, payload_length;
    uint32_t join_namespaces, join_uid, join_gid, join_no_new_privileges, join_pid, before_start;
    uint64_t join_capabilities[5];
};
enum { PC_PASSED_MOST, PC_PID_DIGITS, ... };
struct pc_command {
    uint32_t candidates, arguments, variables, directory, passed, own_pid;
};
struct pc_failure {
    int32_t step, error, at, stage;
};

int pc_fork_supervisor(const struct pc_order *order, const int *fds, const struct pc_watch *watch,
                       int watched);

/* in the forkserver and its children */
void pc_await_order(void);
int pc_serve(int control, int caller);
int pc_supervise_one(const struct pc_order *order, const int *fds, const struct pc_watch *watch,
                     int watched, _Bool received);
const struct pc_request *pc_current_request(void);
int pc_run_plan(int part);
int pc_fork_below_init(void);
int pc_supervise_loaded(void);
int pc_is_loader(void);
int pc_is_join(void);
int pc_close_all_but_call(void);
void pc_take_signals(void);
void pc_init(int main_child, int say);
int pc_join(const struct pc_request *request, struct pc_failure *failure);
void pc_load_name_services(void);
int pc_enter_user_namespace(int control);
int pc_leave_keyring(void);
int pc_hold_stdlib(const char *path, const char *hidden);
int pc_fork_visitor(void);
int pc_say_ready_as_visitor(void);
int pc_say(int kind, const void *body, size_t length);
int pc_say_with(int kind, const void *body, size_t length, int fd);
int pc_wait_for_word(void);
int pc_tie_to_parent(void);

/* in the caller */
int pc_receive_status(int socket, struct pc_status *status, int *pidfd, int *loader);
void pc_close(int *fd);
void pc_discard(int fd);
enum { PC_VIEW_NAMESPACE, PC_VIEW_CLONE, PC_VIEW_READ_ONLY, ... };
int pc_clone_root_read_only(int *refused);
int pc_clone_file_read_only(const char *path);
int pc_open_source(const char *path, _Bool recursive, uint64_t flags, int user_namespace);
int pc_graft(int tree, const char *path, int submount);
int pc_make_user_namespace(const char *uid_map, const char *gid_map);
struct pc_target {
    int32_t state; 
    uint32_t differing; 
    uint32_t outer_uid, outer_gid; 
    uint32_t uid, gid;             
    uint64_t capabilities[5];
    uint32_t filters, reserved;
};
int pc_look_at(int pid, struct pc_target *target);
void pc_fill_fresh(void *target, const void *source, size_t size);
int pc_probe_user_namespace(void);
uint64_t pc_effective_capabilities(void);
void *pc_symbol(const char *library, const char *name);
int pc_fingerprint(char *buffer, size_t size);

/* searching what a build has made */
enum { PC_NEEDLE_LEAST, ... };
#define PC_NEEDLE_NONE ...
struct pc_needles;
struct pc_needles *pc_needles_new(const uint8_t *texts, const uint32_t *lengths, uint32_t count);
void pc_needles_free(struct pc_needles *needles);
void pc_needles_drop(struct pc_needles *needles, uint32_t number);
int64_t pc_needles_find(const struct pc_needles *needles, const uint8_t *block, uint64_t start,
                        uint64_t end, uint32_t *which);
