/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.c - resident memory per buffer beyond the buffer's own bytes
 *
 * A pool of many small buffers is made, and each buffer is touched, so that all its bytes are resident.
 * What the process grew by, less the buffers' bytes, belongs to the records and whatever else weir keeps for
 * them. Fixed costs of the pool are in it: the number is an upper bound. Prints one line of JSON.
 */
#include "../peer_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <weir/weir.h>

enum { WARM_BUFFERS = 1024, BUFFERS = 400000, BUFFER_BYTES = 512 };

static void need(int err, const char *call)
{
    char text[512];

    if (err >= 0) return;
    if (weir_error_text(text, sizeof text) <= 0) snprintf(text, sizeof text, "%s", weir_errname(err));
    fprintf(stderr, "weir-peer-memory: %s: %s\n", call, text);
    _exit(EXIT_FAILURE);
}

#define NEED(call) need((call), #call)

static uint64_t resident_bytes(void)
{
    unsigned long long all_pages = 0, resident_pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");

    if (file == NULL || fscanf(file, "%llu %llu", &all_pages, &resident_pages) != 2)
        resident_pages = 0;
    if (file != NULL) fclose(file);
    return resident_pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void make_pool(struct weir_runtime *runtime, size_t buffers, struct weir_buffer **leases)
{
    struct weir_pool *pool;

    NEED(weir_pool_create(runtime,
                          WEIR_OPTS(pool, .name = "memory", .buffer_bytes = BUFFER_BYTES,
                                    .buffers_min = buffers, .buffers_max = buffers),
                          &pool));
    for (size_t i = 0; i < buffers; i++) {
        NEED(weir_buffer_acquire(pool, WEIR_NOW, &leases[i]));
        memset(leases[i]->host, 1, BUFFER_BYTES);
    }
    NEED(weir_buffers_release(leases, buffers));
}

int main(void)
{
    static struct weir_buffer *leases[BUFFERS];
    struct weir_runtime *runtime;

    NEED(weir_runtime_create(WEIR_OPTS(runtime), &runtime));
    /* What is loaded and allocated once must not count, nor the list of leases. */
    memset(leases, 1, sizeof leases);
    make_pool(runtime, WARM_BUFFERS, leases);
    uint64_t before = resident_bytes();
    make_pool(runtime, BUFFERS, leases);
    uint64_t after = resident_bytes();

    if (before == 0 || after < before + (uint64_t)BUFFERS * BUFFER_BYTES) {
        fprintf(stderr, "weir-peer-memory: grew by %lld bytes, less than its buffers have\n",
                (long long)(after - before));
        return EXIT_FAILURE;
    }
    uint64_t records = after - before - (uint64_t)BUFFERS * BUFFER_BYTES;
    peer_line_text("peer", "memory");
    peer_line_u64("buffers", BUFFERS);
    peer_line_u64("grown_bytes", after - before);
    peer_line_number("bytes_per_record", (double)records / BUFFERS);
    int err = peer_line_end();
    _exit(err < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}
