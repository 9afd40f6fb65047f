/* SPDX-License-Identifier: Apache-2.0 */
/* Statistics as texts: every list is in them, JSON parses, Prometheus holds its format; and WEIR_STATS_AT_EXIT. */
#include "pool/fixture.h"

#include "base/settings.h"

#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(stats, .timeout = 60);

static char text[1 << 20];

static const char *format(struct weir_runtime *rt, uint32_t as)
{
    int64_t length = weir_stats_format(rt, as, text, sizeof text);
    cr_assert(length > 0 && (size_t)length < sizeof text, "%lld", (long long)length);
    cr_assert_eq(strlen(text), (size_t)length);
    return text;
}

/* A runtime with pools of both kinds, work done, and two pools of one name. */
static struct weir_runtime *busy_runtime(void)
{
    struct weir_runtime *rt = make_runtime();
    struct weir_pool    *pool, *other, *tiered;
    struct weir_buffer  *buffer, *block;
    struct weir_view     view;
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .name = "a\\b \"c\"\n", .buffer_bytes = 4096, .buffers_min = 2), &pool));
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .name = "a\\b \"c\"\n", .buffer_bytes = 64, .buffers_min = 1), &other));
    ok(weir_tier_create(rt, WEIR_OPTS(tier, .name = "kv", .buffers_max = 8, .pinned_buffers = 2, .flags = WEIR_TIER_MANUAL), &tiered));
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    ok(weir_buffer_release(buffer));
    ok(weir_buffer_acquire(tiered, WEIR_NOW, &block));
    ok(weir_buffer_borrow(block, WEIR_WHERE_ANY, WEIR_WRITE, NULL, WEIR_NOW, &view));
    ok(weir_view_return(&view));
    ok(weir_tier_step(tiered, 1000000000));
    ok(weir_buffer_release(block));
    return rt;
}

static const json_t *with_name(const json_t *array, const char *key, const char *name)
{
    size_t        index;
    const json_t *row;
    json_array_foreach(array, index, row)
    {
        if (strcmp(json_string_value(json_object_get(row, key)), name) == 0) return row;
    }
    cr_assert_fail("no %s is called %s", key, name);
    return NULL;
}

#define has_number(object, name) cr_assert(json_is_integer(json_object_get(object, name)), "%s", name)

Test(stats, json_has_every_list)
{
    struct weir_runtime *rt = busy_runtime();
    json_t              *all = json_loads(format(rt, WEIR_FORMAT_JSON), JSON_REJECT_DUPLICATES, NULL);
    cr_assert_not_null(all, "%s", text);
    const json_t *pool = with_name(json_object_get(all, "pools"), "name", "a\\b \"c\"\n");
    const json_t *other = with_name(json_object_get(all, "pools"), "name", "a\\b \"c\"\n#2");
    const json_t *tier = with_name(json_object_get(all, "tiers"), "pool", "kv");
    const json_t *stream = with_name(json_object_get(all, "streams"), "class", "comm");
#define X(name, type, help) has_number(all, #name);
    WEIR_RUNTIME_COUNTERS(X)
#undef X
#define X(name, help) has_number(pool, #name);
    WEIR_POOL_GAUGES(X)
    WEIR_POOL_COUNTERS(X)
    WEIR_POOL_RATES(X)
#undef X
#define X(name) has_number(json_object_get(pool, "wait"), #name);
    WEIR_LATENCY_FIELDS(X)
#undef X
#define X(name, type, help) has_number(tier, #name);
    WEIR_TIER_COUNTERS(X)
#undef X
#define X(name, type, help) has_number(stream, #name);
    WEIR_STREAM_TOTALS(X)
#undef X
    has_number(json_object_get(all, "pressure"), "level");
    cr_assert(json_is_array(json_object_get(all, "hottest")));
    cr_assert_eq(json_integer_value(json_object_get(pool, "acquires")), 1);
    cr_assert_eq(json_integer_value(json_object_get(other, "total")), 1);
    cr_assert_eq(json_integer_value(json_object_get(tier, "periods")), 1);
    cr_assert_eq(json_integer_value(json_object_get(all, "open_pools")), 3);
    json_decref(all);
    weir_runtime_destroy(rt);
}

/* ---- the format of Prometheus, as its documentation has it ---- */

static const char *name_end(const char *at)
{
    cr_assert(isalpha((unsigned char)*at) || *at == '_', "%s", at);
    while (isalnum((unsigned char)*at) || *at == '_') at++;
    return at;
}

