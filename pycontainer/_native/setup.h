/* What the files of the executor share: the root that is being built, and the steps.
   Every function returns 0 or an errno unless it says otherwise. */
#ifndef PYCONTAINER_SETUP_H
#define PYCONTAINER_SETUP_H

#include "pycontainer.h"

#define PC_EMPTY ""

/* ---- resolve.c: places in the container ---- */

extern int pc_root; /* O_PATH of the new root, or -1 */

void pc_forget_places(void);
int pc_take_root(int mount);
int pc_open_inside(const char *path, uint64_t flags, uint64_t mode);
int pc_open_parent(const char *path, const char **name, int *directory);
int pc_open_own_parent(const char *path, const char **name, int *directory);
void pc_forget_parent(void);
void pc_forget_below(const char *path);
void pc_hold_mount(int mount, const char *path);
int pc_base_of(const char *path, int (*by_name)(int, const char *), int *base, const char **rest);
int pc_open_place_below(int directory, const char *path);
int pc_remember_own_mount(int fd);

/* ---- attach.c: mounts as descriptors; the first three are system calls ---- */

struct mount_attr;
int pc_open_tree(int directory, const char *path, unsigned flags);
int pc_move_mount(int from, const char *from_path, int to, const char *to_path, unsigned flags);
int pc_mount_setattr(int fd, unsigned flags, struct mount_attr *attributes);
struct mount_attr pc_mount_attributes(uint64_t flags);
int pc_create_target(const char *path, bool directory, bool *fresh);
int pc_attach(int tree, const char *target, bool fresh);

/* ---- bind.c: what the host has ---- */

void pc_forget_trees(void);
int pc_bind(const struct pc_step *step, const char *target, const char *source, int *at);
int pc_bind_console(const struct pc_step *step, const char *target, int *at);
int pc_root_directory(const struct pc_step *step, const char *source);

/* ---- filesystem.c: what is made anew ---- */

int pc_mount(const struct pc_step *step, const char *target, const char *type,
             const char *options, int *at);
int pc_make_filesystem(const char *type, const char *options, uint64_t flags, int *made);
int pc_root_tmpfs(const char *size, uint32_t mode);

/* ---- mask.c: what is hidden or made read-only at the end ---- */

void pc_forget_masks(void);
int pc_hold_masks(const char *path, uint64_t number);
int pc_make_read_only(const char *path, int *at);
int pc_mask(const char *path, int *at);

/* ---- entries.c ---- */

int pc_make_directory(const char *path, uint32_t mode);
int pc_write_file(const char *path, const char *content, size_t length, uint32_t mode);
int pc_make_symlink(const char *path, const char *to);

#endif
