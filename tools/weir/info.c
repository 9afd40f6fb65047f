/* SPDX-License-Identifier: Apache-2.0 */
/* info.c - the command `weir info`: what weir finds on this machine, and what it is set to */
#include <argp.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <weir/weir.h>

#include "command.h"
#include "format.h"
#include "info_driver.h"

enum option_key { OPTION_BACKEND = 256, OPTION_JSON, OPTION_CONFIG };

struct info_options {
    const char *backend;
    bool        json;
    bool        config; /* settings only: no device is opened */
};

static const struct argp_option option_table[] = {
    {"backend", OPTION_BACKEND, "NAME", 0, "host or cuda (default: cuda where it works)", 0},
    {"json", OPTION_JSON, NULL, 0, "Print JSON", 0},
    {"config", OPTION_CONFIG, NULL, 0, "Print the settings only, and open no device", 0},
    {0},
};

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    struct info_options *options = state->input;

    switch (key) {
    case OPTION_BACKEND:
        options->backend = text;
        break;
    case OPTION_JSON:
        options->json = true;
        break;
    case OPTION_CONFIG:
        options->config = true;
        break;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is not an option", text);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static int print_weir_failure(const char *what)
{
    char text[512];

    weir_error_text(text, sizeof(text));
    fprintf(stderr, "weir info: cannot %s: %s\n", what, text);
    return -1;
}

/* The settings as a JSON array; NULL when memory is exhausted. */
static json_t *settings_json(void)
{
    int     length = weir_settings_format(NULL, 0);
    char   *text = malloc((size_t)length + 1);
    json_t *array = NULL;

    if (!text) return NULL;
    weir_settings_format(text, (size_t)length + 1);
    array = json_loads(text, 0, NULL);
    free(text);
    return array;
}

/* Bytes that the process may lock; UINT64_MAX: no limit. */
static uint64_t memlock_bytes(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return UINT64_MAX;
    return limit.rlim_cur;
}

static json_t *limit_json(uint64_t bytes)
{
    return bytes == UINT64_MAX ? json_null() : json_integer((json_int_t)bytes);
}

static json_t *limits_json(const struct weir_runtime_stats *stats)
{
    json_t *object = json_object();

    json_object_set_new(object, "memlock_bytes", limit_json(memlock_bytes()));
    json_object_set_new(object, "pinned_bytes_max", limit_json(stats->pinned_bytes_max));
    json_object_set_new(object, "device_bytes_max", limit_json(stats->device_bytes_max));
    json_object_set_new(object, "pageable_bytes_max", limit_json(stats->pageable_bytes_max));
    json_object_set_new(object, "ram_bytes",
                        json_integer(sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE)));
    json_object_set_new(object, "cpus", json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
    return object;
}

/* Why it is this backend. */
static const char *chosen_by(const struct info_options *options, const char *backend)
{
    const char *setting = getenv("WEIR_BACKEND");

    if (options->backend) return "asked for by --backend";
    if (setting && *setting) return "asked for by WEIR_BACKEND";
    return !strcmp(backend, "cuda") ? "chosen: the driver is usable" : "chosen: the driver is not usable";
}

static json_t *device_json(const struct info_options *options, const struct weir_runtime_info *info)
{
    json_t *object = json_object();

    json_object_set_new(object, "backend", json_string(info->backend));
    json_object_set_new(object, "backend_reason", json_string(chosen_by(options, info->backend)));
    json_object_set_new(object, "device", json_string(info->device_name));
    json_object_set_new(object, "model", json_string(info->model));
    json_object_set_new(object, "device_bytes", json_integer((json_int_t)info->device_bytes_total));
    json_object_set_new(object, "stream_priority_least", json_integer(info->stream_priority_least));
    json_object_set_new(object, "stream_priority_greatest",
                        json_integer(info->stream_priority_greatest));
    json_object_set_new(object, "numa_node", json_integer(info->numa_node));
    json_object_set_new(object, "device_is_host",
                        json_boolean(info->flags & WEIR_INFO_DEVICE_IS_HOST));
    json_object_set_new(object, "copy_batch", json_boolean(info->flags & WEIR_INFO_COPY_BATCH));
    return object;
}

/* Open the device, ask it, and let it go. NULL: the reason has been written. */
static json_t *ask_device(const struct info_options *options)
{
    struct weir_runtime      *rt;
    struct weir_runtime_info  info = {.struct_size = sizeof(info)};
    struct weir_runtime_stats stats = {.struct_size = sizeof(stats)};
    json_t                   *object = NULL;

    if (weir_runtime_create(WEIR_OPTS(runtime, .backend = options->backend), &rt) < 0) {
        print_weir_failure("open the device");
        return NULL;
    }
    if (weir_runtime_info_read(rt, &info) < 0 || weir_runtime_stats_read(rt, &stats) < 0) {
        print_weir_failure("ask about the device");
    } else {
        object = device_json(options, &info);
        json_object_set_new(object, "limits", limits_json(&stats));
        json_object_set_new(object, "driver", info_driver_json());
    }
    weir_runtime_destroy(rt);
    return object;
}

static void print_limit(const char *label, const json_t *limits, const char *key)
{
    const json_t *value = json_object_get(limits, key);
    char          text[FORMAT_BYTES];

    printf("%-18s %s\n", label,
           json_is_integer(value) ? format_size((uint64_t)json_integer_value(value), text)
                                  : "no limit");
}

static void print_device(const json_t *object)
{
    const json_t *limits = json_object_get(object, "limits");
    const char   *model = json_string_value(json_object_get(object, "model"));

    printf("%-18s %s (%s)\n", "backend", json_string_value(json_object_get(object, "backend")),
           json_string_value(json_object_get(object, "backend_reason")));
    printf("%-18s %s\n", "device", json_string_value(json_object_get(object, "device")));
    if (model && *model) printf("%-18s %s\n", "model", model);
    print_limit("device memory", object, "device_bytes");
    printf("%-18s %lld\n", "NUMA node",
           (long long)json_integer_value(json_object_get(object, "numa_node")));
    printf("%-18s %lld (least) to %lld\n", "stream priorities",
           (long long)json_integer_value(json_object_get(object, "stream_priority_least")),
           (long long)json_integer_value(json_object_get(object, "stream_priority_greatest")));
    info_driver_print(json_object_get(object, "driver"),
                      !strcmp(json_string_value(json_object_get(object, "backend")), "cuda") ? 0 : -1);
    print_limit("RAM", limits, "ram_bytes");
    print_limit("memlock limit", limits, "memlock_bytes");
    print_limit("pinned budget", limits, "pinned_bytes_max");
    print_limit("device budget", limits, "device_bytes_max");
    print_limit("pageable budget", limits, "pageable_bytes_max");
    putchar('\n');
}

static void print_settings(const json_t *settings)
{
    size_t  index;
    json_t *row;

    printf("%-24s %-16s %-12s %s\n", "setting", "value", "source", "meaning");
    json_array_foreach(settings, index, row)
    {
        const json_t *value = json_object_get(row, "value");
        char          number[FORMAT_BYTES];
        const char   *text = json_string_value(value);
        if (json_is_integer(value)) {
            snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(value));
            text = number;
        }
        printf("%-24s %-16s %-12s %s\n", json_string_value(json_object_get(row, "variable")),
               text && *text ? text : "-", json_string_value(json_object_get(row, "source")),
               json_string_value(json_object_get(row, "help")));
    }
}

int command_info(int count, char **arguments)
{
    static const struct argp argp = {
        option_table,
        parse_option,
        NULL,
        "Show the backend, the device, its limits, and every WEIR_* setting with its source.\v"
        "Exit status: 0 the device could be opened; 2 it could not, or wrong usage.",
        NULL,
        NULL,
        NULL};
    struct info_options options = {0};

    argp_parse(&argp, count, arguments, 0, NULL, &options);
    json_t *object = options.config ? json_object() : ask_device(&options);
    if (!object) return EXIT_STATUS_USAGE;
    json_t *settings = settings_json();
    json_object_set(object, "settings", settings);
    if (options.json) {
        json_dumpf(object, stdout, JSON_INDENT(1));
        putchar('\n');
    } else {
        if (!options.config) print_device(object);
        print_settings(settings);
    }
    json_decref(settings);
    json_decref(object);
    return EXIT_STATUS_OK;
}
