/* SPDX-License-Identifier: Apache-2.0 */
/* Affinity: a key gets its stream again, the table is bounded, what happens is counted. */
#include "pool/stream_fixture.h"

#include "pool/affinity.h"

#include <pthread.h>

static struct weir_runtime *rt;

static struct weir_stream *acquire_keyed(uint64_t key)
{
    struct weir_stream *stream;
    ok(weir_stream_acquire_with(rt, WEIR_OPTS(stream, .affinity_key = key), WEIR_NOW, &stream));
    return stream;
}

static uint64_t use_key(uint64_t key)
{
    struct weir_stream *stream = acquire_keyed(key);
    uint64_t            id = stream_id(stream);
    ok(weir_stream_release(stream));
    return id;
}

Test(affinity, a_key_gets_its_stream_again_when_it_is_free)
{
    uint64_t id[4];
    ok(weir_runtime_create(WEIR_OPTS(runtime, .streams_compute = 4), &rt));
    /* Each new key gets a stream that no key has, as long as there is one. */
    for (uint64_t key = 0; key < 4; key++) {
        id[key] = use_key(100 + key);
        for (uint64_t other = 0; other < key; other++) cr_assert_neq(id[key], id[other]);
    }
    /* Now forwards, now backwards: who took the streams in turn would give the wrong ones. */
    for (int round = 0; round < 20; round++) {
        for (uint64_t i = 0; i < 4; i++) {
            uint64_t key = round % 2 ? i : 3 - i;
            cr_assert_eq(use_key(100 + key), id[key]);
        }
    }
    struct weir_stream_totals totals = stream_totals(rt, WEIR_STREAM_COMPUTE);
    cr_assert_eq(totals.affinity_keys, 4);
    cr_assert_eq(totals.affinity_misses, 4);
    cr_assert_eq(totals.affinity_hits, 80);
    cr_assert_eq(totals.affinity_evictions, 0);
    weir_runtime_destroy(rt);
}

Test(affinity, another_stream_is_given_while_the_keys_own_is_leased)
{
    ok(weir_runtime_create(WEIR_OPTS(runtime, .streams_compute = 3), &rt));
    struct weir_stream *own = acquire_keyed(7);
    struct weir_stream *other = acquire_keyed(7);
    cr_assert_neq(stream_id(own), stream_id(other));
    uint64_t id = stream_id(own);
    ok(weir_stream_release(own));
    ok(weir_stream_release(other));
    cr_assert_eq(use_key(7), id, "the binding stays");
    struct weir_stream_totals totals = stream_totals(rt, WEIR_STREAM_COMPUTE);
    cr_assert_eq(totals.affinity_keys, 1);
    cr_assert_eq(totals.affinity_hits, 1);
    cr_assert_eq(totals.affinity_misses, 2);
    weir_runtime_destroy(rt);
}

/* Who has no key stays away from the streams of those who have, while there is another. */
Test(affinity, plain_acquires_leave_bound_streams_alone)
{
    ok(weir_runtime_create(WEIR_OPTS(runtime, .streams_compute = 3), &rt));
    uint64_t first = use_key(1), second = use_key(2);
    for (int i = 0; i < 20; i++) {
        struct weir_stream *stream = acquire_stream(rt, WEIR_STREAM_COMPUTE);
        cr_assert_neq(stream_id(stream), first);
        cr_assert_neq(stream_id(stream), second);
        ok(weir_stream_release(stream));
    }
    struct weir_stream *all[3];
    for (int i = 0; i < 3; i++) all[i] = acquire_stream(rt, WEIR_STREAM_COMPUTE);
    for (int i = 0; i < 3; i++) ok(weir_stream_release(all[i]));
    weir_runtime_destroy(rt);
}

/* A stream that was released busy is not free, so its key gets another; with OLDEST it is. */
Test(affinity, a_busy_stream_is_free_only_where_busy_ones_are_reused)
{
    for (uint32_t reuse = WEIR_STREAM_DRAINED; reuse <= WEIR_STREAM_OLDEST; reuse++) {
        ok(weir_runtime_create(WEIR_OPTS(runtime, .streams_compute = 2, .stream_reuse = reuse), &rt));
        struct weir_stream *stream = acquire_keyed(5);
        uint64_t            id = stream_id(stream);
        ok(weir_stream_delay(stream, 250 * MS));
        ok(weir_stream_release(stream));
        stream = acquire_keyed(5);
        cr_assert_eq(stream_id(stream) == id, reuse == WEIR_STREAM_OLDEST);
        ok(weir_stream_release(stream));
        weir_runtime_destroy(rt);
    }
}

