/* SPDX-License-Identifier: Apache-2.0 */
/* blocks_trace.c - reading recorded accesses to blocks */
#include "blocks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define LINE_BYTES     ((size_t)4 << 20) /* a long prompt's hash_ids on one line */
#define COMPLAINTS_MAX 5
#define SPREAD_NS_MAX  UINT64_C(3000000000)
#define NS_PER_MS      UINT64_C(1000000)
#define SPAN_MS_MAX    UINT64_C(1000000000000) /* about 30 years: more is a wrong unit */

struct reader {
    const char        *path;
    FILE              *complaints;
    uint64_t           line_number;
    uint64_t           bad_lines;
    size_t             capacity;
    uint64_t           last_ms;
    uint64_t           first_ms;
    struct block_trace trace;

    /* Source ids to object numbers: open addressing, a power of two. */
    uint64_t *id;
    uint32_t *number; /* object + 1; 0: free */
    size_t    slots;
};

static int complain(struct reader *reader, const char *reason)
{
    if (reader->bad_lines++ < COMPLAINTS_MAX)
        fprintf(reader->complaints, "%s:%llu: %s\n", reader->path, (unsigned long long)reader->line_number, reason);
    return 0;
}

static size_t slot_of(const struct reader *reader, uint64_t id)
{
    size_t at = (size_t)(id * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (reader->slots - 1);
    while (reader->number[at] && reader->id[at] != id) at = (at + 1) & (reader->slots - 1);
    return at;
}

static int grow_table(struct reader *reader)
{
    struct reader bigger = *reader;
    bigger.slots = reader->slots ? reader->slots * 2 : 1 << 16;
    bigger.id = calloc(bigger.slots, sizeof *bigger.id);
    bigger.number = calloc(bigger.slots, sizeof *bigger.number);
    if (!bigger.id || !bigger.number) {
        free(bigger.id);
        free(bigger.number);
        return -1;
    }
    for (size_t i = 0; i < reader->slots; i++) {
        if (!reader->number[i]) continue;
        size_t at = slot_of(&bigger, reader->id[i]);
        bigger.id[at] = reader->id[i];
        bigger.number[at] = reader->number[i];
    }
    free(reader->id);
    free(reader->number);
    reader->id = bigger.id;
    reader->number = bigger.number;
    reader->slots = bigger.slots;
    return 0;
}

static int add(struct reader *reader, uint64_t ms, uint64_t id)
{
    struct block_trace *trace = &reader->trace;
    if (trace->objects * 2 >= reader->slots && grow_table(reader) < 0) return -1;
    if (trace->count == reader->capacity) {
        size_t               capacity = reader->capacity ? reader->capacity * 2 : 1 << 16;
        struct block_access *access = realloc(trace->access, capacity * sizeof *access);
        if (!access) return -1;
        trace->access = access;
        reader->capacity = capacity;
    }
    size_t at = slot_of(reader, id);
    if (!reader->number[at]) {
        reader->id[at] = id;
        reader->number[at] = (uint32_t)++trace->objects;
    }
    trace->access[trace->count++] = (struct block_access){.at_ns = (ms - reader->first_ms) * NS_PER_MS,
                                                          .object = reader->number[at] - 1};
    return 0;
}

/* Returns NULL, or why the time is refused. */
static const char *take_time(struct reader *reader, uint64_t ms)
{
    if (reader->trace.count == 0) reader->first_ms = ms;
    if (reader->trace.count > 0 && ms < reader->last_ms) return "the time goes back";
    if (ms - reader->first_ms > SPAN_MS_MAX) return "the time is no milliseconds: 30 years after the first";
    reader->last_ms = ms;
    return NULL;
}

static const char *number(const char **at, uint64_t *out, char end)
{
    char *stop;
    if (**at < '0' || **at > '9') return "a number is missing";
    errno = 0;
    *out = strtoull(*at, &stop, 10);
    if (errno) return "a number is too large";
    if (*stop != end) return "the line is not timestamp_ms,object_id,request_id";
    *at = stop + (end != '\0');
    return NULL;
}

static int csv_line(struct reader *reader, const char *line)
{
    uint64_t    ms, object, request;
    const char *reason = number(&line, &ms, ',');
    if (!reason) reason = number(&line, &object, ',');
    if (!reason) reason = number(&line, &request, '\0');
    if (!reason) reason = take_time(reader, ms);
    if (reason) return complain(reader, reason);
    return add(reader, ms, object);
}

static int json_line(struct reader *reader, const char *line)
{
    json_error_t error;
    json_t      *object = json_loads(line, 0, &error);
    json_t      *time = json_object_get(object, "timestamp");
    json_t      *ids = json_object_get(object, "hash_ids");
    const char  *reason = NULL;
    int          err = 0;
    if (!object) {
        reason = "the line is not JSON";
    } else if (!json_is_integer(time) || json_integer_value(time) < 0) {
        reason = "\"timestamp\" is not a time in milliseconds";
    } else if (!json_is_array(ids)) {
        reason = "\"hash_ids\" is not an array";
    } else {
        reason = take_time(reader, (uint64_t)json_integer_value(time));
    }
    for (size_t i = 0; !reason && i < json_array_size(ids); i++) {
        if (!json_is_integer(json_array_get(ids, i))) reason = "\"hash_ids\" holds something else than integers";
    }
    for (size_t i = 0; !reason && err == 0 && i < json_array_size(ids); i++)
        err = add(reader, (uint64_t)json_integer_value(time), (uint64_t)json_integer_value(json_array_get(ids, i)));
    reader->trace.requests += !reason;
    json_decref(object);
    return reason ? complain(reader, reason) : err;
}

/* Equal source times are spread evenly up to the next one, over at most 3 s: the order is known, the times are not. */
static void spread(struct block_trace *trace)
{
    for (size_t from = 0; from < trace->count;) {
        size_t to = from;
        while (to < trace->count && trace->access[to].at_ns == trace->access[from].at_ns) to++;
        uint64_t span_ns = to < trace->count ? trace->access[to].at_ns - trace->access[from].at_ns : SPREAD_NS_MAX;
        if (span_ns > SPREAD_NS_MAX) span_ns = SPREAD_NS_MAX;
        for (size_t i = from; i < to; i++) trace->access[i].at_ns += span_ns * (i - from) / (to - from);
        from = to;
    }
}

static int read_lines(struct reader *reader, gzFile file, char *line)
{
    for (z_off_t begin = gztell(file); gzgets(file, line, (int)LINE_BYTES); begin = gztell(file)) {
        size_t length = strlen(line);
        int    err;
        reader->line_number++;
        bool zero = (z_off_t)length != gztell(file) - begin;
        bool whole = length > 0 && line[length - 1] == '\n';
        while (length > 0 && (line[length - 1] == '\n' || line[length - 1] == '\r')) line[--length] = '\0';
        if (zero || (!whole && !gzeof(file))) {
            err = complain(reader, "the line is longer than 4 MiB, or holds a zero byte");
        } else if (length == 0) {
            continue;
        } else {
            err = line[0] == '{' ? json_line(reader, line) : csv_line(reader, line);
        }
        if (err < 0) {
            fprintf(reader->complaints, "%s:%llu: out of memory\n", reader->path, (unsigned long long)reader->line_number);
            return -1;
        }
    }
    int         code;
    const char *text = gzerror(file, &code);
    if (code != Z_OK && code != Z_STREAM_END) {
        fprintf(reader->complaints, "%s: after line %llu: %s\n", reader->path, (unsigned long long)reader->line_number,
                code == Z_ERRNO ? strerror(errno) : text);
        return -1;
    }
    return 0;
}

int block_trace_read(const char *path, FILE *complaints, struct block_trace *out)
{
    struct reader reader = {.path = path, .complaints = complaints};
    gzFile        file = gzopen(path, "rb");
    char         *line = malloc(LINE_BYTES);
    int           err = -1;
    if (!file) {
        fprintf(complaints, "%s: %s\n", path, strerror(errno ? errno : ENOMEM));
    } else if (!line) {
        fprintf(complaints, "%s: out of memory\n", path);
    } else {
        err = read_lines(&reader, file, line);
    }
    if (file) gzclose_r(file);
    free(line);
    free(reader.id);
    free(reader.number);
    if (err == 0 && reader.bad_lines > 0) {
        fprintf(complaints, "%s: %llu bad lines\n", path, (unsigned long long)reader.bad_lines);
        err = -1;
    }
    if (err == 0 && reader.trace.count == 0) {
        fprintf(complaints, "%s: no accesses in it\n", path);
        err = -1;
    }
    if (err < 0) {
        free(reader.trace.access);
        return -1;
    }
    spread(&reader.trace);
    *out = reader.trace;
    return 0;
}

void block_trace_free(struct block_trace *trace)
{
    free(trace->access);
    *trace = (struct block_trace){0};
}
