/* SPDX-License-Identifier: Apache-2.0 */
/*
 * device_cost.c - what the calls of a backend cost the caller, and how near the host backend comes to its model
 *
 * Prints medians of 7 repetitions, with the model they were obtained on. It judges nothing: the numbers depend on the
 * machine and on who else is using it. Takes about five seconds.
 *
 *     device_cost [host|cuda]
 */
#include "device/device.h"

#include "base/alloc.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define REPETITIONS 7
#define CALLS       2000
#define BYTES_MAX   ((size_t)16 << 20)

struct setting {
    struct wi_device           *device;
    const struct wi_device_ops *ops;
    void                       *stream;
    void                       *event;
    void                       *start;
    void                       *end;
    unsigned char              *host;
    uint64_t                    address;
};

static void must(int err, const char *what)
{
    char text[256];

    if (err >= 0) return;
    weir_error_text(text, sizeof(text));
    fprintf(stderr, "%s: %s\n", what, text);
    exit(1);
}

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return (left > right) - (left < right);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), compare);
    return values[count / 2];
}

static void sync_stream(struct setting *setting)
{
    must(setting->ops->event_record(setting->device, setting->event, setting->stream), "record");
    must(setting->ops->event_sync(setting->device, setting->event), "sync");
}

/* ---- calls ---- */

static void hold_stream(void *ctx)
{
    while (wi_load((_Atomic uint32_t *)ctx, acquire) == 0)
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
}

static void call_copy(struct setting *setting)
{
    struct wi_copy copy = {
        .dst = setting->address, .src = (uintptr_t)setting->host, .bytes = 64, .kind = WI_COPY_UP};

    (void)setting->ops->copy(setting->device, &copy, setting->stream);
}

static void call_record(struct setting *setting)
{
    (void)setting->ops->event_record(setting->device, setting->event, setting->stream);
}

static void call_query(struct setting *setting)
{
    (void)setting->ops->event_query(setting->device, setting->event);
}

static void call_create_destroy(struct setting *setting)
{
    void *event = NULL;

    if (setting->ops->event_create(setting->device, 0, &event) == 0)
        (void)setting->ops->event_destroy(setting->device, event);
}

/* The stream stands meanwhile (behind = true), so what is measured is queueing and nothing else. */
static void measure_call(struct setting *setting, const char *name, void (*call)(struct setting *),
                         bool behind)
{
    double ns[REPETITIONS];

    for (int i = 0; i < REPETITIONS; i++) {
        _Atomic uint32_t go = 0;
        uint64_t         began_ns;

        if (behind)
            must(setting->ops->call(setting->device, hold_stream, &go, setting->stream), "call");
        call(setting);
        began_ns = weir_clock_ns();
        for (int j = 0; j < CALLS; j++) call(setting);
        ns[i] = (double)(weir_clock_ns() - began_ns) / CALLS;
        wi_store(&go, 1, release);
        sync_stream(setting);
    }
    printf("%-44s %9.0f ns\n", name, median(ns, REPETITIONS));
}

/* Each copy finds the device asleep, so its call pays for waking it. */
static void measure_waking_call(struct setting *setting)
{
    double ns[200], latency_ns[200];

    for (size_t i = 0; i < WI_ARRAY_COUNT(ns); i++) {
        uint64_t began_ns, queued_ns;

        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        began_ns = weir_clock_ns();
        call_copy(setting);
        queued_ns = weir_clock_ns();
        call_record(setting);
        while (setting->ops->event_query(setting->device, setting->event) == WEIR_EAGAIN)
            sched_yield();
        ns[i] = (double)(queued_ns - began_ns);
        latency_ns[i] = (double)(weir_clock_ns() - began_ns);
    }
    printf("%-44s %9.0f ns\n", "copy queued on a sleeping device", median(ns, WI_ARRAY_COUNT(ns)));
    printf("%-44s %9.0f ns\n", "  and seen done, 64 bytes", median(latency_ns, WI_ARRAY_COUNT(ns)));
}

/* ---- bandwidth ---- */

static double memcpy_rate(struct setting *setting, unsigned char *into, size_t bytes, size_t count)
{
    uint64_t began_ns = weir_clock_ns();

    for (size_t i = 0; i < count; i++) {
        memcpy(into, setting->host, bytes);
        __asm__ volatile("" ::: "memory");
    }
    return (double)bytes * (double)count / (double)(weir_clock_ns() - began_ns);
}