/* {name="value",...}: returns what is behind. */
static const char *labels_end(const char *at)
{
    do {
        at = name_end(at + 1);
        cr_assert(at[0] == '=' && at[1] == '"', "%s", at);
        for (at += 2; *at != '"'; at++) {
            cr_assert(*at && *at != '\n');
            if (*at != '\\') continue;
            at++;
            cr_assert(*at == '\\' || *at == '"' || *at == 'n', "%s", at);
        }
        at++;
    } while (*at == ',');
    cr_assert_eq(*at, '}');
    return at + 1;
}

struct family {
    char   name[128], type[16];
    size_t samples;
};

static void check_name(const struct family *family)
{
    static const char *const units[] = {"_ns", "_ms", "_ppm", "_per_s", "_x100"};
    size_t                   length = strlen(family->name);
    bool                     total = length > 6 && strcmp(family->name + length - 6, "_total") == 0;
    cr_assert_eq(total, strcmp(family->type, "counter") == 0, "%s is a %s", family->name, family->type);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        const char *found = strstr(family->name, units[i]);
        cr_assert_not(found && (!found[strlen(units[i])] || found[strlen(units[i])] == '_'), "%s", family->name);
    }
}

/* Is the sample one of the family? A summary has _sum and _count beside its quantiles. */
static void check_sample(const struct family *family, const char *line)
{
    const char *end = name_end(line);
    size_t      length = strlen(family->name);
    cr_assert_eq(strncmp(line, family->name, length), 0, "%s stands below %s", line, family->name);
    const char *rest = line + length;
    if (strcmp(family->type, "summary") == 0 && rest != end)
        cr_assert((end - rest == 4 && !strncmp(rest, "_sum", 4)) || (end - rest == 6 && !strncmp(rest, "_count", 6)), "%s", line);
    else
        cr_assert_eq(rest, end, "%s stands below %s", line, family->name);
    end = labels_end(end);
    cr_assert_eq(*end, ' ', "%s", line);
    char *number_end;
    double value = strtod(end + 1, &number_end);
    cr_assert(number_end != end + 1 && !*number_end && value >= 0, "%s", line);
}

Test(stats, prometheus_text_holds_its_format)
{
    struct weir_runtime *rt = busy_runtime();
    struct family        family = {.samples = 1};
    static char          seen[1 << 20];
    size_t               families = 0;
    char                *line, *rest = text;
    format(rt, WEIR_FORMAT_PROMETHEUS);
    cr_assert_eq(text[strlen(text) - 1], '\n');
    cr_assert(strstr(text, "weir_pool_acquires_total{device=\"0\",pool=\"a\\\\b \\\"c\\\"\\n\",kind=\"buffers\"} 1\n"));
    cr_assert(strstr(text, "weir_tier_periods_total{device=\"0\",pool=\"kv\"} 1\n"));
    while ((line = strsep(&rest, "\n")) != NULL && *line) {
        if (line[0] != '#') {
            check_sample(&family, line);
            family.samples++;
            /* No series twice. */
            char series[1024];
            snprintf(series, sizeof series, "\n%.*s ", (int)(strrchr(line, ' ') - line), line);
            cr_assert_not(strstr(seen, series), "%s", series);
            size_t length = strlen(seen);
            cr_assert_lt(length + strlen(series) + 1, sizeof seen);
            snprintf(seen + length, sizeof seen - length, "%s", series);
            continue;
        }
        char help[128], type_name[128];
        int  at = 0;
        cr_assert(family.samples > 0, "%s has no samples", family.name);
        cr_assert_eq(sscanf(line, "# HELP %127s %n", help, &at), 1, "%s", line);
        cr_assert(line[at], "%s helps nobody", help);
        line = strsep(&rest, "\n");
        cr_assert_eq(sscanf(line, "# TYPE %127s %15s", type_name, family.type), 2, "%s", line);
        cr_assert_str_eq(help, type_name);
        snprintf(family.name, sizeof family.name, "%s", help);
        family.samples = 0;
        families++;
        check_name(&family);
    }
    cr_assert_gt(families, 80);
    weir_runtime_destroy(rt);
}

/* What Prometheus itself says, where Debian's package is installed. */
Test(stats, promtool_finds_nothing)
{
    struct weir_runtime *rt = busy_runtime();
    if (system("promtool --version >/dev/null 2>&1") != 0) {
        weir_runtime_destroy(rt);
        cr_skip_test("promtool is missing (package prometheus)");
    }
    FILE *check = popen("promtool check metrics >&2", "w");
    cr_assert_not_null(check);
    fputs(format(rt, WEIR_FORMAT_PROMETHEUS), check);
    cr_assert_eq(pclose(check), 0);
    weir_runtime_destroy(rt);
}

