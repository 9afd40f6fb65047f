/* SPDX-License-Identifier: Apache-2.0 */
/* emu_model.c - the cost model as text, in and out */
#include "base/settings.h"
#include "device/emu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VALUE_BYTES_MAX 32

void wi_emu_model_init(struct wi_emu_model *model)
{
    *model = (struct wi_emu_model){
        .up_bytes_per_s = UINT64_C(25000000000),
        .down_bytes_per_s = UINT64_C(25000000000),
        .device_bytes_per_s = UINT64_C(200000000000),
        .latency_ns = 5 * WI_NS_PER_US,
        .memory_bytes = UINT64_C(8) << 30,
    };
}

/* "5us", "800ns", "1ms"; a bare number is nanoseconds. */
static int parse_duration(const char *text, uint64_t *out)
{
    static const struct {
        const char *suffix;
        uint64_t    ns;
    } units[] = {{"", 1}, {"ns", 1}, {"us", WI_NS_PER_US}, {"ms", WI_NS_PER_MS}};
    char              *end;
    unsigned long long number;

    if (*text < '0' || *text > '9') return WEIR_EINVAL;
    errno = 0;
    number = strtoull(text, &end, 10);
    if (errno != 0) return WEIR_EINVAL;
    for (size_t i = 0; i < WI_ARRAY_COUNT(units); i++) {
        if (strcmp(end, units[i].suffix) != 0) continue;
        if (__builtin_mul_overflow((uint64_t)number, units[i].ns, out)) return WEIR_EINVAL;
        /* A minute of latency is a slip of the pen. */
        return *out <= 60 * WI_NS_PER_S ? 0 : WEIR_EINVAL;
    }
    return WEIR_EINVAL;
}

static int parse_pair(const char *key, size_t key_bytes, const char *value,
                      struct wi_emu_model *model)
{
    const struct {
        const char *key;
        uint64_t   *field;
    } sizes[] = {
        {"up", &model->up_bytes_per_s},
        {"down", &model->down_bytes_per_s},
        {"device", &model->device_bytes_per_s},
        {"memory", &model->memory_bytes},
    };

    if (key_bytes == strlen("latency") && memcmp(key, "latency", key_bytes) == 0)
        return parse_duration(value, &model->latency_ns);
    for (size_t i = 0; i < WI_ARRAY_COUNT(sizes); i++) {
        if (key_bytes != strlen(sizes[i].key) || memcmp(key, sizes[i].key, key_bytes) != 0)
            continue;
        WI_TRY(wi_parse_bytes(value, 0, sizes[i].field));
        return *sizes[i].field > 0 ? 0 : WEIR_EINVAL;
    }
    return WEIR_EINVAL;
}

int wi_emu_model_parse(const char *text, struct wi_emu_model *model)
{
    struct wi_emu_model parsed = *model;

    while (*text != '\0') {
        size_t      pair_bytes = strcspn(text, ",");
        const char *equals = memchr(text, '=', pair_bytes);
        char        value[VALUE_BYTES_MAX];
        size_t      value_bytes;

        if (equals == NULL) return WEIR_EINVAL;
        value_bytes = (size_t)(text + pair_bytes - (equals + 1));
        if (value_bytes == 0 || value_bytes >= sizeof(value)) return WEIR_EINVAL;
        memcpy(value, equals + 1, value_bytes);
        value[value_bytes] = '\0';
        WI_TRY(parse_pair(text, (size_t)(equals - text), value, &parsed));
        text += pair_bytes;
        if (*text == ',' && *++text == '\0') return WEIR_EINVAL;
    }
    *model = parsed;
    return 0;
}

/* In the largest unit that tells it exactly, binary units first: memory comes in those. */
static void size_text(uint64_t bytes, char out[VALUE_BYTES_MAX])
{
    static const struct {
        const char *name;
        uint64_t    bytes;
    } units[] = {
        {"GiB", UINT64_C(1) << 30},
        {"GB", UINT64_C(1000000000)},
        {"MiB", UINT64_C(1) << 20},
        {"MB", UINT64_C(1000000)},
        {"KiB", UINT64_C(1) << 10},
        {"kB", UINT64_C(1000)},
        {"B", 1},
    };

    for (size_t i = 0; i < WI_ARRAY_COUNT(units); i++) {
        if (bytes % units[i].bytes != 0) continue;
        snprintf(out, VALUE_BYTES_MAX, "%llu %s", (unsigned long long)(bytes / units[i].bytes),
                 units[i].name);
        return;
    }
}

static void duration_text(uint64_t ns, char out[VALUE_BYTES_MAX])
{
    if (ns % WI_NS_PER_US == 0)
        snprintf(out, VALUE_BYTES_MAX, "%llu us", (unsigned long long)(ns / WI_NS_PER_US));
    else
        snprintf(out, VALUE_BYTES_MAX, "%llu ns", (unsigned long long)ns);
}

int wi_emu_model_text(const struct wi_emu_model *model, char *text, size_t capacity)
{
    char up[VALUE_BYTES_MAX], down[VALUE_BYTES_MAX], latency[VALUE_BYTES_MAX],
        memory[VALUE_BYTES_MAX];

    size_text(model->up_bytes_per_s, up);
    size_text(model->down_bytes_per_s, down);
    duration_text(model->latency_ns, latency);
    size_text(model->memory_bytes, memory);
    return snprintf(text, capacity, "up %s/s, down %s/s, latency %s, memory %s", up, down, latency,
                    memory);
}
