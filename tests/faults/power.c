/*
 * A disk that forgets: loaded before the C library (LD_PRELOAD), it keeps in the folder
 * POWER_DISK what each file of the store held when it was last synced.  That folder is
 * what is left when the power fails and everything unsynced is lost.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

static void keep(int fd) {
    char link[64], path[PATH_MAX], draft[PATH_MAX], kept[PATH_MAX];
    const char *disk = getenv("POWER_DISK");
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (!disk || length < 0) return;
    path[length] = 0;
    const char *name = strrchr(path, '/');
    if (!name || strncmp(name, "/receiver.db", 12)) return;
    snprintf(kept, sizeof kept, "%s%s", disk, name);
    snprintf(draft, sizeof draft, "%s%s.%d", disk, name, (int)gettid());
    int from = open(path, O_RDONLY), to = open(draft, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    struct stat found;
    if (from < 0 || to < 0 || fstat(from, &found)) abort();
    for (off_t at = 0; at < found.st_size;)
        if (sendfile(to, from, &at, found.st_size - at) <= 0) break;
    close(from);
    close(to);
    if (rename(draft, kept)) abort();
}

static int synced(const char *name, int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    int failed = real(fd);
    if (!failed) keep(fd);
    return failed;
}

int fsync(int fd) { return synced("fsync", fd); }
int fdatasync(int fd) { return synced("fdatasync", fd); }
