/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The weir command from outside: exit status, what it says, and what it measures. WEIR_TOOL is the
 * program. Every replay here is small; the baselines run too unless a test says otherwise.
 */
#include <criterion/criterion.h>
#include <jansson.h>
#include <pty.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define OUTPUT_BYTES (1 << 20)
#define REAL_TRACE   "azure2023-conv-arrivals.csv.gz"

static char folder[] = "/tmp/weir-test-command-XXXXXX";
static char output[OUTPUT_BYTES]; /* standard output and standard error of the last run */

static void make_folder(void)
{
    cr_assert(mkdtemp(folder));
    cr_assert(chdir(folder) == 0);
}

static void remove_folder(void)
{
    static const char *const names[] = {"arrivals.csv", "run.json", "run.json.partial"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) unlink(names[i]);
    rmdir(folder);
}

TestSuite(command, .init = make_folder, .fini = remove_folder, .timeout = 240);

/* Run `weir` with these arguments; returns its exit status, or -1 when it died of a signal. */
static int weir(const char *format, ...)
{
    char    arguments[1024], line[2048];
    va_list list;

    va_start(list, format);
    vsnprintf(arguments, sizeof(arguments), format, list);
    va_end(list);
    snprintf(line, sizeof(line), "%s %s 2>&1", WEIR_TOOL, arguments);
    FILE *pipe = popen(line, "r");
    cr_assert(pipe);
    size_t count = fread(output, 1, sizeof(output) - 1, pipe);
    output[count] = '\0';
    int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void expect(int status, int wanted)
{
    cr_assert_eq(status, wanted, "exit status %d, not %d:\n%s", status, wanted, output);
}

static void expect_text(const char *text)
{
    cr_assert(strstr(output, text), "'%s' is not in:\n%s", text, output);
}

/* 40 requests within 400 ms. */
static void write_arrivals(void)
{
    FILE *out = fopen("arrivals.csv", "w");

    cr_assert(out);
    for (int i = 0; i < 40; i++) fprintf(out, "%d,%d,%d\n", i * 10, 100 + i * 150, i * 8);
    cr_assert(fclose(out) == 0);
}

static json_t *read_json(void)
{
    json_error_t error;
    json_t      *object = json_load_file("run.json", 0, &error);

    cr_assert(json_is_object(object), "run.json: %s", error.text);
    return object;
}

/* The number at a path of keys, such as "acquire.p99_ns". */
static double number_at(const json_t *object, const char *path)
{
    char keys[128];

    snprintf(keys, sizeof(keys), "%s", path);
    for (char *rest = keys, *key; (key = strsep(&rest, "."));)
        object = json_object_get(object, key);
    cr_assert(json_is_number(object), "no number at %s", path);
    return json_number_value(object);
}

static double number_in_file(const char *path)
{
    json_t *object = read_json();
    double  value = number_at(object, path);

    json_decref(object);
    return value;
}

/*
 * `weir replay` with these arguments and run.json, for a moment, and for longer until the number at `path` is above
 * `above`: a busy machine may do nothing at all in a moment. Returns the number.
 */
static double replay_until(int status, const char *path, double above, const char *arguments)
{
    double value = 0;

    for (double seconds = 0.25; seconds <= 16 && value <= above; seconds *= 4) {
        int found = weir("replay --seconds %g --json run.json %s", seconds, arguments);
        if (found == 0 && status == 1) continue; /* what it has to find has not happened yet */
        expect(found, status);
        value = number_in_file(path);
    }
    cr_assert(value > above, "%s: %g, not above %g:\n%s", path, value, above, output);
    return value;
}

/* As weir(), with a terminal for its output. */
static int weir_on_a_terminal(const char *arguments)
{
    char    line[2048];
    size_t  count = 0;
    ssize_t got;
    int     terminal, status;

    snprintf(line, sizeof(line), "exec %s %s", WEIR_TOOL, arguments);
    pid_t child = forkpty(&terminal, NULL, NULL, NULL);
    cr_assert(child >= 0);
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", line, (char *)NULL);
        _exit(127);
    }
    while (count < sizeof(output) - 1 && (got = read(terminal, output + count, sizeof(output) - 1 - count)) > 0)
        count += (size_t)got;
    output[count] = '\0';
    close(terminal);
    cr_assert_eq(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

Test(command, explains_itself)
{
    expect(weir("--help"), 0);
    expect_text("replay");
    expect_text("Exit status");
    expect(weir("--version"), 0);
    expect_text("weir 0.");
    expect(weir("replay --help"), 0);
    expect_text("--arrivals");
    expect(weir("info --help"), 0);
}

Test(command, refuses_wrong_usage)
{
    expect(weir("%s", ""), 2);
    expect(weir("rePlay"), 2);
    expect_text("unknown command 'rePlay'");
    expect(weir("--frobnicate"), 2);
    expect_text("unknown option");
    expect(weir("replay --frobnicate"), 2);
    expect(weir("replay stray"), 2);
    expect(weir("replay --threads 0"), 2);
    expect(weir("replay --threads 4x"), 2);
    expect(weir("replay --speedup fast"), 2);
    expect(weir("replay --speedup -1"), 2);
    expect(weir("replay --seconds 0"), 2);
    expect(weir("replay --plant something"), 2);
    expect(weir("replay --baseline lots"), 2);
    expect(weir("replay --seconds 1 --backend abacus"), 2);
    expect_text("cannot open the device");
    expect(weir("info --backend abacus"), 2);
}

Test(command, refuses_bad_input_and_leaves_nothing)
{
    FILE *out = fopen("arrivals.csv", "w");

    fputs("0,10,10\nnonsense\n", out);
    fclose(out);
    expect(weir("replay --arrivals arrivals.csv --json run.json"), 2);
    expect_text("arrivals.csv:2: timestamp_ms");
    expect_text("1 bad lines of 2");
    cr_assert(access("run.json", F_OK) != 0);
    cr_assert(access("run.json.partial", F_OK) != 0);
    expect(weir("replay --arrivals missing.csv"), 2);
    expect_text("missing.csv: No such file");
    write_arrivals();
    expect(weir("replay --arrivals arrivals.csv --json missing/run.json"), 2);
    expect_text("missing/run.json: No such file");
}

Test(command, replays_a_file_and_reports_every_key)
{
    static const char *const zero[] = {"failures",
                                       "corrupt",
                                       "leaked",
                                       "baseline.mutex.failures",
                                       "baseline.mutex.corrupt",
                                       "baseline.mutex.leaked",
                                       "baseline.malloc.failures",
                                       "baseline.malloc.corrupt",
                                       "baseline.malloc.leaked"};
    static const char *const present[] = {"acquire.p50_ns",
                                          "acquire.p99_ns",
                                          "acquire.p999_ns",
                                          "acquire.max_ns",
                                          "baseline.mutex.acquire.p99_ns",
                                          "baseline.malloc.acquire.p99_ns",
                                          "wall_s",
                                          "bytes"};
    static const char *const numbers[] = {"retiring_max", "waits", "growths", "seed"};

    write_arrivals();
    expect(weir("replay --arrivals arrivals.csv --threads 8 --speedup max --json run.json"), 0);
    expect_text("everything came home");
    json_t *object = read_json();
    cr_assert_eq(number_at(object, "requests"), 40);
    cr_assert_eq(number_at(object, "baseline.mutex.requests"), 40);
    cr_assert_eq(number_at(object, "baseline.malloc.requests"), 40);
    for (size_t i = 0; i < sizeof(zero) / sizeof(zero[0]); i++)
        cr_assert_eq(number_at(object, zero[i]), 0, "%s", zero[i]);
    for (size_t i = 0; i < sizeof(present) / sizeof(present[0]); i++)
        cr_assert(number_at(object, present[i]) > 0, "%s", present[i]);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) number_at(object, numbers[i]);
    cr_assert_eq(number_at(object, "threads"), 8);
    cr_assert_str_eq(json_string_value(json_object_get(object, "speedup")), "max");
    cr_assert(json_is_string(json_object_get(object, "backend")));
    cr_assert(json_is_string(json_object_get(object, "model")));
    cr_assert(json_array_size(json_object_get(object, "series")) >= 1);
    /* All prompts went up: their tokens alone are this many bytes. */
    double tokens = 0;
    for (int i = 0; i < 40; i++) tokens += 100 + i * 150;
    cr_assert(number_at(object, "bytes") > tokens * 4);
    json_decref(object);
}

Test(command, keeps_the_times_of_the_arrivals)
{
    write_arrivals();
    expect(weir("replay --arrivals arrivals.csv --threads 8 --speedup 0.5 --prefill-ns 0 --decode-ns 0 --baseline none "
                "--json run.json"),
           0);
    double wall_s = number_in_file("wall_s");
    cr_assert(wall_s >= 0.78, "%g s for arrivals that take 0.78 s", wall_s);
    cr_assert_eq(number_in_file("speedup"), 0.5);
    cr_assert_eq(number_in_file("requests"), 40);
}

Test(command, stops_after_the_given_time)
{
    double requests = 0;

    write_arrivals();
    for (int i = 0; i < 10 && requests < 1; i++) { /* none: the machine stood still for so long */
        expect(weir("replay --arrivals arrivals.csv --speedup 1 --seconds 0.2 --prefill-ns 0 --decode-ns 0 "
                    "--baseline none --json run.json"),
               0);
        requests = number_in_file("requests");
    }
    cr_assert(requests >= 1 && requests <= 20, "%g of arrivals every 10 ms, in 200 ms", requests);
}

Test(command, draws_requests_without_a_file)
{
    double requests = replay_until(0, "requests", 10, "--threads 16 --baseline none");
    double seconds = number_in_file("seconds");
    cr_assert(requests < 550 * seconds + 150, "%g requests in %g s at 550 a second", requests, seconds);
    expect(weir("replay --seconds 0.2 --threads 16 --baseline mutex --speedup max --json -"), 0);
    expect_text("\"baseline\"");
}

Test(command, grows_under_load)
{
    static const char load[] = "--threads 64 --speedup max --baseline none";

    replay_until(0, "growths", 0, load);
    if (number_in_file("retiring_max") == 0) replay_until(0, "retiring_max", 0, load); /* seen at samples only */
}

/* The bug that the stamps are there for. Twice, because the second planting has other seeds and times. */
Test(command, sees_memory_that_is_reused_too_early)
{
    static const char *const planted[] = {"--threads 16 --speedup max --plant early-reuse --seed 1",
                                          "--threads 16 --speedup max --plant early-reuse --seed 2"};

    for (int i = 0; i < 2; i++) {
        replay_until(1, "corrupt_steps", 0, planted[i]);
        expect_text("corrupt");
        cr_assert(number_in_file("corrupt") > 0);
        cr_assert_eq(number_in_file("failures"), 0);
        cr_assert_eq(number_in_file("leaked"), 0);
    }
}

/* An interrupted run still reports, and says so; the baselines are left out. */
Test(command, reports_what_was_done_before_an_interrupt)
{
    /* An interrupt before the first request leaves nothing to report: a busy machine gets more time to begin. */
    for (unsigned seconds = 1; seconds <= 64 && access("run.json", F_OK) != 0; seconds *= 2) {
        snprintf(output, sizeof(output),
                 "timeout -s INT %u %s replay --seconds 300 --speedup 20 --threads 4 --json run.json > /dev/null",
                 seconds, WEIR_TOOL);
        cr_assert_neq(system(output), 0);
    }
    json_t *object = read_json();
    cr_assert(json_is_true(json_object_get(object, "interrupted")));
    cr_assert(number_at(object, "requests") > 0);
    cr_assert_eq(number_at(object, "failures"), 0);
    cr_assert_eq(number_at(object, "leaked"), 0);
    cr_assert_eq(json_object_size(json_object_get(object, "baseline")), 0);
    json_decref(object);
}

#ifdef WEIR_CUDA_DOUBLE
/* On the cuda backend the CPU does not read device memory: what arrived there comes back to be checked. */
Test(command, replays_through_the_cuda_backend)
{
    setenv("WEIR_CUDA_LIBRARY", WEIR_CUDA_DOUBLE, 1);
    write_arrivals();
    expect(weir("replay --backend cuda --arrivals arrivals.csv --threads 8 --speedup max "
                "--json run.json"),
           0);
    cr_assert_eq(number_in_file("requests"), 40);
    cr_assert_eq(number_in_file("corrupt"), 0);
    cr_assert_eq(number_in_file("baseline.mutex.corrupt"), 0);
    replay_until(1, "corrupt", 0, "--backend cuda --threads 16 --speedup max --plant early-reuse");
}
#endif

Test(command, shows_what_it_finds)
{
    expect(weir("info --backend host"), 0);
    expect_text("memlock limit");
    expect_text("WEIR_PINNED_BYTES_MAX");
    setenv("WEIR_MONITOR_MS", "77", 1);
    expect(weir("info --backend host --json > run.json"), 0);
    json_t *object = read_json();
    cr_assert_str_eq(json_string_value(json_object_get(object, "backend")), "host");
    cr_assert(number_at(object, "limits.pinned_bytes_max") > 0);
    cr_assert(json_array_size(json_object_get(object, "settings")) > 10);
    json_decref(object);
    expect(weir("info --config"), 0);
    expect_text("77");
    cr_assert(!strstr(output, "memlock limit"), "no device is opened for --config");
}

Test(command, shows_a_bar_while_it_pins_on_a_terminal_only)
{
    write_arrivals();
    expect(weir_on_a_terminal("replay --arrivals arrivals.csv --threads 4 --speedup max --baseline mutex"), 0);
    expect_text("[..............................] pinning prompts: 0 B of ");
    expect_text("pinning steps: ");
    expect(weir("replay --arrivals arrivals.csv --threads 4 --speedup max --baseline none"), 0);
    cr_assert(!strstr(output, "pinning"), "%s", output);
}

/* A good part of the real trace's hour; skipped where the trace is not at hand. */
Test(command, replays_the_real_trace)
{
    const char *traces = getenv("WEIR_TRACES");
    char        file[4096], arguments[sizeof(file) + 100];

    snprintf(file, sizeof(file), "%s/" REAL_TRACE, traces ? traces : WEIR_TRACES_DEFAULT);
    if (access(file, R_OK) != 0) cr_skip_test("no file %s; set WEIR_TRACES", file);
    snprintf(arguments, sizeof(arguments), "--arrivals %s --threads 64 --speedup 400 --baseline none", file);
    replay_until(0, "requests", 300, arguments);
}