/* By the clock on the wall, and by the device's own time stamps. */
static void measure_bandwidth(struct setting *setting, unsigned char *scratch, size_t bytes,
                              uint32_t kind)
{
    size_t         count = ((size_t)64 << 20) / bytes;
    struct wi_copy copy = {.bytes = bytes, .kind = kind};
    double         wall[REPETITIONS], stamped[REPETITIONS], plain[REPETITIONS], cpu[REPETITIONS];

    copy.dst = kind == WI_COPY_UP ? setting->address : (uintptr_t)setting->host;
    copy.src = kind == WI_COPY_UP ? (uintptr_t)setting->host : setting->address;
    for (int i = 0; i < REPETITIONS; i++) {
        struct rusage before, after;
        uint64_t      began_ns, wall_ns, device_ns = 0;

        getrusage(RUSAGE_SELF, &before);
        began_ns = weir_clock_ns();
        must(setting->ops->event_record(setting->device, setting->start, setting->stream),
             "record");
        for (size_t j = 0; j < count; j++)
            must(setting->ops->copy(setting->device, &copy, setting->stream), "copy");
        must(setting->ops->event_record(setting->device, setting->end, setting->stream), "record");
        must(setting->ops->event_sync(setting->device, setting->end), "sync");
        wall_ns = weir_clock_ns() - began_ns;
        getrusage(RUSAGE_SELF, &after);
        must(setting->ops->event_elapsed(setting->device, setting->start, setting->end, &device_ns),
             "elapsed");
        wall[i] = (double)bytes * (double)count / (double)wall_ns;
        stamped[i] = (double)bytes * (double)count / (double)(device_ns + 1);
        cpu[i] = 1e6 * (double)(after.ru_utime.tv_sec - before.ru_utime.tv_sec +
                                after.ru_stime.tv_sec - before.ru_stime.tv_sec) +
                 (double)(after.ru_utime.tv_usec - before.ru_utime.tv_usec +
                          after.ru_stime.tv_usec - before.ru_stime.tv_usec);
        cpu[i] = 100.0 * cpu[i] * 1000.0 / (double)wall_ns;
        plain[i] = memcpy_rate(setting, scratch, bytes, count);
    }
    printf("%8zu KiB %-4s %8.2f %8.2f %8.2f %8.0f %%\n", bytes >> 10,
           kind == WI_COPY_UP ? "up" : "down", median(wall, REPETITIONS),
           median(stamped, REPETITIONS), median(plain, REPETITIONS), median(cpu, REPETITIONS));
}

static void setting_open(struct setting *setting, const char *backend)
{
    uint64_t address = 0;

    must(wi_device_open(backend, 0, &setting->device), "open");
    setting->ops = setting->device->ops;
    must(setting->ops->stream_create(setting->device, 0, &setting->stream), "stream");
    must(setting->ops->event_create(setting->device, 0, &setting->event), "event");
    must(setting->ops->event_create(setting->device, WI_EVENT_TIMING, &setting->start), "event");
    must(setting->ops->event_create(setting->device, WI_EVENT_TIMING, &setting->end), "event");
    must(setting->ops->device_alloc(setting->device, BYTES_MAX, &setting->address), "device_alloc");
    must(setting->ops->host_alloc(setting->device, BYTES_MAX, (void **)&setting->host, &address),
         "host_alloc");
    memset(setting->host, 1, BYTES_MAX);
}

static void setting_close(struct setting *setting)
{
    must(setting->ops->host_free(setting->device, setting->host, BYTES_MAX), "host_free");
    must(setting->ops->device_free(setting->device, setting->address), "device_free");
    must(setting->ops->event_destroy(setting->device, setting->end), "event");
    must(setting->ops->event_destroy(setting->device, setting->start), "event");
    must(setting->ops->event_destroy(setting->device, setting->event), "event");
    must(setting->ops->stream_destroy(setting->device, setting->stream), "stream");
    setting->ops->close(setting->device);
}

int main(int argc, char **argv)
{
    static const size_t      sizes[] = {(size_t)64 << 10, (size_t)1 << 20, BYTES_MAX};
    struct weir_runtime_info info = {.struct_size = sizeof(info)};
    struct setting           setting = {0};
    unsigned char           *scratch = wi_alloc(BYTES_MAX);

    if (scratch == NULL) return 1;
    memset(scratch, 0, BYTES_MAX);
    setting_open(&setting, argc > 1 ? argv[1] : "host");
    setting.ops->info(setting.device, &info);
    printf("%s, %s; model: %s\n\n", info.backend, info.device_name,
           info.model[0] != '\0' ? info.model : "none");

    measure_call(&setting, "copy queued behind others", call_copy, true);
    measure_call(&setting, "event recorded behind others", call_record, true);
    measure_call(&setting, "event recorded on a drained stream", call_record, false);
    measure_call(&setting, "event queried, pending", call_query, true);
    measure_call(&setting, "event queried, passed", call_query, false);
    measure_call(&setting, "event created and destroyed", call_create_destroy, false);
    measure_waking_call(&setting);

    printf("\n%8s     %-4s %8s %8s %8s %8s\n", "copies", "", "wall", "stamps", "memcpy", "CPU");
    printf("%8s     %-4s %8s %8s %8s\n", "", "", "GB/s", "GB/s", "GB/s");
    for (size_t i = 0; i < WI_ARRAY_COUNT(sizes); i++) {
        measure_bandwidth(&setting, scratch, sizes[i], WI_COPY_UP);
        measure_bandwidth(&setting, scratch, sizes[i], WI_COPY_DOWN);
    }
    setting_close(&setting);
    wi_free(scratch);
    return 0;
}
