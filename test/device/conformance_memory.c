/* SPDX-License-Identifier: Apache-2.0 */
/* conformance_memory.c - device memory, registered host memory, and host memory that the driver makes */
#include "device/conformance.h"

#include <string.h>
#include <unistd.h>

#define BYTES ((size_t)256 << 10)

void conformance_device_memory_is_aligned_and_distinct(const struct conformance *backend)
{
    static const size_t sizes[] = {1, 255, 256, 257, 4096, 65536, 100001};
    struct bench        bench = bench_open(backend);
    uint64_t            address[WI_ARRAY_COUNT(sizes)] = {0};

    for (size_t i = 0; i < WI_ARRAY_COUNT(sizes); i++) {
        EXPECT_OK(bench.ops->device_alloc(bench.device, sizes[i], &address[i]));
        EXPECT(address[i] != 0);
        EXPECT(address[i] % 256 == 0);
        for (size_t j = 0; j < i; j++)
            EXPECT(address[i] + sizes[i] <= address[j] || address[j] + sizes[j] <= address[i]);
    }
    for (size_t i = 0; i < WI_ARRAY_COUNT(sizes); i++)
        EXPECT_OK(bench.ops->device_free(bench.device, address[i]));
    bench_close(&bench);
}

/* Other users of a real device make "free" drift, so what is asked for is large against them. */
void conformance_device_memory_has_an_end(const struct conformance *backend)
{
    struct bench bench = bench_open(backend);
    size_t       bytes = (size_t)1 << 30;
    uint64_t     total = 0, before = 0, during = 0, after = 0, address = 0, more = 77;

    EXPECT_OK(bench.ops->memory(bench.device, &before, &total));
    EXPECT(bytes < before);
    EXPECT_OK(bench.ops->device_alloc(bench.device, bytes, &address));
    EXPECT_OK(bench.ops->memory(bench.device, &during, &total));
    EXPECT(during + bytes / 2 < before);
    EXPECT_CODE(bench.ops->device_alloc(bench.device, (size_t)total, &more), WEIR_EDEVMEM);
    EXPECT(more == 77);
    EXPECT_OK(bench.ops->device_free(bench.device, address));
    EXPECT_OK(bench.ops->memory(bench.device, &after, &total));
    EXPECT(after > during + bytes / 2);
    bench_close(&bench);
}

void conformance_device_memory_is_freed_once(const struct conformance *backend)
{
    struct bench bench = bench_open(backend);
    uint64_t     address = 0;

    EXPECT_OK(bench.ops->device_alloc(bench.device, BYTES, &address));
    EXPECT_REFUSED(bench.ops->device_free(bench.device, address + 256));
    EXPECT_OK(bench.ops->device_free(bench.device, address));
    EXPECT_REFUSED(bench.ops->device_free(bench.device, address));
    bench_close(&bench);
}

/* By the address that registering answered: a copy inside the device reads and writes it. */
void conformance_registered_memory_is_reached_by_the_device(const struct conformance *backend)
{
    struct bench   bench = bench_open(backend);
    struct pinned  pinned = pinned_create(&bench, 2 * BYTES);
    struct wi_copy from = {.src = pinned.address, .bytes = BYTES, .kind = WI_COPY_DEVICE};
    struct wi_copy to = {.dst = pinned.address + BYTES, .bytes = BYTES, .kind = WI_COPY_DEVICE};
    uint64_t       address = 0;
    void          *stream = NULL;

    EXPECT_OK(bench.ops->stream_create(bench.device, 0, &stream));
    EXPECT_OK(bench.ops->device_alloc(bench.device, BYTES, &address));
    pattern_fill(pinned.host, BYTES, 1);
    from.dst = address;
    to.src = address;
    EXPECT_OK(bench.ops->copy(bench.device, &from, stream));
    EXPECT_OK(bench.ops->copy(bench.device, &to, stream));
    bench_drain(&bench, stream);
    EXPECT(pattern_matches(pinned.host + BYTES, BYTES, 1));
    EXPECT_OK(bench.ops->device_free(bench.device, address));
    EXPECT_OK(bench.ops->stream_destroy(bench.device, stream));
    pinned_destroy(&bench, &pinned);
    bench_close(&bench);
}

void conformance_registering_twice_is_refused(const struct conformance *backend)
{
    struct bench  bench = bench_open(backend);
    struct pinned pinned = pinned_create(&bench, BYTES);
    uint64_t      address = 77;

    EXPECT_CODE(bench.ops->host_register(bench.device, pinned.host, pinned.bytes, &address),
                WEIR_EINVAL);
    EXPECT(address == 77);
    EXPECT_CODE(bench.ops->host_register(bench.device, pinned.host, 0, &address), WEIR_EINVAL);
    EXPECT(address == 77);
    pinned_destroy(&bench, &pinned);
    bench_close(&bench);
}

