/* SPDX-License-Identifier: Apache-2.0 */
/* gpu_output.c - the command line, and what a run has found: tables, targets, checks, what was skipped */
#include "gpu.h"

#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define JSON_BYTES ((size_t)4 << 20)
#define NOTES_MAX  256

/* An outcome with its words. */
struct note {
    const char *kind; /* "check", "target", "skipped", "fact" */
    char        name[96];
    char        words[320];
    bool        good;
};

struct gpu_options gpu_options;

static const char    *run_name, *run_title, *program;
static struct wi_text json;
static bool           in_table, in_row;
static struct note    notes[NOTES_MAX];
static size_t         notes_count;
static unsigned       failures;
static uint64_t       begin_ns;

/* ---- command line ---- */

_Noreturn static void usage(int status)
{
    fprintf(status ? stderr : stdout,
            "usage: %s [--quick] [--seconds n] [--gib n] [--plant bug] [--json file]\n%s: %s\n", program, run_name,
            run_title);
    exit(status);
}

static const char *value_of(int argc, char **argv, int *at)
{
    if (*at + 1 >= argc) usage(2);
    return argv[++*at];
}

void gpu_begin(const char *run, const char *title, int argc, char **argv)
{
    run_name = run;
    run_title = title;
    program = argv[0];
    begin_ns = weir_clock_ns();
    gpu_load_eagerly();
    for (int at = 1; at < argc; at++) {
        if (strcmp(argv[at], "--quick") == 0) {
            gpu_options.quick = true;
        } else if (strcmp(argv[at], "--json") == 0) {
            gpu_options.json = value_of(argc, argv, &at);
        } else if (strcmp(argv[at], "--child") == 0) {
            gpu_options.child = value_of(argc, argv, &at);
        } else if (strcmp(argv[at], "--plant") == 0) {
            gpu_options.plant = value_of(argc, argv, &at);
        } else if (strcmp(argv[at], "--seconds") == 0) {
            gpu_options.seconds = strtoull(value_of(argc, argv, &at), NULL, 10);
        } else if (strcmp(argv[at], "--gib") == 0) {
            gpu_options.bytes_max = strtoull(value_of(argc, argv, &at), NULL, 10) * GIB;
        } else {
            usage(strcmp(argv[at], "--help") == 0 ? 0 : 2);
        }
    }
    char *at = malloc(JSON_BYTES);
    if (at == NULL) gpu_fatal("no memory for the output");
    wi_text_init(&json, at, JSON_BYTES);
    wi_json_open(&json, NULL, '{');
    wi_json_string(&json, "run", run_name);
    wi_json_string(&json, "title", run_title);
    wi_json_u64(&json, "quick", gpu_options.quick);
    wi_json_open(&json, "tables", '[');
}

/* ---- tables ---- */

static void end_row(void)
{
    if (!in_row) return;
    wi_json_close(&json, '}');
    putchar('\n');
    in_row = false;
}

static void end_table(void)
{
    end_row();
    if (!in_table) return;
    wi_json_close(&json, ']');
    wi_json_close(&json, '}');
    in_table = false;
}

void gpu_table(const char *name, const char *note)
{
    end_table();
    in_table = true;
    wi_json_open(&json, NULL, '{');
    wi_json_string(&json, "name", name);
    wi_json_string(&json, "note", note);
    wi_json_open(&json, "rows", '[');
    printf("\n%s %s: %s\n", run_name, name, note);
}

void gpu_row(void)
{
    end_row();
    in_row = true;
    wi_json_open(&json, NULL, '{');
    fflush(stdout);
}

void gpu_text(const char *key, const char *value)
{
    wi_json_string(&json, key, value);
    printf("  %s %s", key, value);
}

void gpu_number(const char *key, double value)
{
    wi_text_add(&json, "%s\"%s\":%.6g", json.comma ? "," : "", key, value);
    json.comma = true;
    printf("  %s %.6g", key, value);
}

void gpu_latency(const char *prefix, const struct weir_latency *latency)
{
    const uint64_t values[] = {latency->p50_ns, latency->p99_ns, latency->p999_ns, latency->max_ns};
    const char    *names[] = {"p50_ns", "p99_ns", "p999_ns", "max_ns"};
    for (size_t i = 0; i < WI_ARRAY_COUNT(values); i++) {
        char key[64];
        snprintf(key, sizeof(key), "%s_%s", prefix, names[i]);
        gpu_number(key, (double)values[i]);
    }
}

/* ---- outcomes ---- */

WI_PRINTF(4, 0)
static void add_note(const char *kind, const char *name, bool good, const char *format, va_list arguments)
{
    if (notes_count == NOTES_MAX) gpu_fatal("more than %d notes", NOTES_MAX);
    struct note *note = &notes[notes_count++];
    *note = (struct note){.kind = kind, .good = good};
    snprintf(note->name, sizeof(note->name), "%s", name);
    vsnprintf(note->words, sizeof(note->words), format, arguments);
    end_row();
}

void gpu_check(const char *name, bool holds, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add_note("check", name, holds, format, arguments);
    va_end(arguments);
    failures += !holds;
    printf("%s check %s: %s\n", holds ? "ok    " : "FAILED", name, notes[notes_count - 1].words);
}

void gpu_target(const char *name, bool reached, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add_note("target", name, reached, format, arguments);
    va_end(arguments);
    printf("%s target %s: %s\n", reached ? "ok    " : "missed", name, notes[notes_count - 1].words);
}

void gpu_skip(const char *name, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add_note("skipped", name, true, format, arguments);
    va_end(arguments);
    printf("skipped %s: %s\n", name, notes[notes_count - 1].words);
}

void gpu_fact(const char *name, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add_note("fact", name, true, format, arguments);
    va_end(arguments);
}

void gpu_fatal(const char *format, ...)
{
    va_list arguments;
    fflush(stdout);
    fprintf(stderr, "%s: ", program ? program : "gpu");
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    _exit(1);
}

void gpu_fatal_weir(const char *call)
{
    char text[512];
    (void)weir_error_text(text, sizeof(text));
    gpu_fatal("%s: %s", call, text);
}

void gpu_fatal_cu(const char *call, wi_cu_result result)
{
    gpu_fatal("%s answers %u, %s", call, result, wi_cu_meaning_of(result)->name);
}

/* ---- the end ---- */

static void write_notes(const char *kind, const char *key)
{
    wi_json_open(&json, key, '[');
    for (size_t i = 0; i < notes_count; i++) {
        if (strcmp(notes[i].kind, kind) != 0) continue;
        wi_json_open(&json, NULL, '{');
        wi_json_string(&json, "name", notes[i].name);
        wi_json_string(&json, "text", notes[i].words);
        wi_json_u64(&json, "good", notes[i].good);
        wi_json_close(&json, '}');
    }
    wi_json_close(&json, ']');
}

/* The first line of a file that begins with `key`, after its colon. */
static void line_of(const char *path, const char *key, char *into, size_t bytes)
{
    char  line[512];
    FILE *file = fopen(path, "re");
    into[0] = '\0';
    while (file && fgets(line, sizeof(line), file)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, key, strlen(key)) != 0) continue;
        snprintf(into, bytes, "%.*s", (int)bytes - 1, colon ? colon + 2 : line);
        into[strcspn(into, "\n")] = '\0';
        break;
    }
    if (file) fclose(file);
}

static void write_machine(void)
{
    struct utsname name;
    char           cpu[256], load[64], when[64], driver[16384];
    double         average[3] = {0};
    time_t         now = time(NULL);
    struct tm      utc;
    (void)uname(&name);
    (void)getloadavg(average, 3);
    line_of("/proc/cpuinfo", "model name", cpu, sizeof(cpu));
    snprintf(load, sizeof(load), "%.1f %.1f %.1f", average[0], average[1], average[2]);
    strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    wi_json_open(&json, "machine", '{');
    wi_json_string(&json, "time", when);
    wi_json_string(&json, "cpu", cpu);
    wi_json_u64(&json, "cpus", (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));
    wi_json_string(&json, "kernel", name.release);
    wi_json_string(&json, "load", load);
    wi_json_close(&json, '}');
    if (weir_driver_format(driver, sizeof(driver)) < (int)sizeof(driver)) {
        wi_text_add(&json, ",\"driver\":%s", driver);
        json.comma = true;
    }
}

int gpu_end(void)
{
    end_table();
    wi_json_close(&json, ']');
    write_notes("check", "checks");
    write_notes("target", "targets");
    write_notes("skipped", "skipped");
    write_notes("fact", "facts");
    write_machine();
    wi_json_u64(&json, "double", gpu.is_double);
    wi_json_u64(&json, "seconds", (weir_clock_ns() - begin_ns) / WI_NS_PER_S);
    wi_json_close(&json, '}');
    if (json.length >= json.capacity) gpu_fatal("the output is longer than %zu bytes", json.capacity);
    if (gpu_options.json) {
        FILE *file = fopen(gpu_options.json, "we");
        if (!file || fprintf(file, "%s\n", json.at) < 0 || fclose(file) != 0)
            gpu_fatal("cannot write %s", gpu_options.json);
    }
    free(json.at);
    printf("\n%s: %s, %u checks failed, %lu s\n", run_name, failures ? "FAILED" : "done", failures,
           (unsigned long)((weir_clock_ns() - begin_ns) / WI_NS_PER_S));
    return failures ? 1 : 0;
}
