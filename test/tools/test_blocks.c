/* SPDX-License-Identifier: Apache-2.0 */
/* test_blocks.c - `weir replay --blocks`: what it reads, what it refuses, and what it reports */
#include "blocks.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#define S UINT64_C(1000000000)

static char   folder[] = "/tmp/weir-test-blocks-XXXXXX";
static char  *said; /* what was said of the last file */
static size_t said_length;

static void make_folder(void)
{
    cr_assert(mkdtemp(folder));
    cr_assert(chdir(folder) == 0);
}

static void remove_folder(void)
{
    static const char *const names[] = {"trace", "run.json", "one.json"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) unlink(names[i]);
    rmdir(folder);
    free(said);
}

TestSuite(blocks, .init = make_folder, .fini = remove_folder, .timeout = 240);

static void write_trace(const char *text)
{
    FILE *out = fopen("trace", "w");
    cr_assert(out);
    fputs(text, out);
    cr_assert(fclose(out) == 0);
}

static int read_trace(struct block_trace *trace)
{
    free(said);
    said = NULL;
    FILE *complaints = open_memstream(&said, &said_length);
    cr_assert(complaints);
    int err = block_trace_read("trace", complaints, trace);
    fclose(complaints);
    return err;
}

static void refused(const char *text, const char *reason)
{
    struct block_trace trace = {.count = 77};
    write_trace(text);
    cr_assert_lt(read_trace(&trace), 0, "taken: %s", text);
    cr_assert(strstr(said, reason), "'%s' is not in: %s", reason, said);
    cr_assert_eq(trace.count, 77, "an output is written only on success");
}

static void same_accesses(const struct block_trace *trace, const uint32_t *object, const uint64_t *at_ns, size_t count)
{
    cr_assert_eq(trace->count, count);
    for (size_t i = 0; i < count; i++) {
        cr_assert_eq(trace->access[i].object, object[i], "object %zu is %u", i, trace->access[i].object);
        cr_assert_eq(trace->access[i].at_ns, at_ns[i], "time %zu is %llu", i, (unsigned long long)trace->access[i].at_ns);
    }
}

/* Numbered by first access, from the first time on; equal times are spread to the next one, at most over 3 s. */
Test(blocks, reads_lines_and_spreads_equal_times)
{
    static const uint32_t object[] = {0, 1, 0, 2, 1, 3};
    static const uint64_t at_ns[] = {0, S / 2, 1 * S, 1 * S + 3 * S / 2, 9 * S, 9 * S + 3 * S / 2};
    struct block_trace    trace;
    write_trace("5000,70,1\n5000,9,1\n6000,70,2\n6000,18446744073709551615,2\r\n14000,9,3\n14000,1,3");
    cr_assert_eq(read_trace(&trace), 0, "%s", said);
    cr_assert_eq(trace.objects, 4);
    same_accesses(&trace, object, at_ns, 6);
    block_trace_free(&trace);
}

Test(blocks, reads_mooncake_jsonl)
{
    static const uint32_t object[] = {0, 1, 0, 2};
    static const uint64_t at_ns[] = {0, S, 2 * S, 2 * S + 3 * S / 2};
    struct block_trace    trace;
    write_trace("{\"timestamp\": 1000, \"input_length\": 900, \"output_length\": 1, \"hash_ids\": [46, 47]}\n"
                "{\"timestamp\": 1500, \"input_length\": 0, \"output_length\": 1, \"hash_ids\": []}\n"
                "{\"timestamp\": 3000, \"input_length\": 900, \"output_length\": 1, \"hash_ids\": [46, 2353]}\n");
    cr_assert_eq(read_trace(&trace), 0, "%s", said);
    cr_assert_eq(trace.objects, 3);
    cr_assert_eq(trace.requests, 3);
    same_accesses(&trace, object, at_ns, 4);
    block_trace_free(&trace);
}

Test(blocks, reads_gzip)
{
    struct block_trace trace;
    gzFile             out = gzopen("trace", "wb");
    cr_assert(out);
    gzputs(out, "0,0,0\n1000,0,1\n");
    cr_assert_eq(gzclose(out), Z_OK);
    cr_assert_eq(read_trace(&trace), 0, "%s", said);
    cr_assert_eq(trace.count, 2);
    cr_assert_eq(trace.objects, 1);
    block_trace_free(&trace);
    /* Cut short. */
    cr_assert_eq(truncate("trace", 20), 0);
    cr_assert_lt(read_trace(&trace), 0);
    cr_assert(strstr(said, "trace: "), "%s", said);
}

