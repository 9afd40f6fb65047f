/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `weir info` on machines that differ in their driver: none, the toolkit's stub, no device, too old, old, complete.
 * Each has words of its own, and the backend is chosen or refused as asked. WEIR_TOOL is the program.
 */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static char output[1 << 16]; /* standard output and standard error of the last run */

/* A driver library, what the double is told to be, and the sentence that only this case has. */
struct machine {
    const char *name, *library, *config, *sentence;
    int         usable;
};

static const struct machine machines[] = {
    {"no driver", "/nonexistent/libcuda.so.1", "", "not usable: no driver library: /nonexistent/libcuda.so.1", 0},
    {"a foreign library", WEIR_FOREIGN_LIBRARY, "", "lacks cuGetProcAddress_v2 of CUDA 12.0", 0},
    {"the stub", WEIR_CUDA_STUB, "", "is the toolkit's stub library and not a driver", 0},
    {"no device", WEIR_CUDA_DOUBLE, "devices=0", "not usable: the driver is there but no device is", 0},
    {"a driver that does not start", WEIR_CUDA_DOUBLE, "init=802", "not usable: the driver does not start: result 802", 0},
    {"a driver that lacks what is needed", WEIR_CUDA_DOUBLE, "version=9000",
     "not usable: the driver is too old: it is of CUDA 9.0 and lacks ", 0},
    {"a driver without an optional symbol", WEIR_CUDA_DOUBLE, "version=12040",
     "missing: cuMemcpyBatchAsync of CUDA 12.8 is newer than the driver; one driver call for each copy", 1},
    {"a driver with a symbol hidden", WEIR_CUDA_DOUBLE, "hide=cuThreadExchangeStreamCaptureMode",
     "missing: cuThreadExchangeStreamCaptureMode of CUDA 10.1 is not in the driver; queries may fail", 1},
    {"a complete driver", WEIR_CUDA_DOUBLE, "", "yes, by cuMemcpyBatchAsync of CUDA 13.0", 1},
};

#define MACHINES (sizeof machines / sizeof machines[0])

static int info(const struct machine *machine, const char *arguments)
{
    char line[4096];
    snprintf(line, sizeof line, "WEIR_CUDA_LIBRARY='%s' FAKECUDA='%s' %s info %s 2>&1", machine->library,
             machine->config, WEIR_TOOL, arguments);
    FILE *pipe = popen(line, "r");
    cr_assert(pipe);
    size_t count = fread(output, 1, sizeof output - 1, pipe);
    output[count] = '\0';
    int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void expect_text(const struct machine *machine, const char *text)
{
    cr_assert(strstr(output, text), "%s: '%s' is not in:\n%s", machine->name, text, output);
}

static void without_settings(void)
{
    unsetenv("WEIR_BACKEND");
    unsetenv("WEIR_LOG");
}

TestSuite(info, .init = without_settings, .timeout = 240);

Test(info, each_machine_has_words_of_its_own)
{
    for (size_t i = 0; i < MACHINES; i++) {
        cr_assert_eq(info(&machines[i], "--backend host"), 0, "%s", machines[i].name);
        expect_text(&machines[i], machines[i].sentence);
        /* The last is complete: what it has, others may have too. */
        for (size_t j = 0; j + 1 < MACHINES; j++)
            cr_assert(i == j || !strstr(output, machines[j].sentence), "%s reads like %s", machines[i].name,
                      machines[j].name);
    }
}

Test(info, the_backend_is_chosen_where_it_works)
{
    for (size_t i = 0; i < MACHINES; i++) {
        cr_assert_eq(info(&machines[i], ""), 0, "%s", machines[i].name);
        expect_text(&machines[i], machines[i].usable ? "backend            cuda (chosen: the driver is usable)"
                                                     : "backend            host (chosen: the driver is not usable)");
        expect_text(&machines[i], machines[i].sentence);
    }
}

Test(info, what_is_asked_for_is_used_or_refused)
{
    for (size_t i = 0; i < MACHINES; i++) {
        int wanted = machines[i].usable ? 0 : 2;
        cr_assert_eq(info(&machines[i], "--backend cuda"), wanted, "%s", machines[i].name);
        if (machines[i].usable) {
            expect_text(&machines[i], "cuda (asked for by --backend)");
            continue;
        }
        expect_text(&machines[i], "cannot open the device: NODRIVER");
        const char *sentence = machines[i].sentence;
        const char *prefix = "not usable: ";
        if (strncmp(sentence, prefix, strlen(prefix)) == 0) sentence += strlen(prefix);
        expect_text(&machines[i], sentence);
    }
    setenv("WEIR_BACKEND", "host", 1);
    cr_assert_eq(info(&machines[MACHINES - 1], ""), 0);
    expect_text(&machines[MACHINES - 1], "host (asked for by WEIR_BACKEND)");
}

Test(info, all_of_it_is_in_the_json)
{
    for (size_t i = 0; i < MACHINES; i++) {
        json_error_t error;
        cr_assert_eq(info(&machines[i], "--json"), 0, "%s", machines[i].name);
        json_t *object = json_loads(output, 0, &error);
        cr_assert(object, "%s: %s\n%s", machines[i].name, error.text, output);
        const json_t *driver = json_object_get(object, "driver");
        const char   *problem = json_string_value(json_object_get(driver, "problem"));
        cr_assert_not_null(problem);
        cr_assert_eq(*problem == '\0', machines[i].usable, "%s: %s", machines[i].name, problem);
        cr_assert_eq(json_array_size(json_object_get(driver, "features")) > 0, machines[i].usable);
        cr_assert_eq(json_array_size(json_object_get(driver, "devices")), (size_t)machines[i].usable);
        const json_t *limits = json_object_get(object, "limits");
        cr_assert(json_object_get(limits, "memlock_bytes"));
        cr_assert(json_is_integer(json_object_get(limits, "pinned_bytes_max")));
        cr_assert(json_array_size(json_object_get(object, "settings")) > 10);
        cr_assert(json_is_integer(json_object_get(object, "stream_priority_greatest")));
        json_decref(object);
    }
}

Test(info, every_device_is_listed)
{
    const struct machine two = {"two devices", WEIR_CUDA_DOUBLE, "devices=2,pci=0000:17:00.0", "", 1};
    cr_assert_eq(info(&two, ""), 0);
    expect_text(&two, "device 0         weir test double 0, 8.00 GiB, 0000:17:00.0");
    expect_text(&two, "device 1         weir test double 1");
    expect_text(&two, "PCIe link");
}
