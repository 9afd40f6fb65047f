/* SPDX-License-Identifier: Apache-2.0 */
/* The command `weir bench` as a whole: exit status, the JSON file, and where a slow peer ends up. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/weir-bench-XXXXXX";
static char path[64];

static void make_folder(void)
{
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/bench.json", folder);
}

static void remove_folder(void)
{
    unlink(path);
    rmdir(folder);
}

TestSuite(command, .init = make_folder, .fini = remove_folder, .timeout = 240);

static int bench(const char *arguments)
{
    char command[1024];

    snprintf(command, sizeof command, "%s bench %s >/dev/null 2>&1", WEIR_BENCH_TOOL, arguments);
    int status = system(command);
    cr_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static json_t *bench_json(const char *arguments)
{
    char all[512];
    json_error_t error;

    snprintf(all, sizeof all, "%s --repeat 1 --window 50 --json %s", arguments, path);
    cr_assert_eq(bench(all), 0);
    json_t *whole = json_load_file(path, 0, &error);
    cr_assert_not_null(whole, "%s", error.text);
    return whole;
}

static const json_t *named(const json_t *list, const char *name)
{
    const json_t *element;
    size_t i;

    json_array_foreach(list, i, element)
    {
        if (strcmp(json_string_value(json_object_get(element, "name")), name) == 0) return element;
    }
    return NULL;
}

Test(command, json_has_each_target_once)
{
    json_t *whole = bench_json("hot --peers --threads 1,2 --hold 0");
    const json_t *targets = json_object_get(whole, "targets"), *element;
    const json_t *unmeasured = json_object_get(whole, "unmeasured");
    size_t i;

    cr_assert(json_is_array(targets) && json_is_array(unmeasured));
    json_array_foreach(targets, i, element)
    {
        const char *name = json_string_value(json_object_get(element, "name"));
        cr_assert_not_null(name);
        cr_expect_null(named(unmeasured, name), "%s is in both lists", name);
        cr_expect_neq(strncmp(name, "h200.", 5), 0, "%s needs a GPU", name);
        cr_expect(json_is_number(json_object_get(element, "value")), "%s", name);
        double value = json_number_value(json_object_get(element, "value"));
        double target = json_number_value(json_object_get(element, "target"));
        const char *relation = json_string_value(json_object_get(element, "relation"));
        cr_assert_not_null(relation, "%s", name);
        bool reached = strcmp(relation, "<=") == 0   ? value <= target
                       : strcmp(relation, ">=") == 0 ? value >= target
                                                     : value == target;
        cr_expect_eq(json_is_true(json_object_get(element, "met")), reached, "%s", name);
    }
    json_array_foreach(unmeasured, i, element)
    {
        const char *reason = json_string_value(json_object_get(element, "reason"));
        cr_expect(reason != NULL && reason[0] != '\0');
    }
    cr_expect_not_null(named(targets, "hot.1.cpu_per_pair_vs_mutex"));
    cr_expect_not_null(named(targets, "exact.double_handouts"));
    cr_expect_not_null(named(targets, "hit.system_calls"));
    cr_expect_not_null(named(unmeasured, "h200.hit_p999_while_pinning"));
    cr_expect_not_null(named(unmeasured, "scale.held_1.cost_spread"));
    cr_expect_not_null(named(unmeasured, "heap.pair_vs_malloc"));
    const json_t *machine = json_object_get(whole, "machine");
    cr_expect(json_is_string(json_object_get(machine, "compiler")));
    cr_expect(json_is_string(json_object_get(machine, "commit")));
    cr_expect(json_is_number(json_object_get(machine, "load_before")));
    json_decref(whole);
}

Test(command, a_slow_peer_ranks_last)
{
    json_t *whole = bench_json("hot --peer slow --threads 1 --hold 0");
    const json_t *cell;
    size_t i;
    json_int_t ranks = 0, slow = 0;

    json_array_foreach(json_object_get(whole, "cases"), i, cell)
    {
        if (strcmp(json_string_value(json_object_get(cell, "case")), "hot b64 t1 try h0") != 0)
            continue;
        ranks++;
        cr_expect_eq(json_array_size(json_object_get(cell, "repetitions")), 1);
        if (strcmp(json_string_value(json_object_get(cell, "peer")), "slow") == 0)
            slow = json_integer_value(json_object_get(cell, "rank"));
    }
    cr_expect_eq(ranks, 3, "control, weir and slow");
    cr_expect_eq(slow, 3);
    json_decref(whole);
}

Test(command, wrong_usage)
{
    cr_expect_eq(bench("nonsense"), 2);
    cr_expect_eq(bench("hot --threads 1,,2"), 2);
    cr_expect_eq(bench("hot --threads 0"), 2);
    cr_expect_eq(bench("hot --repeat 0"), 2);
    cr_expect_eq(bench("hot --peer ../evil"), 2);
    cr_expect_eq(bench("hot --peer none-such"), 2);
    cr_expect_eq(bench("hot --programs /nonexistent"), 2);
    cr_expect_eq(bench("hot --json /nonexistent/bench.json"), 2);
    cr_expect_eq(bench("--help"), 0);
}
