/* SPDX-License-Identifier: Apache-2.0 */
/* test_emu.c - the emulation's model, its table of ranges, its limits, and its threads in real time */
#include "base/alloc.h"
#include "device/emu_fixture.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- the model as text ---- */

Test(emu_model, says_what_it_is)
{
    struct wi_emu_model model;
    char                text[96];

    wi_emu_model_init(&model);
    cr_assert_eq(wi_emu_model_text(&model, text, sizeof(text)), (int)strlen(text));
    cr_assert_str_eq(text, "up 25 GB/s, down 25 GB/s, latency 5 us, memory 8 GiB");
    model = plain_model();
    model.latency_ns = 1500;
    wi_emu_model_text(&model, text, sizeof(text));
    cr_assert_str_eq(text, "up 1 GB/s, down 500 MB/s, latency 1500 ns, memory 1 MiB");
}

Test(emu_model, reads_what_is_named_and_keeps_the_rest)
{
    struct wi_emu_model model;

    wi_emu_model_init(&model);
    cr_assert_eq(wi_emu_model_parse("", &model), 0);
    cr_assert_eq(wi_emu_model_parse("up=2G,latency=7us", &model), 0);
    cr_assert_eq(model.up_bytes_per_s, UINT64_C(2) << 30);
    cr_assert_eq(model.latency_ns, 7000);
    cr_assert_eq(model.down_bytes_per_s, UINT64_C(25000000000));
    cr_assert_eq(wi_emu_model_parse("down=1000,device=64K,memory=16M,latency=3ms", &model), 0);
    cr_assert_eq(model.down_bytes_per_s, 1000);
    cr_assert_eq(model.device_bytes_per_s, 65536);
    cr_assert_eq(model.memory_bytes, 16 << 20);
    cr_assert_eq(model.latency_ns, 3000000);
    cr_assert_eq(wi_emu_model_parse("latency=0", &model), 0);
    cr_assert_eq(model.latency_ns, 0);
}

Test(emu_model, refuses_what_it_does_not_understand)
{
    static const char *const wrong[] = {
        "up",
        "up=",
        "=5",
        "up=0",
        "up=fast",
        "speed=5G",
        "up=5G,",
        ",up=5G",
        "up=5G,,down=1G",
        "latency=-5us",
        "latency=5m",
        "latency=",
        "latency=us",
        "latency=99999999999999999999us",
        "latency=61000ms",
        "memory=0",
        "u=5G",
        "upp=5G",
        "memory=00000000000000000000000000000000000000001",
    };
    struct wi_emu_model model, before;

    wi_emu_model_init(&before);
    for (size_t i = 0; i < WI_ARRAY_COUNT(wrong); i++) {
        model = before;
        cr_assert_eq(wi_emu_model_parse(wrong[i], &model), WEIR_EINVAL, "%s", wrong[i]);
        cr_assert_eq(memcmp(&model, &before, sizeof(model)), 0, "%s", wrong[i]);
    }
    /* What was right before the mistake is not kept either. */
    model = before;
    cr_assert_eq(wi_emu_model_parse("up=5G,down=x", &model), WEIR_EINVAL);
    cr_assert_eq(model.up_bytes_per_s, before.up_bytes_per_s);
}

Test(emu_model, an_impossible_device_is_refused)
{
    struct wi_emu_opts opts = {.model = plain_model()};
    struct wi_emu     *emu = NULL;

    opts.model.up_bytes_per_s = 0;
    cr_assert_eq(wi_emu_create(&opts, &emu), WEIR_EINVAL);
    opts.model = plain_model();
    opts.model.memory_bytes = 0;
    cr_assert_eq(wi_emu_create(&opts, &emu), WEIR_EINVAL);
    opts.model = plain_model();
    opts.clock = 2;
    cr_assert_eq(wi_emu_create(&opts, &emu), WEIR_EINVAL);
    opts.clock = WI_EMU_REAL;
    opts.workers_max = WI_EMU_WORKERS_MAX + 1;
    cr_assert_eq(wi_emu_create(&opts, &emu), WEIR_EINVAL);
    cr_assert_null(emu);
}

/* ---- the table of ranges ---- */

#define CELLS 512
#define CELL  4096

static uint32_t random_next(uint32_t *state)
{
    *state = *state * 1664525 + 1013904223;
    return *state >> 8;
}

/* Random registrations and their ends, against a map of cells that says who owns each. */
Test(emu_ranges, table_agrees_with_a_map)
{
    static uint32_t          owner[CELLS]; /* 1 + first cell of the registration; 0: none */
    struct wi_emu           *emu = emu_create(WI_EMU_VIRTUAL, 0);
    unsigned char           *area = aligned_alloc(CELL, CELLS * CELL);
    struct wi_emu_range_info info;
    uint32_t                 state = 12345, taken = 0, refused = 0, ended = 0;

    for (int round = 0; round < 20000; round++) {
        size_t first = random_next(&state) % CELLS;
        size_t cells = 1 + random_next(&state) % 4;
        bool   is_free = first + cells <= CELLS;

        if (owner[first] == first + 1 && random_next(&state) % 2 == 0) {
            cr_assert_eq(wi_emu_host_unregister(emu, area + first * CELL, 0), 0);
            for (size_t i = first; i < CELLS && owner[i] == first + 1; i++) owner[i] = 0;
            ended++;
            continue;
        }
        if (!is_free) continue;
        for (size_t i = first; i < first + cells; i++)
            if (owner[i] != 0) is_free = false;
        if (is_free) {
            cr_assert_eq(wi_emu_host_register(emu, area + first * CELL, cells * CELL), 0);
            for (size_t i = first; i < first + cells; i++) owner[i] = (uint32_t)first + 1;
            taken++;
        } else {
            cr_assert_eq(wi_emu_host_register(emu, area + first * CELL, cells * CELL), WEIR_EBUSY);
            refused++;
        }
        size_t   probe = random_next(&state) % CELLS;
        uint64_t address = (uintptr_t)(area + probe * CELL) + random_next(&state) % CELL;
        int      err = wi_emu_range_find(emu, address, &info);

        cr_assert_eq(err, owner[probe] == 0 ? WEIR_ENOENT : 0);
        if (err == 0) cr_assert_eq(info.base, (uintptr_t)(area + (owner[probe] - 1) * CELL));
    }
    cr_assert_gt(taken, 1000);
    cr_assert_gt(refused, 1000);
    cr_assert_gt(ended, 1000);
    wi_emu_destroy(emu, NULL);
    free(area);
}

Test(emu_ranges, lengths_and_kinds_are_checked)
{
    struct wi_emu           *emu = emu_create(WI_EMU_VIRTUAL, 0);
    unsigned char           *pages = aligned_alloc(CELL, 2 * CELL);
    uint64_t                 address = device_alloc(emu, 300);
    void                    *host = NULL;
    struct wi_emu_range_info info;

    cr_assert_eq(wi_emu_host_alloc(emu, 100, &host), 0);
    cr_assert_eq(wi_emu_host_register(emu, pages, CELL), 0);
    cr_assert_eq(wi_emu_host_unregister(emu, pages, 2 * CELL), WEIR_EINVAL);
    cr_assert_eq(wi_emu_host_free(emu, pages), WEIR_ENOENT);
    cr_assert_eq(wi_emu_device_free(emu, (uintptr_t)host), WEIR_ENOENT);
    cr_assert_eq(wi_emu_host_unregister(emu, host, 0), WEIR_ENOENT);
    cr_assert_eq(wi_emu_host_register(emu, pages, 0), WEIR_EINVAL);
    cr_assert_eq(wi_emu_host_register(emu, (void *)(UINTPTR_MAX - 100), 4096), WEIR_EINVAL);
    cr_assert_eq(wi_emu_device_alloc(emu, 0, &address), WEIR_EINVAL);
    cr_assert_eq(wi_emu_host_alloc(emu, 0, &host), WEIR_EINVAL);
    cr_assert_eq(wi_emu_range_find(emu, address, &info), 0);
    cr_assert_eq(info.kind, WI_EMU_RANGE_DEVICE);
    cr_assert_eq(info.bytes, 512);
    cr_assert_eq(wi_emu_range_find(emu, (uintptr_t)host + 99, &info), 0);
    cr_assert_eq(info.kind, WI_EMU_RANGE_HOST);
    wi_emu_destroy(emu, NULL);
    free(pages);
}

/* 1 MiB of it, in units of 256 bytes, to the last one. */
Test(emu_ranges, device_memory_has_a_capacity)
{
    struct wi_emu *emu = emu_create(WI_EMU_VIRTUAL, 0);
    uint64_t       bytes_free = 0, bytes_total = 0, first = device_alloc(emu, 1), rest, none = 77;

    cr_assert_eq(wi_emu_memory(emu, &bytes_free, &bytes_total), 0);
    cr_assert_eq(bytes_total, 1 << 20);
    cr_assert_eq(bytes_free, (1 << 20) - 256);
    rest = device_alloc(emu, bytes_free);
    cr_assert_eq(wi_emu_device_alloc(emu, 1, &none), WEIR_EDEVMEM);
    cr_assert_eq(wi_emu_device_alloc(emu, SIZE_MAX, &none), WEIR_EDEVMEM);
    cr_assert_eq(none, 77);
    cr_assert_eq(wi_emu_device_free(emu, first), 0);
    cr_assert_eq(wi_emu_device_alloc(emu, 257, &none), WEIR_EDEVMEM);
    cr_assert_eq(wi_emu_device_alloc(emu, 256, &none), 0);
    cr_assert_eq(wi_emu_device_free(emu, rest), 0);
    wi_emu_destroy(emu, NULL);
}

/* A unit that would not fit whole is not given. */
Test(emu_ranges, device_memory_ends_with_a_whole_unit)
{
    struct wi_emu_opts opts = {.model = plain_model(), .clock = WI_EMU_VIRTUAL};
    struct wi_emu     *emu = NULL;
    uint64_t           address = 0;

    opts.model.memory_bytes = 1000;
    cr_assert_eq(wi_emu_create(&opts, &emu), 0);
    cr_assert_eq(wi_emu_device_alloc(emu, 900, &address), WEIR_EDEVMEM);
    cr_assert_eq(wi_emu_device_alloc(emu, 768, &address), 0);
    wi_emu_destroy(emu, NULL);
}

/* Pageable memory that runs into a registration is on both sides of its edge. */
Test(emu_ranges, a_copy_that_runs_into_a_range_is_refused)
{
    struct wi_emu        *emu = emu_create(WI_EMU_VIRTUAL, 0);
    struct wi_emu_stream *stream = stream_create(emu);
    unsigned char        *pages = aligned_alloc(CELL, 2 * CELL);
    uint64_t              address = device_alloc(emu, CELL);
    struct wi_copy        copy = {.dst = address, .bytes = 101, .kind = WI_COPY_UP};

    memset(pages, 0, 2 * CELL);
    cr_assert_eq(wi_emu_host_register(emu, pages + CELL, CELL), 0);
    copy.src = (uintptr_t)(pages + CELL - 100);
    cr_assert_eq(wi_emu_copy(emu, &copy, stream), WEIR_EINVAL);
    copy.bytes = 100;
    cr_assert_eq(wi_emu_copy(emu, &copy, stream), 0);
    wi_emu_destroy(emu, NULL);
    free(pages);
}

/* ---- limits and kinds ---- */

Test(emu_limits, pending_work_is_bounded)
{
    struct wi_emu        *emu = emu_create(WI_EMU_VIRTUAL, 0);
    struct wi_emu_stream *stream = stream_create(emu);

    for (uint64_t i = 0; i < WI_EMU_PENDING_MAX; i++) cr_assert_eq(wi_emu_delay(emu, 1, stream), 0);
    cr_assert_eq(wi_emu_delay(emu, 1, stream), WEIR_EEXCEEDS);
    cr_assert_eq(wi_emu_step(emu), 1);
    cr_assert_eq(wi_emu_delay(emu, 1, stream), 0);
    cr_assert_eq(wi_emu_run(emu), WI_EMU_PENDING_MAX);
    wi_emu_destroy(emu, NULL);
}

Test(emu_limits, kinds_of_copies_are_checked)
{
    struct wi_emu        *emu = emu_create(WI_EMU_VIRTUAL, 0);
    struct wi_emu_stream *stream = stream_create(emu);
    uint64_t              address = device_alloc(emu, 1000);
    void                 *host = NULL;
    struct wi_copy        copy = {.dst = address, .src = address + 500, .bytes = 100};

    cr_assert_eq(wi_emu_host_alloc(emu, 1000, &host), 0);
    cr_assert_eq(wi_emu_copy(emu, &copy, stream), WEIR_EINVAL);
    copy.kind = WI_COPY_DEVICE + 1;
    cr_assert_eq(wi_emu_copy(emu, &copy, stream), WEIR_EINVAL);
    copy.kind = WI_COPY_UP;
    cr_assert_eq(wi_emu_copy(emu, &copy, stream), WEIR_EINVAL);
    copy.kind = WI_COPY_DOWN;
    cr_assert_eq(wi_emu_copy(emu, &copy, stream), WEIR_EINVAL);
    copy.kind = WI_COPY_DEVICE;
    cr_assert_eq(wi_emu_copy(emu, &copy, stream), 0);
    /* No bytes: nothing is touched, but it has its place in the stream. */
    copy = (struct wi_copy){.kind = WI_COPY_UP};
    cr_assert_eq(wi_emu_copy(emu, &copy, stream), 0);
    cr_assert_eq(wi_emu_fill(emu, 0, 0, 0, stream), 0);
    copy = (struct wi_copy){
        .dst = UINT64_MAX - 5, .src = address, .bytes = 100, .kind = WI_COPY_DEVICE};
    cr_assert_eq(wi_emu_copy(emu, &copy, stream), WEIR_EINVAL);
    cr_assert_eq(wi_emu_call(emu, NULL, NULL, stream), WEIR_EINVAL);
    cr_assert_eq(wi_emu_run(emu), 3);
    wi_emu_destroy(emu, NULL);
}

/* Streams that were destroyed with work pending are used again: in the long run nothing is allocated. */
Test(emu_limits, storage_is_used_again)
{
    for (uint32_t clock = WI_EMU_REAL; clock <= WI_EMU_VIRTUAL; clock++) {
        struct wi_emu *emu = emu_create(clock, 0);

        for (int round = 0; round < 1000; round++) {
            struct wi_emu_stream *stream = stream_create(emu);
            struct wi_emu_event  *event = event_create(emu);

            if (round == 100) wi_alloc_fail_at(1000000);
            cr_assert_eq(wi_emu_delay(emu, 1, stream), 0);
            cr_assert_eq(wi_emu_event_record(emu, event, stream), 0);
            cr_assert_eq(wi_emu_stream_destroy(emu, stream), 0);
            cr_assert_eq(wi_emu_event_destroy(emu, event), 0);
            wi_emu_run(emu);
        }
        cr_assert_eq(wi_alloc_fail_at(0), 1000000);
        wi_emu_destroy(emu, NULL);
    }
}

Test(emu_limits, priorities_are_clamped)
{
    static const int32_t  asked[] = {INT32_MIN, -6, -5, -1, 0, 1, INT32_MAX};
    static const int32_t  wanted[] = {-5, -5, -5, -1, 0, 0, 0};
    struct wi_emu        *emu = emu_create(WI_EMU_VIRTUAL, 0);
    struct wi_emu_stream *stream = NULL;

    for (size_t i = 0; i < WI_ARRAY_COUNT(asked); i++) {
        cr_assert_eq(wi_emu_stream_create(emu, asked[i], &stream), 0);
        cr_assert_eq(wi_emu_stream_priority(stream), wanted[i]);
    }
    wi_emu_destroy(emu, NULL);
}

/* ---- threads, in real time ---- */

/* How often the emulation's threads have gone to sleep, by the kernel's count. */
static uint64_t voluntary_switches(unsigned *threads)
{
    DIR           *tasks = opendir("/proc/self/task");
    struct dirent *task;
    uint64_t       total = 0;

    *threads = 0;
    cr_assert(tasks != NULL);
    while ((task = readdir(tasks)) != NULL) {
        char               path[300], line[128];
        FILE              *file;
        bool               is_ours = false;
        unsigned long long switches;

        if (task->d_name[0] == '.') continue;
        snprintf(path, sizeof(path), "/proc/self/task/%s/status", task->d_name);
        file = fopen(path, "re");
        if (file == NULL) continue;
        while (fgets(line, sizeof(line), file) != NULL) {
            if (strcmp(line, "Name:\tweir-emu\n") == 0) is_ours = true;
            if (is_ours && sscanf(line, "voluntary_ctxt_switches: %llu", &switches) == 1) {
                total += switches;
                ++*threads;
            }
        }
        fclose(file);
    }
    closedir(tasks);
    return total;
}

Test(emu_real, workers_start_with_the_first_work_and_sleep_without_a_timer)
{
    struct wi_emu        *emu = emu_create(WI_EMU_REAL, 0);
    struct wi_emu_stream *stream = stream_create(emu);
    struct wi_emu_event  *event = event_create(emu);
    uint64_t              address = device_alloc(emu, 1000), wakeups, switches;
    unsigned              threads = 0;

    /* A mark on a drained stream takes no time and no thread. */
    cr_assert_eq(wi_emu_event_record(emu, event, stream), 0);
    cr_assert_eq(wi_emu_event_query(emu, event), 0);
    cr_assert_eq(stats_of(emu).workers, 0);

    for (int i = 0; i < 50; i++) cr_assert_eq(wi_emu_fill(emu, address, 1, 1000, stream), 0);
    cr_assert_eq(wi_emu_event_record(emu, event, stream), 0);
    cr_assert_eq(wi_emu_event_sync(emu, event), 0);
    cr_assert_geq(stats_of(emu).workers, 1);
    cr_assert_leq(stats_of(emu).workers, WI_EMU_WORKERS_MAX);

    /* They are on their way to sleep; then nothing may wake them. */
    nanosleep(&(struct timespec){.tv_nsec = 200 * 1000 * 1000}, NULL);
    wakeups = stats_of(emu).wakeups;
    switches = voluntary_switches(&threads);
    cr_assert_eq(threads, stats_of(emu).workers);
    nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
    cr_assert_eq(stats_of(emu).wakeups, wakeups);
    cr_assert_eq(voluntary_switches(&threads), switches);
    wi_emu_destroy(emu, NULL);
}

/* Device time and real time agree: neither is shorter than the model says. */
Test(emu_real, no_copy_is_faster_than_the_model)
{
    struct wi_emu_opts    opts = {.model = plain_model()};
    struct wi_emu        *emu = NULL;
    struct wi_emu_stream *stream;
    struct wi_emu_event  *start, *end;
    uint64_t              address, began_ns, ns = 0;
    void                 *host = NULL;
    size_t                bytes = 4 << 20;

    opts.model.memory_bytes = 1 << 30;
    cr_assert_eq(wi_emu_create(&opts, &emu), 0);
    stream = stream_create(emu);
    start = event_create(emu);
    end = event_create(emu);
    address = device_alloc(emu, bytes);
    cr_assert_eq(wi_emu_host_alloc(emu, bytes, &host), 0);
    began_ns = weir_clock_ns();
    cr_assert_eq(wi_emu_event_record(emu, start, stream), 0);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(wi_emu_copy(emu,
                                 &(struct wi_copy){.dst = address,
                                                   .src = (uintptr_t)host,
                                                   .bytes = bytes,
                                                   .kind = WI_COPY_UP},
                                 stream),
                     0);
    cr_assert_eq(wi_emu_event_record(emu, end, stream), 0);
    cr_assert_eq(wi_emu_event_sync(emu, end), 0);
    cr_assert_geq(weir_clock_ns() - began_ns, 3 * (1000 + bytes));
    cr_assert_eq(wi_emu_event_elapsed(emu, start, end, &ns), 0);
    cr_assert_geq(ns, 3 * (1000 + bytes));
    /* And the stamps lie within what really passed. */
    cr_assert_leq(ns, weir_clock_ns() - began_ns);
    wi_emu_destroy(emu, NULL);
}

/* A model of 10 TB/s is nobody's memory: what counts is how long this machine has really copied. */
Test(emu_real, a_copy_slower_than_the_model_is_told_as_it_was)
{
    struct wi_emu_opts    opts = {.model = plain_model()};
    struct wi_emu        *emu = NULL;
    struct wi_emu_stream *stream;
    struct wi_emu_event  *start, *end;
    uint64_t              address, ns = 0;
    void                 *host = NULL;
    size_t                bytes = 32 << 20;

    opts.model.memory_bytes = 1 << 30;
    opts.model.up_bytes_per_s = UINT64_C(10000000000000);
    cr_assert_eq(wi_emu_create(&opts, &emu), 0);
    stream = stream_create(emu);
    start = event_create(emu);
    end = event_create(emu);
    address = device_alloc(emu, bytes);
    cr_assert_eq(wi_emu_host_alloc(emu, bytes, &host), 0);
    /* Held until all is queued, so that no pause of this thread gets into the measurement. */
    wi_emu_hold(emu, stream);
    cr_assert_eq(wi_emu_event_record(emu, start, stream), 0);
    cr_assert_eq(
        wi_emu_copy(emu,
                    &(struct wi_copy){
                        .dst = address, .src = (uintptr_t)host, .bytes = bytes, .kind = WI_COPY_UP},
                    stream),
        0);
    cr_assert_eq(wi_emu_event_record(emu, end, stream), 0);
    wi_emu_release(emu, stream);
    cr_assert_eq(wi_emu_event_sync(emu, end), 0);
    cr_assert_eq(wi_emu_event_elapsed(emu, start, end, &ns), 0);
    /* The model alone would say 4.4 us, and no machine copies 300 GB/s. */
    cr_assert_gt(ns, 100 * WI_NS_PER_US);
    wi_emu_destroy(emu, NULL);
}

/* Two streams in one direction take turns, in device time too. */
Test(emu_real, engines_are_serial)
{
    struct wi_emu_opts    opts = {.model = plain_model()};
    struct wi_emu        *emu = NULL;
    struct wi_emu_stream *streams[2];
    struct wi_emu_event  *start, *ends[2];
    uint64_t              address, longest_ns = 0;
    void                 *host = NULL;

    opts.model.latency_ns = 3 * WI_NS_PER_MS;
    cr_assert_eq(wi_emu_create(&opts, &emu), 0);
    start = event_create(emu);
    address = device_alloc(emu, 1000);
    cr_assert_eq(wi_emu_host_alloc(emu, 1000, &host), 0);
    for (size_t i = 0; i < 2; i++) {
        streams[i] = stream_create(emu);
        ends[i] = event_create(emu);
    }
    wi_emu_hold(emu, NULL);
    cr_assert_eq(wi_emu_event_record(emu, start, streams[0]), 0);
    for (size_t i = 0; i < 2; i++) {
        cr_assert_eq(wi_emu_copy(emu,
                                 &(struct wi_copy){.dst = address,
                                                   .src = (uintptr_t)host,
                                                   .bytes = 1000,
                                                   .kind = WI_COPY_UP},
                                 streams[i]),
                     0);
        cr_assert_eq(wi_emu_event_record(emu, ends[i], streams[i]), 0);
    }
    wi_emu_release(emu, NULL);
    wi_emu_run(emu);
    for (size_t i = 0; i < 2; i++) {
        uint64_t ns = 0;

        cr_assert_eq(wi_emu_event_elapsed(emu, start, ends[i], &ns), 0);
        if (longest_ns < ns) longest_ns = ns;
    }
    cr_assert_geq(longest_ns, 2 * 3 * WI_NS_PER_MS);
    wi_emu_destroy(emu, NULL);
}

