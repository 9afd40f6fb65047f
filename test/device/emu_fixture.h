/* SPDX-License-Identifier: Apache-2.0 */
/* emu_fixture.h - what the tests of the emulation stand on */
#ifndef EMU_FIXTURE_H
#define EMU_FIXTURE_H

#include "device/emu.h"

#include <criterion/criterion.h>

/* Numbers that are easy to reckon with: 1 byte takes 1 ns up and 2 ns down, an operation 1000 ns besides. */
static inline struct wi_emu_model plain_model(void)
{
    return (struct wi_emu_model){
        .up_bytes_per_s = UINT64_C(1000000000),
        .down_bytes_per_s = UINT64_C(500000000),
        .device_bytes_per_s = UINT64_C(4000000000),
        .latency_ns = 1000,
        .memory_bytes = 1 << 20,
    };
}

static inline struct wi_emu *emu_create(uint32_t clock, uint64_t seed)
{
    struct wi_emu_opts opts = {.model = plain_model(), .clock = clock, .seed = seed};
    struct wi_emu     *emu = NULL;

    cr_assert_eq(wi_emu_create(&opts, &emu), 0);
    return emu;
}

static inline struct wi_emu_stream *stream_create(struct wi_emu *emu)
{
    struct wi_emu_stream *stream = NULL;

    cr_assert_eq(wi_emu_stream_create(emu, 0, &stream), 0);
    return stream;
}

static inline struct wi_emu_event *event_create(struct wi_emu *emu)
{
    struct wi_emu_event *event = NULL;

    cr_assert_eq(wi_emu_event_create(emu, WI_EVENT_TIMING, &event), 0);
    return event;
}

static inline uint64_t device_alloc(struct wi_emu *emu, size_t bytes)
{
    uint64_t address = 0;

    cr_assert_eq(wi_emu_device_alloc(emu, bytes, &address), 0);
    return address;
}

static inline struct wi_emu_stats stats_of(struct wi_emu *emu)
{
    struct wi_emu_stats stats;

    wi_emu_stats_read(emu, &stats);
    return stats;
}

#endif
