/* SPDX-License-Identifier: Apache-2.0 */
/* stress_run.c - see stress_run.h */
#include "stress_run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weir/base.h>

#include "command.h"
#include "progress.h"

#define NS_PER_S       UINT64_C(1000000000)
#define ARGUMENTS_MAX  72
#define DESCRIBE_BYTES 4096
#define BAR_MS         250

static void close_both(int ends[2])
{
    close(ends[0]);
    close(ends[1]);
}

/* Starts the program with its output in two pipes. Returns the process, or -1. */
static pid_t start(const char *path, const char *const *arguments, int *out, int *err)
{
    int out_pipe[2], err_pipe[2];

    if (pipe2(out_pipe, O_CLOEXEC) != 0) return -1;
    if (pipe2(err_pipe, O_CLOEXEC) != 0) {
        close_both(out_pipe);
        return -1;
    }
    pid_t child = fork();
    if (child == 0) {
        dup2(out_pipe[1], STDOUT_FILENO);
        dup2(err_pipe[1], STDERR_FILENO);
        execv(path, (char *const *)(uintptr_t)arguments);
        _exit(127);
    }
    close(out_pipe[1]);
    close(err_pipe[1]);
    if (child < 0) {
        close(out_pipe[0]);
        close(err_pipe[0]);
        return -1;
    }
    *out = out_pipe[0];
    *err = err_pipe[0];
    return child;
}

static int wait_for(pid_t child)
{
    int status;

    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

json_t *stress_describe(const char *path)
{
    const char *const arguments[] = {path, "--describe", NULL};
    char              text[DESCRIBE_BYTES];
    size_t            length = 0;
    ssize_t           bytes;
    int               out, err;

    pid_t child = start(path, arguments, &out, &err);
    if (child < 0) return NULL;
    close(err);
    while (length < sizeof(text) - 1 && (bytes = read(out, text + length, sizeof(text) - 1 - length)) > 0) length += (size_t)bytes;
    text[length] = '\0';
    close(out);
    json_t *description = wait_for(child) == 0 ? json_loads(text, 0, NULL) : NULL;
    if (description && !json_is_string(json_object_get(description, "imitates"))) {
        json_decref(description);
        return NULL;
    }
    return description;
}

/* Pass on what there is. False: the stream has ended. */
static bool forward(int from, int to)
{
    char    text[4096];
    ssize_t bytes = read(from, text, sizeof(text));

    if (bytes < 0) return errno == EINTR;
    for (ssize_t at = 0; at < bytes;) {
        ssize_t written = write(to, text + at, (size_t)(bytes - at));
        if (written <= 0) return bytes > 0; /* nobody listens: the program must not hang for that */
        at += written;
    }
    return bytes > 0;
}

static void watch(const struct stress_run *run, int out, int err)
{
    struct progress progress;
    uint64_t        begin_ns = weir_clock_ns();
    struct pollfd   both[2] = {{.fd = out, .events = POLLIN}, {.fd = err, .events = POLLIN}};
    const int       to[2] = {run->quiet ? STDERR_FILENO : STDOUT_FILENO, STDERR_FILENO};
    const char     *name = strrchr(run->path, '/');

    progress_init(&progress, stderr);
    while (both[0].fd >= 0 || both[1].fd >= 0) {
        if (poll(both, 2, BAR_MS) < 0 && errno != EINTR) break;
        for (size_t i = 0; i < 2; i++) {
            if (both[i].fd < 0 || !(both[i].revents & (POLLIN | POLLHUP | POLLERR))) continue;
            progress_clear(&progress);
            if (!forward(both[i].fd, to[i])) both[i].fd = -1;
        }
        progress_time(&progress, name ? name + 1 : run->path, weir_clock_ns() - begin_ns, run->seconds * NS_PER_S);
    }
    progress_clear(&progress);
}

int stress_run(const struct stress_run *run, json_t **result)
{
    const char *arguments[ARGUMENTS_MAX];
    char        file[] = "/tmp/weir_stress.XXXXXX";
    size_t      count = 0;
    int         out, err;

    if (run->arguments_count + 4 > ARGUMENTS_MAX) return EXIT_STATUS_USAGE;
    int results = mkostemp(file, O_CLOEXEC);
    arguments[count++] = run->path;
    for (size_t i = 0; i < run->arguments_count; i++) arguments[count++] = run->arguments[i];
    if (results >= 0) {
        close(results);
        arguments[count++] = "--json";
        arguments[count++] = file;
    }
    arguments[count] = NULL;
    fflush(NULL);
    pid_t child = start(run->path, arguments, &out, &err);
    int   status = EXIT_STATUS_USAGE;
    if (child < 0) {
        fprintf(stderr, "weir stress: %s: %s\n", run->path, strerror(errno));
    } else {
        watch(run, out, err);
        close(out);
        close(err);
        status = wait_for(child);
    }
    if (results >= 0) {
        *result = json_load_file(file, 0, NULL);
        unlink(file);
    }
    if (status > 128) fprintf(stderr, "weir stress: %s ended by signal %d\n", run->path, status - 128);
    return status == 0 || status == EXIT_STATUS_USAGE ? status : EXIT_STATUS_FOUND;
}
