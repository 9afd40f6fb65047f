/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conformance.c - the conformance suite of the device contract as a plain program
 *
 * For sanitizers that Criterion does not start under, and for machines with a real device and without
 * Criterion. Each test runs in a process of its own with a time limit, because a failed one may leave the device in
 * any state. Takes a few seconds on the host backend.
 *
 *     conformance [--backend host|cuda] [--repeat n] [--seconds limit] [test ...]
 *
 * Prints a line for each test, the same on each backend, so that two logs can be compared. A line that begins with
 * "observed" is no judgement: it says what a real driver does with a copy that nobody may make.
 *
 * Exit code: 0 all passed, 1 some failed, 77 there is no such backend here.
 */
#include "device/conformance.h"

#include "device/host.h"
#ifdef WEIR_GPU_HOOKS
#include "gpu/conformance_hooks.h"
#include "gpu/gpu.h"
#endif

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_SKIP 77

static const struct {
    const char *name;
    void (*run)(const struct conformance *backend);
} tests[] = {
#define X(name) {#name, conformance_##name},
    CONFORMANCE_TESTS(X)
#undef X
};

struct plan {
    const char *backend;
    char      **names; /* of the tests to run; none: all */
    int         names_count;
    unsigned    repeat;
    unsigned    limit_s;
};

static const char *backend_name;
static bool        device_lost;

void conformance_fail(const char *file, unsigned line, const char *format, ...)
{
    va_list arguments;

    fprintf(stderr, "%s:%u: ", file, line);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    /* The device's threads may be anywhere. */
    _exit(1);
}

static int open_backend(struct wi_device **out)
{
    return wi_device_open(backend_name, 0, out);
}

static void lose_host(struct wi_device *device)
{
    wi_emu_lose(wi_host_emu(device));
}

static void capture_host(struct wi_device *device, void *stream, bool on)
{
    if (on)
        wi_emu_capture_begin(wi_host_emu(device), stream);
    else
        wi_emu_capture_end(wi_host_emu(device), stream);
}

#ifdef WEIR_GPU_HOOKS
static void observed(const char *what, int err)
{
    printf("observed: %s: %s\n", what, err == 0 ? "is carried out" : weir_errname(err));
    fflush(stdout);
}

static void lose_over_a_driver(struct wi_device *device)
{
    device_lost = true;
    gpu_hook_lose(device);
}

static int open_and_prepare(struct wi_device **out)
{
    int err = open_backend(out);

    if (err == 0) gpu_hook_prepare(*out);
    return err;
}
#endif

/* The status that waitpid() gives. */
static int run_apart(size_t index, const struct conformance *backend, unsigned limit_s)
{
    pid_t child;
    int   status = 0;

    fflush(NULL);
    child = fork();
    if (child < 0) return -1;
    if (child == 0) {
        alarm(limit_s);
        tests[index].run(backend);
        fflush(stdout);
        /* What was made on a lost device stays with it, and no thread of a driver is waited for. */
        if (device_lost) _exit(0);
        exit(0); /* so that a leak checker has its say */
    }
    return waitpid(child, &status, 0) == child ? status : -1;
}

static bool is_chosen(const struct plan *plan, const char *name)
{
    for (int i = 0; i < plan->names_count; i++)
        if (strcmp(plan->names[i], name) == 0) return true;
    return plan->names_count == 0;
}

static unsigned run_all(const struct plan *plan)
{
    struct conformance backend = {.name = plan->backend, .open = open_backend};
    unsigned           passed = 0, failed = 0;

    if (strcmp(plan->backend, "host") == 0) {
        backend.lose = lose_host;
        backend.capture = capture_host;
    }
#ifdef WEIR_GPU_HOOKS
    if (strcmp(plan->backend, "cuda") == 0) {
        gpu_load_eagerly();
        backend.open = open_and_prepare;
        backend.lose = lose_over_a_driver;
        backend.capture = gpu_hook_capture;
        if (!gpu_hook_is_double()) backend.observed = observed;
    }
#endif
    for (size_t i = 0; i < WI_ARRAY_COUNT(tests); i++) {
        if (!is_chosen(plan, tests[i].name)) continue;
        for (unsigned turn = 0; turn < plan->repeat; turn++) {
            int status = run_apart(i, &backend, plan->limit_s);

            if (status == 0) {
                printf("passed %s\n", tests[i].name);
                passed++;
                continue;
            }
            if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIP) {
                printf("skipped %s\n", tests[i].name);
                continue;
            }
            failed++;
            if (status > 0 && WIFSIGNALED(status))
                printf("FAILED %s: ended by signal %d\n", tests[i].name, WTERMSIG(status));
            else
                printf("FAILED %s\n", tests[i].name);
        }
    }
    printf("conformance of %s: %u passed, %u failed\n", plan->backend, passed, failed);
    return passed == 0 ? 1 : failed;
}

/* In a child: opening a driver in this process would forbid it to the children. */
static bool can_open(void)
{
    int   status = 0;
    pid_t child = fork();

    if (child == 0) {
        struct wi_device *device = NULL;
        char              text[256];

        if (open_backend(&device) == 0) {
            device->ops->close(device);
            exit(0);
        }
        weir_error_text(text, sizeof(text));
        fprintf(stderr, "skipped: %s\n", text);
        _exit(EXIT_SKIP);
    }
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

int main(int argc, char **argv)
{
    struct plan plan = {.backend = "host", .repeat = 1, .limit_s = 60};
    int         at = 1;

    for (; at + 1 < argc && strncmp(argv[at], "--", 2) == 0; at += 2) {
        if (strcmp(argv[at], "--backend") == 0) {
            plan.backend = argv[at + 1];
        } else if (strcmp(argv[at], "--repeat") == 0) {
            plan.repeat = (unsigned)strtoul(argv[at + 1], NULL, 10);
        } else if (strcmp(argv[at], "--seconds") == 0) {
            plan.limit_s = (unsigned)strtoul(argv[at + 1], NULL, 10);
        } else {
            fprintf(stderr, "unknown option %s\n", argv[at]);
            return 2;
        }
    }
    plan.names = argv + at;
    plan.names_count = argc - at;
    backend_name = plan.backend;
    if (!can_open()) return EXIT_SKIP;
    return run_all(&plan) == 0 ? 0 : 1;
}
