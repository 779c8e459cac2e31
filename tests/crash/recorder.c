/* Records what a process does to the files below DREXNODE_RECORD_ROOT, in order, to DREXNODE_RECORD_LOG.

   Built and preloaded by tests/crash/power_cuts.py. An entry is
       kind:1  path_length:4  path  second_length:4  second  offset:8  data_length:4  data      (little-endian)
   kind: C create, W write, S sync of a file's data, D sync of a directory, R rename (second = new path),
   U unlink, T truncate (offset = new length). Only what LevelDB and Python use is wrapped. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FILES 4096
static char *paths[FILES];
static int log_fd = -1;
static char root[1024];
static size_t root_length;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void start(void) {
    const char *folder = getenv("DREXNODE_RECORD_ROOT"), *log = getenv("DREXNODE_RECORD_LOG");
    if (!folder || !log) return;
    snprintf(root, sizeof root, "%s", folder);
    root_length = strlen(root);
    log_fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND, 0600);
}

static int is_ours(const char *path) {
    return log_fd >= 0 && path && strncmp(path, root, root_length) == 0;
}

static void put(const void *data, size_t size) {
    const char *at = data;
    while (size) {
        ssize_t done = syscall(SYS_write, log_fd, at, size);
        if (done < 0) abort();
        at += done;
        size -= done;
    }
}

static void put_text(const char *text) {
    uint32_t length = strlen(text);
    put(&length, 4);
    put(text, length);
}

static void record(char kind, const char *path, const char *second, uint64_t offset, const void *data,
                   uint32_t size) {
    put(&kind, 1);
    put_text(path);
    put_text(second);
    put(&offset, 8);
    put(&size, 4);
    put(data, size);
}

static const char *path_of(int fd) { return fd >= 0 && fd < FILES ? paths[fd] : NULL; }

static int open_any(int at, const char *path, int flags, mode_t mode) {
    int exists = 0;
    struct stat found;
    pthread_mutex_lock(&lock);
    if (is_ours(path)) exists = syscall(SYS_newfstatat, AT_FDCWD, path, &found, 0) == 0;
    int fd = syscall(SYS_openat, at, path, flags, mode);
    if (fd >= 0 && fd < FILES) {
        int saved = errno;
        free(paths[fd]);
        paths[fd] = NULL;
        if (is_ours(path)) {
            paths[fd] = strdup(path);
            if ((flags & O_CREAT) && !exists) record('C', path, "", 0, "", 0);
            else if (flags & O_TRUNC) record('T', path, "", 0, "", 0);
        }
        errno = saved;
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

#define OPEN_BODY(at)                                     \
    mode_t mode = 0;                                      \
    if (flags & (O_CREAT | O_TMPFILE)) {                  \
        va_list rest;                                     \
        va_start(rest, flags);                            \
        mode = va_arg(rest, mode_t);                      \
        va_end(rest);                                     \
    }                                                     \
    return open_any(at, path, flags, mode);

int open(const char *path, int flags, ...) { OPEN_BODY(AT_FDCWD) }
int open64(const char *path, int flags, ...) { OPEN_BODY(AT_FDCWD) }
int openat(int at, const char *path, int flags, ...) { OPEN_BODY(at) }
int openat64(int at, const char *path, int flags, ...) { OPEN_BODY(at) }

int close(int fd) {
    pthread_mutex_lock(&lock);
    if (fd >= 0 && fd < FILES) {
        free(paths[fd]);
        paths[fd] = NULL;
    }
    int result = syscall(SYS_close, fd);
    pthread_mutex_unlock(&lock);
    return result;
}

ssize_t write(int fd, const void *data, size_t size) {
    if (!path_of(fd)) return syscall(SYS_write, fd, data, size);
    pthread_mutex_lock(&lock);
    int appends = syscall(SYS_fcntl, fd, F_GETFL) & O_APPEND;
    off_t offset = syscall(SYS_lseek, fd, 0, appends ? SEEK_END : SEEK_CUR);
    ssize_t done = syscall(SYS_write, fd, data, size);
    if (done > 0) record('W', paths[fd], "", offset, data, done);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset) {
    if (!path_of(fd)) return syscall(SYS_pwrite64, fd, data, size, offset);
    pthread_mutex_lock(&lock);
    ssize_t done = syscall(SYS_pwrite64, fd, data, size, offset);
    if (done > 0) record('W', paths[fd], "", offset, data, done);
    pthread_mutex_unlock(&lock);
    return done;
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return pwrite64(fd, data, size, offset); }

static int sync_any(int fd, long call) {
    pthread_mutex_lock(&lock);
    int result = syscall(call, fd);
    struct stat found;
    if (result == 0 && path_of(fd)) {
        int is_folder = fstat(fd, &found) == 0 && S_ISDIR(found.st_mode);
        record(is_folder ? 'D' : 'S', paths[fd], "", 0, "", 0);
    }
    pthread_mutex_unlock(&lock);
    return result;
}
int fsync(int fd) { return sync_any(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_any(fd, SYS_fdatasync); }

static int rename_any(const char *from, const char *to) {
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
    if (result == 0 && is_ours(from)) record('R', from, to, 0, "", 0);
    pthread_mutex_unlock(&lock);
    return result;
}
int rename(const char *from, const char *to) { return rename_any(from, to); }
int renameat(int from_at, const char *from, int to_at, const char *to) { return rename_any(from, to); }

int unlink(const char *path) {
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    if (result == 0 && is_ours(path)) record('U', path, "", 0, "", 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int ftruncate64(int fd, off_t length) {
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_ftruncate, fd, length);
    if (result == 0 && path_of(fd)) record('T', paths[fd], "", length, "", 0);
    pthread_mutex_unlock(&lock);
    return result;
}
int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }
