/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slab_fixture.h - a fake device, a budget, and small questions about memory, for the tests of
 * slabs
 */
#ifndef SLAB_FIXTURE_H
#define SLAB_FIXTURE_H

#include "fake_device.h"
#include "memory/memory.h"

#define MIB ((size_t)1 << 20)

struct slab_fixture {
    struct fake_device fake;
    struct wi_budget   budget;
};

/* A budget of `bytes_max`, a device without faults, logs collected. */
void slab_fixture_init(struct slab_fixture *fixture, uint64_t bytes_max);

/* Fields that most tests set; the rest is 0. */
#define SLAB_OPTS(fixture, ...)                                                                    \
    (&(const struct wi_slab_opts){                                                                 \
        .device = &(fixture)->fake.device, .budget = &(fixture)->budget, __VA_ARGS__})

uint64_t slab_fixture_charged(const struct slab_fixture *fixture);
size_t   slab_fixture_rss_bytes(void);
/* Log lines of at least WARN since init that contain the text. */
unsigned slab_fixture_logged(const char *text);
/*
 * Write a file for the library to read in the place of one of the kernel's; NULL text: make a
 * folder.
 */
void slab_fixture_file(const char *folder, const char *name, const char *text);

#endif