Test(blocks, refuses_bad_lines_with_file_number_and_reason)
{
    refused("0,1,2\n0,x,2\n", "trace:2: a number is missing");
    refused("0,1\n", "trace:1: the line is not timestamp_ms,object_id,request_id");
    refused("0,1,2,3\n", "trace:1: the line is not timestamp_ms,object_id,request_id");
    refused("0,1,2 \n", "trace:1: the line is not timestamp_ms,object_id,request_id");
    refused("-1,1,2\n", "trace:1: a number is missing");
    refused("0,18446744073709551616,2\n", "trace:1: a number is too large");
    refused("5,1,2\n\n4,1,2\n", "trace:3: the time goes back");
    refused("{\"timestamp\": 1, \"hash_ids\": [1}\n", "trace:1: the line is not JSON");
    refused("{\"hash_ids\": [1]}\n", "trace:1: \"timestamp\" is not a time in milliseconds");
    refused("{\"timestamp\": 1}\n", "trace:1: \"hash_ids\" is not an array");
    refused("{\"timestamp\": 1, \"hash_ids\": [1, \"x\"]}\n", "trace:1: \"hash_ids\" holds something else than integers");
    refused("", "trace: no accesses in it");
    refused("{\"timestamp\": 1, \"hash_ids\": []}\n", "trace: no accesses in it");
}

Test(blocks, refuses_a_time_that_is_no_milliseconds)
{
    refused("0,1,2\n18446744073710,1,2\n", "trace:2: the time is no milliseconds");
    refused("0,1,2\n18446744073709551615,1,2\n", "trace:2: the time is no milliseconds");
    refused("{\"timestamp\": 0, \"hash_ids\": [1]}\n{\"timestamp\": 9000000000000000, \"hash_ids\": [1]}\n",
            "trace:2: the time is no milliseconds");
}

/* Also on the last line, and where it has no end. */
Test(blocks, refuses_zero_bytes)
{
    static const char text[] = "0,1,2\n5,1,2\0,7";
    struct block_trace trace = {.count = 77};
    FILE              *out = fopen("trace", "w");
    cr_assert(out && fwrite(text, 1, sizeof text - 1, out) == sizeof text - 1 && fclose(out) == 0);
    cr_assert_lt(read_trace(&trace), 0);
    cr_assert(strstr(said, "trace:2: the line is longer than 4 MiB, or holds a zero byte"), "%s", said);
}

Test(blocks, counts_bad_lines_and_shows_five)
{
    refused("x\n0,1,2\nx\nx\nx\nx\nx\nx\n", "trace: 7 bad lines");
    cr_assert(strstr(said, "trace:6: "));
    cr_assert_null(strstr(said, "trace:7: "));
}

Test(blocks, names_a_missing_file)
{
    struct block_trace trace;
    cr_assert_lt(read_trace(&trace), 0);
    cr_assert(strstr(said, "trace: No such file"), "%s", said);
}