/* The middle third is registered; ranges that begin in it, end in it, or hold it are refused. */
void conformance_registering_across_an_edge_is_refused(const struct conformance *backend)
{
    struct bench   bench = bench_open(backend);
    size_t         third = BYTES;
    unsigned char *pages = pages_create(3 * third);
    uint64_t       address = 0, other = 77;

    memset(pages, 0, 3 * third);
    EXPECT_OK(bench.ops->host_register(bench.device, pages + third, third, &address));
    EXPECT_CODE(bench.ops->host_register(bench.device, pages + third / 2, third, &other),
                WEIR_EINVAL);
    EXPECT_CODE(bench.ops->host_register(bench.device, pages + third + third / 2, third, &other),
                WEIR_EINVAL);
    EXPECT_CODE(bench.ops->host_register(bench.device, pages, 3 * third, &other), WEIR_EINVAL);
    EXPECT(other == 77);
    /* Neighbours do not touch it. */
    EXPECT_OK(bench.ops->host_register(bench.device, pages, third, &other));
    EXPECT_OK(bench.ops->host_unregister(bench.device, pages, third));
    EXPECT_OK(bench.ops->host_register(bench.device, pages + 2 * third, third, &other));
    EXPECT_OK(bench.ops->host_unregister(bench.device, pages + 2 * third, third));
    EXPECT_OK(bench.ops->host_unregister(bench.device, pages + third, third));
    pages_destroy(pages, 3 * third);
    bench_close(&bench);
}

void conformance_unregistered_memory_can_be_registered_again(const struct conformance *backend)
{
    struct bench   bench = bench_open(backend);
    unsigned char *pages = pages_create(BYTES);
    uint64_t       address = 0;

    memset(pages, 0, BYTES);
    for (int i = 0; i < 3; i++) {
        EXPECT_OK(bench.ops->host_register(bench.device, pages, BYTES, &address));
        EXPECT_OK(bench.ops->host_unregister(bench.device, pages, BYTES));
    }
    EXPECT_REFUSED(bench.ops->host_unregister(bench.device, pages, BYTES));
    pages_destroy(pages, BYTES);
    bench_close(&bench);
}

void conformance_unregistering_needs_the_base(const struct conformance *backend)
{
    struct bench  bench = bench_open(backend);
    struct pinned pinned = pinned_create(&bench, BYTES);
    size_t        page_bytes = (size_t)sysconf(_SC_PAGESIZE);

    EXPECT_REFUSED(bench.ops->host_unregister(bench.device, pinned.host + page_bytes,
                                              pinned.bytes - page_bytes));
    pinned_destroy(&bench, &pinned);
    bench_close(&bench);
}

void conformance_allocated_host_memory_is_pinned(const struct conformance *backend)
{
    struct bench bench = bench_open(backend);
    uint64_t     address = 0, device_address = 0;
    void        *base = NULL, *stream = NULL;
    struct gate  gate;

    EXPECT_OK(bench.ops->host_alloc(bench.device, 2 * BYTES, &base, &address));
    EXPECT(base != NULL);
    EXPECT(address != 0);
    EXPECT_OK(bench.ops->device_alloc(bench.device, BYTES, &device_address));
    EXPECT_OK(bench.ops->stream_create(bench.device, 0, &stream));

    /* Pinned: a copy from it is queued behind the gate, where one of pageable memory would wait. */
    gate_shut(&bench, stream, &gate);
    EXPECT_OK(bench.ops->copy(
        bench.device,
        &(struct wi_copy){
            .dst = device_address, .src = (uintptr_t)base, .bytes = BYTES, .kind = WI_COPY_UP},
        stream));
    EXPECT_OK(bench.ops->copy(bench.device,
                              &(struct wi_copy){.dst = (uintptr_t)base + BYTES,
                                                .src = device_address,
                                                .bytes = BYTES,
                                                .kind = WI_COPY_DOWN},
                              stream));
    pattern_fill(base, BYTES, 2);
    gate_open(&gate);
    bench_drain(&bench, stream);
    EXPECT(pattern_matches((unsigned char *)base + BYTES, BYTES, 2));

    EXPECT_OK(bench.ops->stream_destroy(bench.device, stream));
    EXPECT_OK(bench.ops->device_free(bench.device, device_address));
    EXPECT_OK(bench.ops->host_free(bench.device, base, 2 * BYTES));
    EXPECT_REFUSED(bench.ops->host_free(bench.device, base, 2 * BYTES));
    bench_close(&bench);
}

void conformance_device_memory_is_host_memory_where_it_says_so(const struct conformance *backend)
{
    struct bench             bench = bench_open(backend);
    struct weir_runtime_info info = {.struct_size = sizeof(info)};
    unsigned char            bytes[1000];
    uint64_t                 address = 0;

    bench.ops->info(bench.device, &info);
    if (info.flags & WEIR_INFO_DEVICE_IS_HOST) {
        EXPECT_OK(bench.ops->device_alloc(bench.device, sizeof(bytes), &address));
        pattern_fill(bytes, sizeof(bytes), 3);
        device_write(&bench, address, bytes, sizeof(bytes));
        EXPECT(pattern_matches((const unsigned char *)(uintptr_t)address, sizeof(bytes), 3));
        EXPECT_OK(bench.ops->device_free(bench.device, address));
    }
    bench_close(&bench);
}
