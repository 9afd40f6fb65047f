/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segments.c - shared memory that killed processes have left behind
 *
 * UCX makes a segment as a file, fills it to see that there is room, and unlinks it: from then on it goes with the last who has it open.
 * A process that is killed before that, which takes seconds for large memory, leaves the file, with its memory, for good. So an engine
 * takes away what of this user's nobody has open any more, as it begins and as it ends. A write lease says so: the kernel grants
 * it on a file that is open, or mapped, nowhere else.
 */
#include "ucx/engine.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX "ucx_shm_posix_"

/* The lease is for a moment only. Who opens the file meanwhile makes the kernel send a signal: one that is ignored unless asked for. */
static bool is_nobodys(int fd)
{
    struct stat about;
    if (fstat(fd, &about) != 0 || !S_ISREG(about.st_mode) || about.st_uid != geteuid()) return false;
    return fcntl(fd, F_SETSIG, SIGURG) == 0 && fcntl(fd, F_SETLEASE, F_WRLCK) == 0;
}

void wu_segments_sweep(void)
{
    const char    *path = getenv("UCX_POSIX_DIR");
    DIR           *folder = opendir(path ? path : "/dev/shm");
    struct dirent *entry;
    while (folder && (entry = readdir(folder)) != NULL) {
        if (strncmp(entry->d_name, PREFIX, sizeof PREFIX - 1) != 0) continue;
        int fd = openat(dirfd(folder), entry->d_name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0) continue;
        if (is_nobodys(fd) && unlinkat(dirfd(folder), entry->d_name, 0) == 0)
            wu_log(WEIR_LOG_INFO, "%s is taken away: a process that was killed had left it", entry->d_name);
        (void)close(fd); /* and with it the lease */
    }
    if (folder) (void)closedir(folder);
}