/* Run the command; returns its exit status. */
static int weir(const char *arguments)
{
    char line[1024];
    snprintf(line, sizeof line, "%s replay --blocks %s >/dev/null 2>&1", WEIR_TOOL, arguments);
    int status = system(line);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Chats, a request a second: some shared prompts, each with a tail of its own that is asked for again. */
static void write_chats(unsigned requests)
{
    FILE    *out = fopen("trace", "w");
    unsigned seed = 5;
    cr_assert(out);
    for (unsigned request = 0; request < requests; request++) {
        unsigned chat = (seed = seed * 1103515245 + 12345) >> 16 & 63;
        for (unsigned block = 0; block < 4; block++) fprintf(out, "%u,%u,%u\n", request * 1000, chat % 4 * 4 + block, request);
        for (unsigned block = 0; block < 6; block++) fprintf(out, "%u,%u,%u\n", request * 1000, 100 + chat * 6 + block, request);
    }
    cr_assert(fclose(out) == 0);
}

static json_t *load(const char *name)
{
    json_error_t error;
    json_t      *object = json_load_file(name, 0, &error);
    cr_assert(json_is_object(object), "%s: %s", name, error.text);
    return object;
}

static double at(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    cr_assert(json_is_number(value), "no number at %s", key);
    return json_number_value(value);
}

Test(blocks, reports_every_key)
{
    write_chats(600);
    cr_assert_eq(weir("trace --budget 10% --pinned-budget 0.2 --cost 0.1 --block-bytes 1024 --json run.json"), 0);
    json_t *run = load("run.json");
    cr_assert_eq(at(run, "accesses"), 6000);
    double objects = at(run, "objects"), again = 6000 - objects;
    cr_assert_eq(objects, 16 + 64 * 6);
    cr_assert_eq(at(run, "budget_objects"), 40);
    cr_assert_eq(at(run, "pinned_objects"), 80);
    cr_assert_float_eq(at(run, "rehit"), at(run, "hits") / again, 1e-9);
    cr_assert_float_eq(at(run, "promotions_per_1000"), at(run, "promotions") / 6, 1e-9);
    cr_assert_gt(at(run, "promotions"), 40);
    cr_assert_gt(at(run, "demotions"), 0);
    cr_assert_geq(at(run, "bytes_moved"), 1024 * (at(run, "promotions") + at(run, "demotions")));
    cr_assert_eq(at(run, "corrupt"), 0);
    cr_assert_eq(at(run, "cost"), 0.1);
    cr_assert_gt(at(run, "wall_s"), 0);
    cr_assert_str_eq(json_string_value(json_object_get(run, "policy")), "hazard");
    const json_t *shares = json_object_get(run, "tier_shares");
    cr_assert_float_eq(at(shares, "device") + at(shares, "pinned") + at(shares, "pageable"), 1, 1e-9);
    cr_assert_gt(at(shares, "pinned"), 0.1);
    /* Every 500 ms from the first access to the last, those without accesses, too. */
    cr_assert_geq(at(run, "periods"), 1199);
    cr_assert_leq(at(run, "periods"), 1206);
    json_decref(run);
}

Test(blocks, does_not_depend_on_threads_but_on_the_policy)
{
    static const char *const policies[] = {"hazard", "lru", "static"};
    double                   rehit[3];
    write_chats(200);
    for (int i = 0; i < 3; i++) {
        char arguments[200];
        for (int threads = 1; threads <= 7; threads += 6) {
            snprintf(arguments, sizeof arguments, "trace --policy %s --budget 20%% --threads %d --json %s", policies[i],
                     threads, threads == 1 ? "one.json" : "run.json");
            cr_assert_eq(weir(arguments), 0);
        }
        json_t *one = load("one.json"), *many = load("run.json");
        static const char *const same[] = {"hits", "promotions", "demotions", "bytes_moved", "periods"};
        for (size_t k = 0; k < sizeof same / sizeof same[0]; k++)
            cr_assert_eq(at(one, same[k]), at(many, same[k]), "%s: %s", policies[i], same[k]);
        cr_assert_eq(at(many, "threads"), 7);
        rehit[i] = at(one, "rehit");
        json_decref(one);
        json_decref(many);
    }
    cr_assert_neq(rehit[0], rehit[1]);
    cr_assert_gt(rehit[1], 0.05);
    cr_assert_eq(rehit[2], 0, "static never moves");
}

Test(blocks, refuses_wrong_usage)
{
    write_chats(200);
    cr_assert_eq(weir("trace --budget 0.001"), 2, "less than one object");
    cr_assert_eq(weir("trace --budget 120%"), 2);
    cr_assert_eq(weir("trace --policy fortune"), 2);
    cr_assert_eq(weir("trace --clock sun"), 2);
    cr_assert_eq(weir("trace --json missing/run.json"), 2, "told before the trace is played");
    cr_assert_eq(weir("nowhere"), 2);
    cr_assert_eq(weir("trace surplus"), 2);
    write_trace("0,1\n");
    cr_assert_eq(weir("trace --json run.json"), 2);
    cr_assert_neq(access("run.json", F_OK), 0, "nothing half done");
}
