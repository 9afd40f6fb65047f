/* SPDX-License-Identifier: Apache-2.0 */
/* json_file.h - results as JSON: in a file that is there only when it is whole, or on standard output */
#ifndef WEIR_TOOL_JSON_FILE_H
#define WEIR_TOOL_JSON_FILE_H

#include <jansson.h>
#include <stdio.h>

/* Written beside the wanted file, whose place it takes in the end. */
struct json_file {
    const char *path; /* NULL: no file */
    char       *partial_path;
    FILE       *out;
};

/*
 * Before the run, so that a path that cannot be written costs nobody the run. path NULL: nothing is wanted; "-": standard
 * output. Negative: it cannot be written, which has been told.
 */
int json_file_open(struct json_file *file, const char *path);

/* object NULL: nothing was measured, and nothing is left behind. Negative: it could not be written, which has been told. */
int json_file_close(struct json_file *file, json_t *object);

#endif
