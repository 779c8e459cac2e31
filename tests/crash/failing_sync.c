/* Lets one sync of a file or directory below a folder fail with EIO, as a dying disk does.

   Built and preloaded by tests/crash/failing_syncs.py, which arms it in each child; for a whole node by
   DREXNODE_FAIL_SYNC_BELOW and DREXNODE_FAIL_SYNC_NUMBER in its environment. Syncs count from 1; the one
   that fails reaches no disk, all others do. The kernel reports such an error once: the next fsync of the
   same file succeeds although pages are gone, so a program that tries again believes a lie. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static char root[1024], failed[1024];
static long left;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void fail_sync(const char *folder, long number) {
    snprintf(root, sizeof root, "%s", folder);
    failed[0] = 0;
    left = number;
}

__attribute__((constructor)) static void start(void) {
    const char *folder = getenv("DREXNODE_FAIL_SYNC_BELOW"), *number = getenv("DREXNODE_FAIL_SYNC_NUMBER");
    if (folder && number) fail_sync(folder, atol(number));
}

const char *failed_sync(void) { return failed; }

static int fails(int fd) {
    char link[64], path[1024];
    int now = 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    pthread_mutex_lock(&lock);
    if (left > 0 && strncmp(path, root, strlen(root)) == 0 && --left == 0) {
        memcpy(failed, path, length + 1);
        now = 1;
    }
    pthread_mutex_unlock(&lock);
    return now;
}

int fsync(int fd) {
    if (fails(fd)) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_fsync, fd);
}

int fdatasync(int fd) {
    if (fails(fd)) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_fdatasync, fd);
}