Test(affinity, classes_keep_their_keys_apart)
{
    struct weir_stream *comm, *compute;
    ok(weir_runtime_create(NULL, &rt));
    compute = acquire_keyed(9);
    ok(weir_stream_acquire_with(rt, WEIR_OPTS(stream, .stream_class = WEIR_STREAM_COMM, .affinity_key = 9), WEIR_NOW,
                                &comm));
    cr_assert_eq(stream_info(comm).stream_class, WEIR_STREAM_COMM);
    cr_assert_eq(stream_totals(rt, WEIR_STREAM_COMPUTE).affinity_keys, 1);
    cr_assert_eq(stream_totals(rt, WEIR_STREAM_COMM).affinity_keys, 1);
    cr_assert_eq(stream_totals(rt, 0).affinity_keys, 2);
    ok(weir_stream_release(compute));
    ok(weir_stream_release(comm));
    weir_runtime_destroy(rt);
}

Test(affinity, keys_are_forgotten_on_request)
{
    ok(weir_runtime_create(WEIR_OPTS(runtime, .streams_compute = 4), &rt));
    for (uint64_t key = 1; key <= 4; key++) (void)use_key(key);
    cr_assert_eq(weir_stream_clear_affinity(rt), 4);
    cr_assert_eq(stream_totals(rt, 0).affinity_keys, 0);
    uint64_t misses = stream_totals(rt, 0).affinity_misses;
    (void)use_key(1);
    cr_assert_eq(stream_totals(rt, 0).affinity_misses, misses + 1, "the key was not forgotten");
    cr_assert_eq(weir_stream_clear_affinity(rt), 1);
    cr_assert_eq(weir_stream_clear_affinity(rt), 0);
    answers(weir_stream_clear_affinity(NULL), INVAL);
    weir_runtime_destroy(rt);
}

Test(affinity, it_can_be_switched_off_and_on)
{
    ok(weir_runtime_create(WEIR_OPTS(runtime, .affinity = WEIR_AFFINITY_OFF), &rt));
    (void)use_key(3);
    cr_assert_eq(stream_totals(rt, 0).affinity_keys, 0);
    cr_assert_eq(stream_totals(rt, 0).affinity_misses, 0);
    ok(weir_stream_set_affinity(rt, WEIR_AFFINITY_ON));
    uint64_t id = use_key(3);
    cr_assert_eq(stream_totals(rt, 0).affinity_keys, 1);
    ok(weir_stream_set_affinity(rt, WEIR_AFFINITY_OFF));
    (void)use_key(3);
    cr_assert_eq(stream_totals(rt, 0).affinity_hits, 0);
    ok(weir_stream_set_affinity(rt, WEIR_AFFINITY_ON));
    cr_assert_eq(use_key(3), id, "nothing was forgotten meanwhile");
    answers(weir_stream_set_affinity(rt, 0), INVAL);
    weir_runtime_destroy(rt);
}

Test(affinity, the_table_is_bounded)
{
    ok(weir_runtime_create(WEIR_OPTS(runtime, .affinity_keys_max = 64), &rt));
    for (uint64_t key = 1; key <= 10000; key++) (void)use_key(key);
    struct weir_stream_totals totals = stream_totals(rt, WEIR_STREAM_COMPUTE);
    cr_assert_leq(totals.affinity_keys, 64);
    cr_assert_geq(totals.affinity_keys, 56);
    cr_assert_eq(totals.affinity_keys + totals.affinity_evictions, 10000);
    uint64_t id = use_key(10000);
    cr_assert_eq(use_key(10000), id, "the latest key is there still");
    weir_runtime_destroy(rt);
}

/* ---- the table alone ---- */

#define THREADS 4
static struct wi_affinity table;

static void *bind_and_clear(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg + 1;
    for (int i = 0; i < 50000; i++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        uint64_t key = seed >> 56;
        uint32_t stream = wi_affinity_find(&table, key);
        cr_assert(stream == WI_AFFINITY_NONE || stream == key % 5, "key %lu has another's stream", (unsigned long)key);
        if (stream == WI_AFFINITY_NONE) wi_affinity_bind(&table, key, key % 5);
        if (i % 4096 == 4095) (void)wi_affinity_clear(&table);
    }
    return NULL;
}

static void assert_table_law(void)
{
    int64_t entries = 0, bound = 0;
    for (uint32_t i = 0; i < table.sets * WI_AFFINITY_WAYS; i++) entries += wi_load(&table.entry[i], relaxed) != 0;
    for (uint32_t i = 0; i < table.streams; i++) bound += wi_load(&table.bound[i], relaxed);
    cr_assert_eq(wi_load(&table.keys, relaxed), entries);
    cr_assert_eq(bound, entries);
}

Test(affinity, the_table_keeps_its_law_under_threads)
{
    pthread_t thread[THREADS];
    ok(wi_affinity_init(&table, 64, 5));
    for (uintptr_t i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&thread[i], NULL, bind_and_clear, (void *)i), 0);
    for (int i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
    assert_table_law();
    (void)wi_affinity_clear(&table);
    assert_table_law();
    cr_assert_eq(wi_load(&table.keys, relaxed), 0);
    wi_affinity_fini(&table);
}
