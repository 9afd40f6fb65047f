/* SPDX-License-Identifier: Apache-2.0 */
/* Pools in memory of UCX, over shared memory: one registration a slab, puts without the owner, and the end of it in any order. */
#include "ucx/fixture.h"
#include "ucx/ucp_double.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

static struct side one, other;

static void open_mapped(struct side *side, const struct weir_ucx_opts *opts, size_t max)
{
    side->rt = make_runtime();
    side->peer = NULL;
    ok(weir_ucx_create(side->rt, opts, &side->ucx));
    ok(weir_pool_create(side->rt, WEIR_OPTS(pool, .buffer_bytes = BLOCK_BYTES, .buffers_min = 2, .buffers_max = max,
                                            .source = weir_ucx_memory(side->ucx)), &side->pool));
    ok(weir_ucx_offer(side->ucx, side->pool, WEIR_UCX_GET | WEIR_UCX_PUT));
}

static void assert_nothing_left(void)
{
    cr_assert_eq(wi_load(&ucp_double.mappings, relaxed), 0);
    cr_assert_eq(wi_load(&ucp_double.keys, relaxed), 0);
    cr_assert_eq(wi_load(&ucp_double.contexts, relaxed), 0);
}

/* Is the put at its target though the target's side does nothing at all? */
static bool arrives_by_itself(struct weir_buffer *target, struct weir_buffer *source, int fill)
{
    struct weir_ucx_transfer *transfer;
    struct weir_ucx_ref       ref;
    memset(source->host, fill, source->bytes);
    ok(weir_ucx_expose(other.peer, weir_slice_all(target), &ref));
    ok(weir_ucx_put(one.peer, weir_slice_all(source), &ref, WEIR_OPTS(ucx_transfer, .flags = WEIR_UCX_DELIVERED), &transfer));
    bool by_itself = weir_ucx_wait(transfer, weir_deadline_after_ns(250000000), NULL) == 0;
    for (int err = by_itself ? 0 : WEIR_ETIMEDOUT; err == WEIR_ETIMEDOUT;) {
        cr_assert_geq(weir_ucx_progress(other.ucx), 0);
        err = weir_ucx_wait(transfer, weir_deadline_after_ns(1000000), NULL);
    }
    cr_assert_eq(((unsigned char *)target->host)[0], fill);
    cr_assert_eq(((unsigned char *)target->host)[target->bytes - 1], fill);
    ok(weir_ucx_conceal(other.peer, &ref));
    return by_itself;
}

Test(ucx_memory, a_peer_maps_it)
{
    struct weir_pool *plain;
    uint16_t          port = 0;
    int               err;
    open_mapped(&one, WEIR_OPTS(ucx, .secret = SECRET), 2);
    open_mapped(&other, WEIR_OPTS(ucx, .secret = SECRET, .flags = WEIR_UCX_CALLER_PROGRESS, .stall_ns = WEIR_FOREVER), 2);
    ok(weir_pool_create(other.rt, WEIR_OPTS(pool, .buffer_bytes = BLOCK_BYTES, .buffers_min = 1), &plain));
    ok(weir_ucx_offer(other.ucx, plain, WEIR_UCX_PUT));
    ok(weir_ucx_listen(one.ucx, "127.0.0.1", 0, &port));
    ok(weir_ucx_connect(other.ucx, "127.0.0.1", port, SOON_NS, &other.peer));
    while ((err = weir_ucx_accept(one.ucx, weir_deadline_after_ns(1000000), &one.peer)) == WEIR_ETIMEDOUT)
        cr_assert_geq(weir_ucx_progress(other.ucx), 0);
    ok(err);
    struct weir_buffer *source = lease(&one, 1), *target = lease(&other, 0), *elsewhere;
    ok(weir_buffer_acquire(plain, WEIR_NOW, &elsewhere));
    cr_assert(arrives_by_itself(target, source, 3));
    cr_assert_not(arrives_by_itself(elsewhere, source, 4), "then this test sees nothing");
    ok(weir_buffer_release(target));
    ok(weir_buffer_release(elsewhere));
    ok(weir_buffer_release(source));
    weir_pool_destroy(plain);
    close_side(&other);
    close_side(&one);
    assert_nothing_left();
}