Test(stats, a_text_is_cut_as_snprintf_does_and_costs_no_driver_call)
{
    struct weir_runtime      *rt = busy_runtime();
    struct weir_runtime_stats before = {.struct_size = sizeof before}, after = before;
    char                      little[40];
    int64_t                   whole = weir_stats_format(rt, WEIR_FORMAT_JSON, NULL, 0);
    memset(little, 'x', sizeof little);
    cr_assert_gt(whole, 1000);
    cr_assert_gt(weir_stats_format(rt, WEIR_FORMAT_JSON, little, sizeof little), 1000);
    cr_assert_eq(strnlen(little, sizeof little), sizeof little - 1);
    ok(weir_runtime_stats_read(rt, &before));
    for (unsigned i = 0; i < 10; i++) format(rt, i % 2 ? WEIR_FORMAT_JSON : WEIR_FORMAT_PROMETHEUS);
    ok(weir_runtime_stats_read(rt, &after));
    cr_assert_eq(after.driver_calls, before.driver_calls);
    cr_assert_eq(weir_stats_format(rt, 7, text, sizeof text), WEIR_EINVAL);
    cr_assert_eq(weir_stats_format(NULL, WEIR_FORMAT_JSON, text, sizeof text), WEIR_EINVAL);
    cr_assert_eq(weir_stats_format(rt, WEIR_FORMAT_JSON, NULL, 10), WEIR_EINVAL);
    weir_runtime_destroy(rt);
}

/* ---- WEIR_STATS_AT_EXIT ---- */

static void destroy_with(const char *setting)
{
    setenv("WEIR_STATS_AT_EXIT", setting, 1);
    wi_settings_reload_for_test();
    weir_runtime_destroy(busy_runtime());
}

static size_t read_file(const char *path)
{
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    size_t length = fread(text, 1, sizeof text - 1, file);
    text[length] = '\0';
    fclose(file);
    return length;
}

Test(stats, at_exit_json_adds_a_line)
{
    char path[64], setting[96];
    snprintf(path, sizeof path, "/tmp/weir_stats_test.%d", getpid());
    (void)unlink(path);
    destroy_with("json:/tmp/weir_stats_test.%p");
    destroy_with("json:/tmp/weir_stats_test.%p");
    cr_assert_gt(read_file(path), 0);
    char *end = strchr(text, '\n');
    cr_assert_not_null(end);
    *end = '\0';
    json_t *first = json_loads(text, JSON_REJECT_DUPLICATES, NULL), *second = json_loads(end + 1, JSON_REJECT_DUPLICATES, NULL);
    cr_assert(first && second, "%s", text);
    cr_assert_eq(json_integer_value(json_object_get(with_name(json_object_get(second, "tiers"), "pool", "kv"), "periods")), 1);
    json_decref(first);
    json_decref(second);
    cr_assert_eq(unlink(path), 0);
    snprintf(setting, sizeof setting, "json:/nonexistent/%s", "folder");
    destroy_with(setting); /* told in the log; nothing worse */
    destroy_with("yaml");
}

Test(stats, at_exit_prometheus_replaces_the_file)
{
    char path[64], setting[96];
    snprintf(path, sizeof path, "/tmp/weir_stats_prom_test.%d", getpid());
    snprintf(setting, sizeof setting, "prometheus:%s", path);
    destroy_with(setting);
    size_t once = read_file(path);
    cr_assert_gt(once, 1000);
    destroy_with(setting);
    cr_assert_lt(read_file(path), once * 3 / 2);
    cr_assert(strstr(text, "\nweir_pool_acquires_total{"));
    cr_assert_eq(unlink(path), 0);
}

/* Without a path: the standard error. */
Test(stats, at_exit_without_a_path_is_printed)
{
    int  ends[2], status;
    char byte;
    cr_assert_eq(pipe(ends), 0);
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        destroy_with("json");
        leave_child(0);
    }
    close(ends[1]);
    size_t length = 0;
    while (length < sizeof text - 1 && read(ends[0], &byte, 1) == 1) text[length++] = byte;
    text[length] = '\0';
    close(ends[0]);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert_eq(status, 0);
    json_t *all = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    cr_assert_not_null(all, "%s", text);
    json_decref(all);
}
