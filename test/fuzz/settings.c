/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings.c - the environment, and option structs of any age
 *
 * An input is lines. NAME=value sets a variable, every one of the table among them; any other line is a cost model and a
 * number of bytes; and the whole is an option struct of which the first byte is the size. What the table makes of a value is
 * worked out once more here. Where all values can do no harm, a runtime and a pool are made with them.
 */
#include "fuzz/fuzz.h"

#include "base/log.h"
#include "base/options.h"
#include "base/settings.h"
#include "device/emu.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <weir/weir.h>

const char *const fuzz_words[] = {
#define X(field, variable, kind, fallback, help) variable "=",
    WI_SETTINGS(X)
#undef X
        "WEIR_X=",
    "18446744073709551615",
    "18446744073709551616",
    "1.5G",
    "0.9999999999",
    "100%",
    "pool:debug",
    "warn,",
    "up=25G,",
    "down=1,",
    "latency=5us",
    "memory=8G",
    "16777216T",
    "host",
    "\n",
    NULL};

struct row {
    const char *variable, *fallback, *kind;
    size_t      offset;
};

static const struct row rows[] = {
#define X(field, variable, kind, fallback, help)                                                   \
    {variable, fallback, #kind, offsetof(struct wi_settings, field)},
    WI_SETTINGS(X)
#undef X
};

static uint64_t lines_logged;

static void hear(void *ctx, uint32_t level, const char *component, const char *message)
{
    (void)ctx;
    fuzz_require(level >= WEIR_LOG_ERROR && level <= WEIR_LOG_DEBUG && *component, "%s", message);
    fuzz_require(strlen(message) < 1024, "a long line");
    lines_logged++;
}

int LLVMFuzzerInitialize(int *count, char ***words)
{
    (void)count;
    (void)words;
    weir_log_set(hear, NULL);
    return 0;
}

/* ---- what a value should be ---- */

static bool expected_count(const char *text, uint64_t *out)
{
    unsigned __int128 value = 0;
    if (!*text) return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9') return false;
        value = value * 10 + (unsigned)(*text - '0');
        if (value > UINT64_MAX) return false;
    }
    *out = (uint64_t)value;
    return true;
}

/* Whole numbers with or without a unit. -1: no such number; 0: not judged here. */
static int expected_bytes(const char *text, uint64_t *out)
{
    char              copy[24];
    size_t            length = strlen(text);
    static const char units[] = "KMGT";
    const char       *unit = length > 1 ? strchr(units, text[length - 1] & ~0x20) : NULL;
    if (strchr(text, '.') || strchr(text, '%') || length > 20) return 0;
    memcpy(copy, text, length + 1);
    if (unit && *unit) copy[length - 1] = '\0';
    if (!expected_count(copy, out)) return -1;
    unsigned __int128 value = (unsigned __int128)*out
                              << (unit && *unit ? 10 * (unit - units + 1) : 0);
    *out = (uint64_t)value;
    return value > UINT64_MAX ? -1 : 1;
}

/* Of a row: does the process use what the environment says, and only if it is good? */
static void check_row(const struct wi_settings *settings, size_t i)
{
    const char *text = getenv(rows[i].variable), *field = (const char *)settings + rows[i].offset;
    bool        given = settings->given >> i & 1;
    uint64_t    value, expected = 0;
    int         good = -1;
    if (!text || !*text) {
        fuzz_require(!given, "%s is not set, and is taken for given", rows[i].variable);
        text = rows[i].fallback;
    }
    if (!strcmp(rows[i].kind, "TEXT")) {
        const char *taken;
        memcpy(&taken, field, sizeof taken);
        fuzz_require(!strcmp(taken, given ? text : rows[i].fallback), "%s is \"%s\"",
                     rows[i].variable, taken);
        return;
    }
    memcpy(&value, field, sizeof value);
    if (fuzz_planted() && value == 18446744073709551615u) value--;
    good = !strcmp(rows[i].kind, "BYTES")    ? expected_bytes(text, &expected)
           : expected_count(text, &expected) ? 1
                                             : -1;
    if (given) {
        fuzz_require(good >= 0, "%s takes \"%s\"", rows[i].variable, text);
        if (good > 0)
            fuzz_require(value == expected, "%s is %llu", rows[i].variable,
                         (unsigned long long)value);
    } else if (text != rows[i].fallback) {
        fuzz_require(good <= 0, "%s refuses \"%s\"", rows[i].variable, text);
    } else {
        fuzz_require(value == expected, "%s is %llu", rows[i].variable, (unsigned long long)value);
    }
}