Test(ucx_memory, the_allocation_is_the_registration)
{
    open_mapped(&one, WEIR_OPTS(ucx, .secret = SECRET), 16);
    open_mapped(&other, WEIR_OPTS(ucx, .secret = SECRET), 2);
    meet(&one, &other);
    cr_assert_eq(ucx_stats(one.ucx).registrations, 1);
    ok(weir_pool_reserve(one.pool, 8));
    ok(weir_pool_reserve(one.pool, 16));
    cr_assert_eq(ucx_stats(one.ucx).registrations, 3);
    cr_assert_eq(wi_load(&ucp_double.calls[UCP_MEM_MAP], relaxed), 4, "one for each slab of both");
    ok(weir_pool_trim(one.pool, 2, WEIR_FOREVER));
    cr_assert_eq(ucx_stats(one.ucx).unregistrations, 2);
    cr_assert_eq(wi_load(&ucp_double.mappings, relaxed), 2);
    close_side(&other);
    close_side(&one);
    assert_nothing_left();
}

Test(ucx_memory, another_engine_registers_it_for_itself)
{
    struct weir_ucx *second;
    open_mapped(&one, WEIR_OPTS(ucx, .secret = SECRET), 2);
    ok(weir_ucx_create(one.rt, WEIR_OPTS(ucx, .secret = SECRET), &second));
    ok(weir_ucx_offer(second, one.pool, WEIR_UCX_PUT));
    cr_assert_eq(ucx_stats(second).registrations, 1);
    cr_assert_eq(wi_load(&ucp_double.mappings, relaxed), 2);
    weir_ucx_destroy(second);
    cr_assert_eq(wi_load(&ucp_double.mappings, relaxed), 1);
    close_side(&one);
    assert_nothing_left();
}

/* ---- a slab takes as long as it is large: transfers go on meanwhile ---- */

static _Atomic uint32_t mapping, landed;
static _Atomic bool     was_in_time;

/* UCX is at it until a transfer has landed, or for a minute. */
static void map_slowly(void)
{
    uint64_t deadline_ns = weir_deadline_after_ns(60000000000);
    wi_store(&mapping, 1, release);
    while (!wi_load(&landed, acquire) && weir_clock_ns() < deadline_ns) (void)usleep(1000);
    wi_store(&was_in_time, wi_load(&landed, acquire) != 0, relaxed);
}

static void *grow(void *pool)
{
    ok(weir_pool_reserve(pool, 8));
    return NULL;
}

static void assert_goes_on_while_it_grows(struct weir_pool *pool)
{
    pthread_t thread;
    wi_store(&mapping, 0, relaxed);
    wi_store(&landed, 0, relaxed);
    wi_store(&was_in_time, false, relaxed);
    wi_store(&ucp_double.in_map, map_slowly, release);
    cr_assert_eq(pthread_create(&thread, NULL, grow, pool), 0);
    while (!wi_load(&mapping, acquire)) (void)usleep(1000);
    wi_store(&ucp_double.in_map, NULL, relaxed);
    struct weir_buffer       *source = lease(&one, 1), *target = lease(&other, 0);
    struct weir_ucx_ref       ref;
    struct weir_ucx_transfer *transfer;
    ok(weir_ucx_expose(other.peer, weir_slice_all(target), &ref));
    ok(weir_ucx_put(one.peer, weir_slice_all(source), &ref, WEIR_OPTS(ucx_transfer, .flags = WEIR_UCX_DELIVERED), &transfer));
    ok(weir_ucx_wait(transfer, WEIR_FOREVER, NULL));
    wi_store(&landed, 1, release);
    ok(weir_ucx_conceal(other.peer, &ref));
    ok(weir_buffer_release(source));
    ok(weir_buffer_release(target));
    pthread_join(thread, NULL);
    cr_assert(wi_load(&was_in_time, relaxed), "the engine stood still until UCX had made the memory");
}