/* A copy that is modelled to last reads its source near its end: an overwrite in the meantime shows. */
Test(emu_real, an_early_overwrite_is_seen)
{
    struct wi_emu_opts    opts = {.model = plain_model()};
    struct wi_emu        *emu = NULL;
    struct wi_emu_stream *stream;
    struct wi_emu_event  *event;
    uint64_t              address;
    void                 *host = NULL;

    opts.model.latency_ns = WI_NS_PER_S;
    cr_assert_eq(wi_emu_create(&opts, &emu), 0);
    stream = stream_create(emu);
    event = event_create(emu);
    address = device_alloc(emu, 1000);
    cr_assert_eq(wi_emu_host_alloc(emu, 1000, &host), 0);
    memset(host, 1, 1000);
    cr_assert_eq(
        wi_emu_copy(emu,
                    &(struct wi_copy){
                        .dst = address, .src = (uintptr_t)host, .bytes = 1000, .kind = WI_COPY_UP},
                    stream),
        0);
    cr_assert_eq(wi_emu_event_record(emu, event, stream), 0);
    nanosleep(&(struct timespec){.tv_nsec = 50 * 1000 * 1000}, NULL);
    /* Its second has begun. If this thread slept that long, the event has passed and nothing is claimed. */
    memset(host, 2, 1000);
    if (wi_emu_event_query(emu, event) == WEIR_EAGAIN) {
        cr_assert_eq(wi_emu_event_sync(emu, event), 0);
        cr_assert_eq(*(unsigned char *)(uintptr_t)address, 2);
    }
    wi_emu_destroy(emu, NULL);
}

static void wait_for(void *ctx)
{
    const _Atomic uint32_t *word = ctx;

    while (wi_load((_Atomic uint32_t *)(uintptr_t)word, acquire) == 0)
        nanosleep(&(struct timespec){.tv_nsec = 100 * 1000}, NULL);
}

/* Host functions run one at a time, and leave a worker for everybody else. */
Test(emu_real, blocked_host_functions_do_not_stop_copies)
{
    struct wi_emu        *emu = emu_create(WI_EMU_REAL, 0);
    struct wi_emu_stream *blocked[8], *stream = stream_create(emu);
    struct wi_emu_event  *event = event_create(emu);
    uint64_t              address = device_alloc(emu, 1000);
    _Atomic uint32_t      word = 0;

    for (size_t i = 0; i < WI_ARRAY_COUNT(blocked); i++) {
        blocked[i] = stream_create(emu);
        cr_assert_eq(wi_emu_call(emu, wait_for, &word, blocked[i]), 0);
    }
    for (int i = 0; i < 100; i++) cr_assert_eq(wi_emu_fill(emu, address, 1, 1000, stream), 0);
    cr_assert_eq(wi_emu_event_record(emu, event, stream), 0);
    cr_assert_eq(wi_emu_event_sync(emu, event), 0);
    for (size_t i = 0; i < WI_ARRAY_COUNT(blocked); i++)
        cr_assert_eq(wi_emu_stream_query(emu, blocked[i]), WEIR_EAGAIN);
    wi_store(&word, 1, release);
    wi_emu_run(emu);
    cr_assert_eq(stats_of(emu).pending, 0);
    wi_emu_destroy(emu, NULL);
}

/* Timers that come in from behind: a later one is set first, an earlier one must not wait for it. */
Test(emu_real, an_earlier_timer_wakes_the_leader)
{
    struct wi_emu        *emu = emu_create(WI_EMU_REAL, 0);
    struct wi_emu_stream *slow = stream_create(emu), *quick = stream_create(emu);
    struct wi_emu_event  *event = event_create(emu);

    for (int i = 0; i < 20; i++) {
        cr_assert_eq(wi_emu_delay(emu, 3600 * WI_NS_PER_S, slow), 0);
        nanosleep(&(struct timespec){.tv_nsec = 1000 * 1000}, NULL);
        cr_assert_eq(wi_emu_delay(emu, 1000, quick), 0);
        cr_assert_eq(wi_emu_event_record(emu, event, quick), 0);
        cr_assert_eq(wi_emu_event_sync(emu, event), 0);
    }
    wi_emu_lose(emu); /* or destroy would wait for an hour */
    wi_emu_destroy(emu, NULL);
}
