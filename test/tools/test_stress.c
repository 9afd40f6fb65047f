/* SPDX-License-Identifier: Apache-2.0 */
/* `weir stress`: its list, a run that passes, one that must fail, and what it cannot run. WEIR_TOOL is the program. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

TestSuite(stress, .timeout = 120);

static char output[1 << 16];

static int run(const char *arguments, const char *errors)
{
    char line[1024];
    snprintf(line, sizeof line, "%s stress %s 2>%s", WEIR_TOOL, arguments, errors);
    FILE *pipe = popen(line, "r");
    cr_assert_not_null(pipe);
    size_t length = fread(output, 1, sizeof output - 1, pipe);
    output[length] = '\0';
    int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static json_t *parsed(void)
{
    json_t *array = json_loads(output, 0, NULL);
    cr_assert(json_is_array(array), "%s", output);
    return array;
}

static const json_t *named(const json_t *array, const char *key, const char *name)
{
    size_t        index;
    const json_t *one;
    json_array_foreach(array, index, one)
    {
        if (strcmp(json_string_value(json_object_get(one, key)), name) == 0) return one;
    }
    cr_assert_fail("no %s", name);
    return NULL;
}

Test(stress, lists_what_can_be_run)
{
    cr_assert_eq(run("", "/dev/stderr"), 0);
    cr_assert(strstr(output, "PROGRAM"), "%s", output);
    cr_assert(strstr(output, "handoff"), "%s", output);
    cr_assert_eq(run("--json", "/dev/stderr"), 0);
    json_t *list = parsed();
    cr_assert_geq(json_array_size(list), 2); /* those that this test needs have been built */
    const json_t *one = named(list, "name", "handoff");
    cr_assert_gt(json_integer_value(json_object_get(one, "threads")), 1);
    cr_assert_gt(strlen(json_string_value(json_object_get(one, "imitates"))), 10);
    named(list, "name", "retire");
    json_decref(list);
}

Test(stress, runs_programs_and_gathers_their_results)
{
    cr_assert_eq(run("handoff --seconds 1 --seed 7 --threads 4 --json", "/dev/null"), 0);
    json_t       *results = parsed();
    const json_t *one = named(results, "program", "handoff");
    cr_assert_str_eq(json_string_value(json_object_get(one, "result")), "passed");
    cr_assert_eq(json_integer_value(json_object_get(one, "seed")), 7);
    cr_assert_eq(json_integer_value(json_object_get(one, "threads")), 4);
    json_decref(results);
    cr_assert_eq(run("handoff --seconds 0 --seed 7", "/dev/null"), 0);
    cr_assert(strstr(output, "handoff --seed 7"), "its own command is printed:\n%s", output);
}

/* Buffers that are reused too early, on purpose: within a second, or on a busy machine within some more. */
Test(stress, a_program_that_fails_is_told)
{
    int  status = 0;
    char arguments[64];

    for (int seconds = 1; seconds <= 16 && status == 0; seconds *= 4) {
        snprintf(arguments, sizeof arguments, "retire --with ignore=1 --seconds %d --json", seconds);
        status = run(arguments, "/dev/null");
    }
    cr_assert_eq(status, 1);
    json_t *results = parsed();
    cr_assert_str_eq(json_string_value(json_object_get(named(results, "program", "retire"), "result")), "failed");
    json_decref(results);
}

Test(stress, refuses_what_it_cannot_run)
{
    cr_assert_eq(run("no_such_program", "/dev/null"), 2);
    cr_assert_eq(run("/bin/false", "/dev/null"), 2);
    cr_assert_eq(run("/nonexistent/program", "/dev/null"), 2);
    cr_assert_eq(run("handoff --seconds some", "/dev/null"), 2);
    cr_assert_eq(run("handoff --with ignore", "/dev/null"), 2);
    cr_assert_eq(run("handoff --with nonsense=1", "/dev/null"), 2);
    cr_assert_eq(run("--folder /nonexistent", "/dev/null"), 2);
}