Test(ucx_memory, transfers_go_on_while_memory_is_made)
{
    struct weir_pool *plain;
    open_mapped(&one, WEIR_OPTS(ucx, .secret = SECRET), 16);
    open_mapped(&other, WEIR_OPTS(ucx, .secret = SECRET), 2);
    meet(&one, &other);
    ok(weir_pool_create(one.rt, WEIR_OPTS(pool, .buffer_bytes = BLOCK_BYTES, .buffers_min = 1, .buffers_max = 16), &plain));
    ok(weir_ucx_offer(one.ucx, plain, WEIR_UCX_PUT));
    assert_goes_on_while_it_grows(one.pool); /* allocated by UCX */
    assert_goes_on_while_it_grows(plain);    /* registered */
    cr_assert_eq(ucx_stats(one.ucx).registrations, 4);
    weir_pool_destroy(plain);
    close_side(&other);
    close_side(&one);
    assert_nothing_left();
}

/* The engine ends first: what pools have stays theirs, and nothing more comes. */
Test(ucx_memory, outlives_its_engine)
{
    open_mapped(&one, WEIR_OPTS(ucx, .secret = SECRET), 16);
    struct weir_buffer *buffer = lease(&one, 7);
    weir_ucx_destroy(one.ucx);
    cr_assert_eq(wi_load(&ucp_double.contexts, relaxed), 1);
    answers(weir_pool_reserve(one.pool, 16), CLOSED);
    assert_law(one.pool);
    memset(buffer->host, 8, buffer->bytes);
    ok(weir_buffer_release(buffer));
    buffer = lease(&one, 9);
    weir_pool_destroy(one.pool); /* and the lease last */
    ok(weir_buffer_release(buffer));
    weir_runtime_destroy(one.rt);
    assert_nothing_left();
}

Test(ucx_memory, a_quarantined_slab_keeps_its_context)
{
    open_mapped(&one, WEIR_OPTS(ucx, .secret = SECRET), 2);
    struct weir_buffer *buffer = lease(&one, 7);
    unsigned char      *byte = buffer->host;
    ok(weir_buffer_hold(buffer));
    ok(weir_buffer_unhold_lost(buffer));
    ok(weir_buffer_release(buffer));
    weir_ucx_destroy(one.ucx);
    weir_pool_destroy(one.pool);
    weir_runtime_destroy(one.rt);
    cr_assert_eq(wi_load(&ucp_double.mappings, relaxed), 1);
    cr_assert_eq(wi_load(&ucp_double.contexts, relaxed), 1);
    cr_assert_eq(*byte, 7, "who still writes there harms nobody");
}

static int make_file(const char *name)
{
    int fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    cr_assert_geq(fd, 0);
    cr_assert_eq(ftruncate(fd, 4096), 0);
    return fd;
}

/* What a process left that was killed while UCX made a segment goes; what somebody has open, or mapped, stays. */
Test(ucx_memory, what_the_killed_left_is_taken_away)
{
    char folder[] = "/tmp/weir-ucx-XXXXXX";
    cr_assert(mkdtemp(folder));
    cr_assert_eq(setenv("UCX_POSIX_DIR", folder, 1), 0);
    cr_assert_eq(chdir(folder), 0);
    (void)close(make_file("ucx_shm_posix_left"));
    (void)close(make_file("another"));
    int   open_fd = make_file("ucx_shm_posix_open"), mapped_fd = make_file("ucx_shm_posix_mapped");
    void *mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, mapped_fd, 0);
    cr_assert_neq(mapped, MAP_FAILED);
    (void)close(mapped_fd);
    open_mapped(&one, WEIR_OPTS(ucx, .secret = SECRET), 2);
    cr_assert_neq(access("ucx_shm_posix_left", F_OK), 0, "it stays for good");
    cr_assert_eq(access("another", F_OK), 0);
    cr_assert_eq(access("ucx_shm_posix_open", F_OK), 0);
    cr_assert_eq(access("ucx_shm_posix_mapped", F_OK), 0);
    (void)close(open_fd);
    cr_assert_eq(munmap(mapped, 4096), 0);
    close_side(&one);
    cr_assert_neq(access("ucx_shm_posix_open", F_OK), 0);
    cr_assert_neq(access("ucx_shm_posix_mapped", F_OK), 0);
    cr_assert_eq(unlink("another"), 0);
    cr_assert_eq(rmdir(folder), 0, "something is left");
}

Test(ucx_memory, is_none_without_an_engine)
{
    cr_assert_null(weir_ucx_memory(NULL));
}
