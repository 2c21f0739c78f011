/*
 * A disk that takes its time: fsync and fdatasync wait first, as long as SLOW_SYNC_US says.
 *
 *     gcc -shared -fPIC -O2 -o slow_sync.so slow_sync.c -ldl
 *     LD_PRELOAD=./slow_sync.so SLOW_SYNC_US=5000 receiver serve
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static void wait_a_while(void) {
    const char *us = getenv("SLOW_SYNC_US");
    if (us) usleep((useconds_t)atoi(us));
}

static int really(const char *name, int fd) {
    int (*function)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    wait_a_while();
    return function(fd);
}

int fsync(int fd) { return really("fsync", fd); }
int fdatasync(int fd) { return really("fdatasync", fd); }
