/* SPDX-License-Identifier: Apache-2.0 */
/* trace.c - reading a file of request arrivals, plain or gzip */
#include "trace.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <zlib.h>

#define LINE_BYTES     512
#define COMPLAINTS_MAX 5

static const char header_ms[] = "timestamp_ms,context_tokens,generated_tokens";
static const char header_azure[] = "TIMESTAMP,ContextTokens,GeneratedTokens";

struct reader {
    gzFile          file;
    const char     *path;
    FILE           *complaints;
    enum trace_form form;
    uint64_t        line_number;
    uint64_t        bad_lines;
    uint64_t        base_ns; /* arrival of the first request: the workload starts there */
    size_t          capacity;
    struct workload workload;
    char            line[LINE_BYTES];
};

static void complain(struct reader *reader, const char *reason)
{
    if (reader->bad_lines++ < COMPLAINTS_MAX)
        fprintf(reader->complaints, "%s:%llu: %s\n", reader->path,
                (unsigned long long)reader->line_number, reason);
}

enum line_result { LINE_READ, LINE_BAD, LINE_END };

/*
 * Read a line without its end into reader->line. A line that is too long, or that holds a zero byte, is
 * read to its end and is bad. Both line ends of Unix and of Windows are taken.
 */
static enum line_result read_line(struct reader *reader, const char **reason)
{
    size_t length = 0;
    int    c;

    *reason = NULL;
    while ((c = gzgetc(reader->file)) != -1 && c != '\n') {
        if (c == 0)
            *reason = "the line holds a zero byte";
        else if (length == LINE_BYTES - 1)
            *reason = "the line is longer than 511 bytes";
        else
            reader->line[length++] = (char)c;
    }
    if (c == -1 && length == 0 && !*reason) return LINE_END;
    if (length && reader->line[length - 1] == '\r') length--;
    reader->line[length] = '\0';
    reader->line_number++;
    return *reason ? LINE_BAD : LINE_READ;
}

/* The first line chooses the form. Returns true when it is a header, which holds no request. */
static bool take_header(struct reader *reader)
{
    static const char byte_order_mark[] = "\xef\xbb\xbf";
    const char       *line = reader->line;

    if (!strncmp(line, byte_order_mark, 3)) line += 3;
    if (!strcmp(line, header_azure))
        reader->form = TRACE_FORM_AZURE;
    else if (strcmp(line, header_ms) != 0)
        return false;
    return true;
}

/* Returns -1 when memory is exhausted; a bad line is complained about and is no failure here. */
static int take_line(struct reader *reader)
{
    struct workload_request request;
    struct workload        *workload = &reader->workload;
    const char             *reason = trace_parse(reader->line, reader->form, &request);

    if (!reason) {
        if (!workload->count) reader->base_ns = request.arrival_ns;
        if (request.arrival_ns < reader->base_ns ||
            (workload->count && request.arrival_ns - reader->base_ns <
                                    workload->requests[workload->count - 1].arrival_ns))
            reason = "the request arrives before the one on the line above";
    }
    if (reason) {
        complain(reader, reason);
        return 0;
    }
    request.arrival_ns -= reader->base_ns;
    return workload_append(workload, &reader->capacity, request);
}

static int read_lines(struct reader *reader)
{
    const char      *reason;
    enum line_result result;

    while ((result = read_line(reader, &reason)) != LINE_END) {
        if (result == LINE_BAD) {
            complain(reader, reason);
            continue;
        }
        if (reader->line_number == 1 && take_header(reader)) continue;
        if (take_line(reader) < 0) {
            fprintf(reader->complaints, "%s: out of memory after %zu requests\n", reader->path,
                    reader->workload.count);
            return -1;
        }
    }
    return 0;
}

/* True when the file ended well. zlib tells a cut or damaged stream only here. */
static bool file_ended_well(struct reader *reader)
{
    int         code = Z_OK;
    const char *text = gzerror(reader->file, &code);

    if (code == Z_OK || code == Z_STREAM_END) return true;
    if (code == Z_BUF_ERROR)
        text = "the compressed data is cut off";
    else if (code == Z_ERRNO)
        text = strerror(errno);
    fprintf(reader->complaints, "%s: after line %llu: %s\n", reader->path,
            (unsigned long long)reader->line_number, text);
    return false;
}

/* Everything that must hold once all lines are read. */
static bool accepted(struct reader *reader)
{
    if (reader->bad_lines) {
        fprintf(reader->complaints, "%s: %llu bad lines of %llu%s; nothing is replayed\n",
                reader->path, (unsigned long long)reader->bad_lines,
                (unsigned long long)reader->line_number,
                reader->bad_lines > COMPLAINTS_MAX ? " (the first 5 are shown)" : "");
        return false;
    }
    if (!reader->workload.count) {
        fprintf(reader->complaints, "%s: the file holds no request\n", reader->path);
        return false;
    }
    return true;
}

int workload_read(const char *path, FILE *complaints, struct workload *out)
{
    struct reader reader = {.path = path, .complaints = complaints, .form = TRACE_FORM_MS};

    errno = 0;
    reader.file = gzopen(path, "rb");
    if (!reader.file) {
        fprintf(complaints, "%s: %s\n", path, strerror(errno ? errno : ENOMEM));
        return -1;
    }
    bool good = read_lines(&reader) == 0 && file_ended_well(&reader) && accepted(&reader);
    gzclose_r(reader.file);
    if (!good) {
        workload_clear(&reader.workload);
        return -1;
    }
    workload_finish(&reader.workload);
    *out = reader.workload;
    return 0;
}
