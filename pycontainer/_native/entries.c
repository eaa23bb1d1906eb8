/* Directories, files and symbolic links on the container's own file systems. */
#include "setup.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define UMASK 022u /* of every child, see clone.c */

int pc_make_directory(const char *path, uint32_t mode)
{
    const char *name;
    struct stat status;
    int parent;
    int error = pc_open_own_parent(path, &name, &parent);
    if (error)
        return error;
    if (mkdirat(parent, name, mode) != 0) {
        if (errno != EEXIST)
            return errno;
        if (fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) != 0)
            return errno;
        if (!S_ISDIR(status.st_mode))
            return ENOTDIR;
    }
    /* Sticky and set-gid bits, which mkdir() leaves to the file system, and what the umask cut. */
    if ((mode & (~0777u | UMASK)) && fchmodat(parent, name, mode, 0) != 0)
        return errno;
    return 0;
}

int pc_write_file(const char *path, const char *content, size_t length, uint32_t mode)
{
    const char *name;
    int parent, fd;
    int error = pc_open_own_parent(path, &name, &parent);
    if (error)
        return error;
    fd = openat(parent, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return errno;
    while (!error && length > 0) {
        ssize_t written = write(fd, content, length);
        if (written < 0)
            error = errno == EINTR ? 0 : errno;
        else {
            content += written;
            length -= (size_t)written;
        }
    }
    if (!error && (mode & UMASK) && fchmod(fd, mode) != 0)
        error = errno;
    close(fd);
    return error;
}

int pc_make_symlink(const char *path, const char *to)
{
    const char *name;
    int parent;
    int error = pc_open_own_parent(path, &name, &parent);
    if (error)
        return error;
    return symlinkat(to, parent, name) != 0 ? errno : 0;
}
