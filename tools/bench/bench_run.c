/* SPDX-License-Identifier: Apache-2.0 */
/* bench_run.c - run one peer's program under a time limit and read its line */
#include "bench.h"
#include "clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OUTPUT_BYTES = 65536, EXIT_NO_PROGRAM = 127, EXIT_NO_SUCH_CASE = 3 };

/* What comes through a pipe, as far as it fits. */
struct output {
    int    fd;
    size_t length;
    char   text[OUTPUT_BYTES];
};

static void say_failure(struct bench_cell *cell, const char *text)
{
    cell->failures++;
    snprintf(cell->failure, sizeof cell->failure, "%s", text);
}

/* In the child, between fork and exec. */
static _Noreturn void become(const struct bench_cell *cell, int out, int err, pid_t parent)
{
    /* A peer must not outlive the program that waits for it. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(EXIT_NO_PROGRAM);
    if (dup2(out, STDOUT_FILENO) < 0 || dup2(err, STDERR_FILENO) < 0) _exit(EXIT_NO_PROGRAM);
    execv(cell->arguments[0], cell->arguments);
    dprintf(STDERR_FILENO, "%s: %s\n", cell->arguments[0], strerror(errno));
    _exit(EXIT_NO_PROGRAM);
}

/* Returns the child's process id and the reading ends, or a negative errno. */
static pid_t start(const struct bench_cell *cell, struct output *out, struct output *err)
{
    int out_pipe[2], err_pipe[2];
    pid_t parent = getpid();

    if (pipe2(out_pipe, O_CLOEXEC) != 0) return -errno;
    if (pipe2(err_pipe, O_CLOEXEC) != 0) {
        int code = -errno;
        close(out_pipe[0]);
        close(out_pipe[1]);
        return code;
    }
    pid_t child = fork();
    if (child == 0) become(cell, out_pipe[1], err_pipe[1], parent);
    int code = child < 0 ? -errno : 0;
    close(out_pipe[1]);
    close(err_pipe[1]);
    if (code < 0) {
        close(out_pipe[0]);
        close(err_pipe[0]);
        return code;
    }
    *out = (struct output){.fd = out_pipe[0]};
    *err = (struct output){.fd = err_pipe[0]};
    return child;
}

/* Read once. Text beyond the capacity is read and dropped. Closes at the end of the stream. */
static void drain(struct output *output)
{
    char spare[4096];
    size_t room = sizeof output->text - 1 - output->length;
    ssize_t bytes = room > 0 ? read(output->fd, output->text + output->length, room)
                             : read(output->fd, spare, sizeof spare);

    if (bytes < 0 && errno == EINTR) return;
    if (bytes <= 0) {
        close(output->fd);
        output->fd = -1;
    } else if (room > 0) {
        output->length += (size_t)bytes;
    }
}

/* False: the time limit passed while the program still held its output open. */
static bool collect(struct output *out, struct output *err, uint64_t limit_ms)
{
    uint64_t deadline_ns = bench_now_ns() + limit_ms * WI_NS_PER_MS;

    while (out->fd >= 0 || err->fd >= 0) {
        struct pollfd both[2] = {{.fd = out->fd, .events = POLLIN},
                                 {.fd = err->fd, .events = POLLIN}};
        uint64_t now_ns = bench_now_ns();
        if (now_ns >= deadline_ns) return false;
        int ready = poll(both, 2, (int)((deadline_ns - now_ns) / WI_NS_PER_MS) + 1);
        if (ready < 0 && errno != EINTR) return false;
        if (ready <= 0) continue;
        if (both[0].revents != 0) drain(out);
        if (both[1].revents != 0) drain(err);
    }
    return true;
}

/* The peer's line is the one that begins with a brace: libraries may print others. */
static json_t *parse(struct output *out)
{
    for (char *line = strtok(out->text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        if (line[0] != '{') continue;
        json_t *value = json_loads(line, 0, NULL);
        if (json_is_object(value)) return value;
        json_decref(value);
    }
    return NULL;
}

static json_t *judge(struct bench_cell *cell, struct output *out, struct output *err, int status)
{
    char text[sizeof cell->failure];

    err->text[strcspn(err->text, "\n")] = '\0';
    if (WIFSIGNALED(status)) {
        snprintf(text, sizeof text, "ended by signal %d: %.120s", WTERMSIG(status), err->text);
    } else if (WEXITSTATUS(status) == EXIT_NO_SUCH_CASE) {
        cell->lacking = true;
        snprintf(text, sizeof text, "%.180s", err->text);
    } else if (WEXITSTATUS(status) != 0) {
        snprintf(text, sizeof text, "exit status %d: %.120s", WEXITSTATUS(status), err->text);
    } else {
        json_t *line = parse(out);
        if (line != NULL) return line;
        snprintf(text, sizeof text, "printed no result: %.120s", err->text);
    }
    say_failure(cell, text);
    return NULL;
}

void bench_cell_run(struct bench_cell *cell)
{
    static struct output out, err;
    json_t *line = NULL;
    int status = 0;

    pid_t child = start(cell, &out, &err);
    if (child < 0) {
        say_failure(cell, strerror(-child));
    } else {
        bool in_time = collect(&out, &err, cell->limit_ms);
        if (!in_time) kill(child, SIGKILL);
        while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
        }
        if (out.fd >= 0) close(out.fd);
        if (err.fd >= 0) close(err.fd);
        if (in_time)
            line = judge(cell, &out, &err, status);
        else
            say_failure(cell, "hung, and was killed at its time limit");
    }
    json_array_append_new(cell->runs, line != NULL ? line : json_null());
}
