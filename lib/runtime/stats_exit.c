/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats_exit.c - WEIR_STATS_AT_EXIT: the statistics of a runtime when it is destroyed
 *
 * Then everything is counted and nobody counts any more. Not when the process exits: other threads may still be
 * inside weir then, and hold its locks.
 */
#include "base/alloc.h"
#include "base/log.h"
#include "base/settings.h"
#include "runtime/runtime.h"
#include "runtime/stats_fields.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES 1024

/* format, or format:path. 0: neither json nor prometheus. */
static uint32_t parse(const char *setting, const char **path)
{
    const char *colon = strchrnul(setting, ':');
    size_t      length = (size_t)(colon - setting);
    *path = *colon && colon[1] ? colon + 1 : NULL;
    if (length == 4 && strncmp(setting, "json", length) == 0) return WEIR_FORMAT_JSON;
    if (length == 10 && strncmp(setting, "prometheus", length) == 0) return WEIR_FORMAT_PROMETHEUS;
    return 0;
}

/* %p is the process's number. False: too long. */
static bool expand(const char *path, char out[PATH_BYTES])
{
    struct wi_text text;
    wi_text_init(&text, out, PATH_BYTES);
    for (; *path; path++) {
        if (path[0] == '%' && path[1] == 'p') {
            wi_text_add(&text, "%d", getpid());
            path++;
        } else {
            wi_text_add(&text, "%c", *path);
        }
    }
    return text.length < PATH_BYTES;
}

static bool write_all(int fd, const char *text, size_t bytes)
{
    while (bytes > 0) {
        ssize_t written = write(fd, text, bytes);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return false;
        text += written;
        bytes -= (size_t)written;
    }
    return true;
}

/* A line more, so that a file may gather those of many runtimes and processes. */
static bool append(const char *path, const char *text, size_t bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0) return false;
    bool written = write_all(fd, text, bytes);
    return close(fd) == 0 && written;
}

/* As a whole, as who collects such files wants it: nobody reads half of one. */
static bool replace(const char *path, const char *text, size_t bytes)
{
    char beside[PATH_BYTES + 16];
    snprintf(beside, sizeof beside, "%s.%d", path, getpid());
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) return false;
    bool written = write_all(fd, text, bytes);
    written &= close(fd) == 0;
    if (written && rename(beside, path) == 0) return true;
    int err = errno;
    (void)unlink(beside);
    errno = err;
    return false;
}

static char *make_text(struct weir_runtime *rt, uint32_t format, size_t *bytes)
{
    int64_t length = weir_stats_format(rt, format, NULL, 0);
    if (length < 0) return NULL;
    char *text = wi_alloc((size_t)length + 2);
    if (!text) return NULL;
    *bytes = (size_t)length;
    (void)weir_stats_format(rt, format, text, *bytes + 1); /* nothing counts any more: it is as long as before */
    if (format == WEIR_FORMAT_JSON) text[(*bytes)++] = '\n';
    return text;
}

void wi_stats_at_exit(struct weir_runtime *rt)
{
    const char *setting = wi_settings()->stats_at_exit;
    const char *path;
    char        file[PATH_BYTES];
    size_t      bytes = 0;
    if (!*setting) return;
    uint32_t format = parse(setting, &path);
    if (!format || (path && !expand(path, file))) {
        wi_log(WARN, "stats", "WEIR_STATS_AT_EXIT: \"%.64s\" is not json or prometheus, nor one of them with :path", setting);
        return;
    }
    char *text = make_text(rt, format, &bytes);
    if (!text) {
        wi_log(WARN, "stats", "WEIR_STATS_AT_EXIT: no memory for the text");
        return;
    }
    bool written = !path                          ? write_all(STDERR_FILENO, text, bytes)
                   : format == WEIR_FORMAT_JSON ? append(file, text, bytes)
                                                  : replace(file, text, bytes);
    if (!written)
        wi_log(WARN, "stats", "WEIR_STATS_AT_EXIT: %s cannot be written: %s", path ? file : "the standard error", strerror(errno));
    wi_free(text);
}
