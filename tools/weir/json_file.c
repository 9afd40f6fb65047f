/* SPDX-License-Identifier: Apache-2.0 */
/* json_file.c - results as JSON: see json_file.h */
#include "json_file.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

int json_file_open(struct json_file *file, const char *path)
{
    memset(file, 0, sizeof(*file));
    if (!path) return 0;
    if (!strcmp(path, "-")) {
        file->out = stdout;
        return 0;
    }
    file->path = path;
    if (asprintf(&file->partial_path, "%s.partial", path) < 0) file->partial_path = NULL;
    file->out = file->partial_path ? fopen(file->partial_path, "w") : NULL;
    if (file->out) return 0;
    fprintf(stderr, "weir replay: %s: %s\n", path, strerror(errno));
    free(file->partial_path);
    return -1;
}

int json_file_close(struct json_file *file, json_t *object)
{
    if (!file->out) return 0;
    bool written = object && json_dumpf(object, file->out, JSON_INDENT(1)) == 0 &&
                   fputc('\n', file->out) != EOF && fflush(file->out) == 0;
    if (!file->path) return written || !object ? 0 : -1;
    written = fclose(file->out) == 0 && written && rename(file->partial_path, file->path) == 0;
    if (!written) {
        if (object) fprintf(stderr, "weir replay: %s: %s\n", file->path, strerror(errno));
        remove(file->partial_path);
    }
    free(file->partial_path);
    return written || !object ? 0 : -1;
}