static void check_json(void)
{
    int   bytes = weir_settings_format(NULL, 0);
    char *text = malloc((size_t)bytes + 1);
    fuzz_require(text && weir_settings_format(text, (size_t)bytes + 1) == bytes, "another length");
    json_t *json = json_loads(text, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
    /* A value may be no UTF-8, and JSON has no way to say so. */
    bool ascii = true;
    for (int i = 0; i < bytes; i++) ascii &= (unsigned char)text[i] < 0x80;
    fuzz_require(json || !ascii, "not JSON: %s", text);
    fuzz_require(!json || json_array_size(json) == WI_SETTINGS_COUNT, "%zu settings",
                 json_array_size(json));
    json_decref(json);
    free(text);
}

/* ---- models and numbers ---- */

static void check_number(const char *text)
{
    uint64_t bytes = 4711, again = 4711, expected = 0;
    int      err = wi_parse_bytes(text, 0, &bytes), good = expected_bytes(text, &expected);
    fuzz_require(err == 0 || err == WEIR_EINVAL, "%d", err);
    fuzz_require(err == 0 || bytes == 4711, "a refused number has changed the output");
    if (good) fuzz_require((err == 0) == (good > 0) && (err || bytes == expected), "\"%s\"", text);
    if (wi_parse_bytes(text, 1000, &again) == 0 && strchr(text, '%'))
        fuzz_require(again <= 1000, "more than all: %llu", (unsigned long long)again);
}

static void check_model(const char *text)
{
    struct wi_emu_model model, before;
    char                line[256];
    wi_emu_model_init(&model);
    before = model;
    if (wi_emu_model_parse(text, &model) < 0) {
        fuzz_require(!memcmp(&model, &before, sizeof model),
                     "a refused model has changed the output");
        return;
    }
    fuzz_require(model.up_bytes_per_s && model.down_bytes_per_s && model.device_bytes_per_s &&
                     model.memory_bytes,
                 "a model with 0: %s", text);
    fuzz_require(model.latency_ns <= 60 * WI_NS_PER_S, "latency");
    fuzz_require((size_t)wi_emu_model_text(&model, line, sizeof line) == strlen(line), "%s", line);
}

/* ---- options ---- */

enum { KNOWN = 64 }; /* bytes of the struct as this weir knows it */

static void check_options(const uint8_t *data, size_t bytes)
{
    size_t struct_size = bytes;
    if (bytes < sizeof struct_size) return;
    uint8_t *given = fuzz_copy(data, bytes), into[KNOWN], before[KNOWN];
    if (data[0] >= 0xf0)
        struct_size = data[0] == 0xff ? SIZE_MAX : data[0] & 7u; /* never set, or set wrongly */
    memcpy(given, &struct_size, sizeof struct_size);
    memset(into, 0xa5, sizeof into);
    memcpy(before, into, sizeof before);
    int  err = wi_options_import(into, sizeof into, given, "fuzz_opts");
    bool tail = false;
    for (size_t i = KNOWN; i < bytes && struct_size == bytes; i++) tail |= given[i] != 0;
    int expected = struct_size < sizeof struct_size || struct_size > 4096 ? WEIR_EINVAL
                   : tail                                                 ? WEIR_EOPTS
                                                                          : 0;
    fuzz_require(err == expected, "answered %d", err);
    if (err < 0) {
        fuzz_require(!memcmp(into, before, sizeof into), "refused options have changed the output");
    } else {
        for (size_t i = sizeof struct_size; i < KNOWN; i++)
            fuzz_require(into[i] == (i < bytes ? given[i] : 0), "byte %zu", i);
    }
    if (wi_snapshot_export(given, before, sizeof before) == 0) {
        for (size_t i = sizeof struct_size; i < bytes && i < KNOWN; i++)
            fuzz_require(given[i] == 0xa5, "byte %zu", i);
    }
    free(given);
}

/* ---- a runtime with them ---- */

static bool harmless(void)
{
    /* These open libraries and write files that the input would name. */
    static const char *const names[] = {"WEIR_NVTX", "WEIR_CUDA_LIBRARY", "WEIR_STATS",
                                        "WEIR_STATS_AT_EXIT"};
    for (size_t i = 0; i < WI_ARRAY_COUNT(names); i++) {
        const char *text = getenv(names[i]);
        if (text && *text) return false;
    }
    return true;
}

static void make_pool(void)
{
    struct weir_runtime     *rt;
    struct weir_pool        *pool;
    struct weir_buffer      *buffer;
    struct weir_pool_stats   stats = {.struct_size = sizeof stats};
    struct weir_runtime_opts opts = {
        .struct_size = sizeof opts, .backend = "host", .drain_ns = WI_NS_PER_S};
    if (weir_runtime_create(&opts, &rt) < 0) return;
    if (weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 512, .buffers_min = 3), &pool) == 0) {
        fuzz_require(weir_buffer_acquire(pool, WEIR_NOW, &buffer) == 0, "three are free");
        fuzz_require(weir_buffer_release(buffer) == 0, "it is leased");
        fuzz_require(weir_pool_stats_read(pool, &stats) == 0 && stats.total == 3 && stats.free == 3,
                     "total %llu, free %llu", (unsigned long long)stats.total,
                     (unsigned long long)stats.free);
        weir_pool_destroy(pool);
    }
    weir_runtime_destroy(rt);
}

/* ---- an input ---- */

static void take_line(char *line)
{
    char *equals = strchr(line, '=');
    check_number(line);
    check_model(line);
    if (!equals || equals == line) return;
    *equals = '\0';
    if (!strncmp(line, "WEIR_", 5)) (void)setenv(line, equals + 1, 1);
}

static void clear_environment(void)
{
    for (char **entry = environ; entry && *entry;) {
        char   name[256];
        size_t bytes = strcspn(*entry, "=");
        if (strncmp(*entry, "WEIR_", 5) != 0 || bytes >= sizeof name) {
            entry++;
            continue;
        }
        memcpy(name, *entry, bytes);
        name[bytes] = '\0';
        (void)unsetenv(name);
        entry = environ;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    char  *text = fuzz_text(data, bytes), *save = NULL;
    size_t length;
    clear_environment();
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char  *copy = fuzz_text((const uint8_t *)line, strlen(line));
        size_t name = strcspn(copy, "=");
        if (name < 256) take_line(copy);
        free(copy);
    }
    wi_settings_reload_for_test();
    for (size_t i = 0; i < WI_SETTINGS_COUNT; i++) check_row(wi_settings(), i);
    check_json();
    (void)wi_log_enabled(WEIR_LOG_DEBUG, "pool");
    const char *bad = wi_log_find_bad(wi_settings()->log, &length);
    fuzz_require(!bad || length <= strlen(bad), "beyond the text");
    check_options(data, bytes);
    if (harmless()) make_pool();
    free(text);
    return 0;
}
