/* SPDX-License-Identifier: Apache-2.0 */
/* Pools whose memory comes from a source: each piece is asked for once, checked, pinned, charged, and given back once. */
#include "pool/fixture.h"

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define KIB        ((size_t)1 << 10)
#define PIECES_MAX 64

/* Hands out shared memory, as UCX does. Calls of one pool are one at a time, of several at once. */
struct shop {
    pthread_mutex_t lock;
    char           *base[PIECES_MAX]; /* NULL: given back */
    size_t          bytes[PIECES_MAX];
    unsigned        count, calls;
    unsigned        given; /* see given() */
    unsigned        fail_at; /* the call of this number fails; 0: none */
    int             fail_code;
    bool            records; /* failures say why, as weir's do */
    size_t          astray;  /* bytes beyond where a page begins */
    bool            answers_null;
    uint64_t        numa_mask; /* of the latest request */
};

static struct shop          shop;
static struct weir_runtime *rt;
static struct weir_pool    *pool;

static int refuse(const struct shop *at)
{
    if (!at->records) return at->fail_code;
    return weir_error_record(&(const struct weir_error){.struct_size = sizeof(struct weir_error), .code = at->fail_code,
                                                        .file = __FILE__, .line = __LINE__, .detail = "the shop is closed today"});
}

static int take(void *ctx, const struct weir_memory_request *request, void **out)
{
    struct shop *at = ctx;
    cr_assert_eq(request->struct_size, sizeof *request);
    cr_assert_gt(request->bytes, 0);
    cr_assert_eq(request->bytes % (size_t)sysconf(_SC_PAGESIZE), 0);
    cr_assert_eq(request->alignment_bytes, (size_t)sysconf(_SC_PAGESIZE));
    pthread_mutex_lock(&at->lock);
    bool fails = ++at->calls == at->fail_at;
    pthread_mutex_unlock(&at->lock);
    at->numa_mask = request->numa_mask;
    if (fails) return refuse(at);
    if (at->answers_null) return 0;
    char *base = mmap(NULL, request->bytes + at->astray, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(base, MAP_FAILED);
    pthread_mutex_lock(&at->lock);
    cr_assert_lt(at->count, PIECES_MAX);
    at->base[at->count] = base + at->astray;
    at->bytes[at->count++] = request->bytes;
    pthread_mutex_unlock(&at->lock);
    *out = base + at->astray;
    return 0;
}

static void give(void *ctx, void *address, size_t bytes)
{
    struct shop *at = ctx;
    pthread_mutex_lock(&at->lock);
    for (unsigned i = 0; i < at->count; i++) {
        if (at->base[i] != address) continue;
        cr_assert_eq(at->bytes[i], bytes);
        memset(address, 0xdd, bytes); /* all of it, and it is still there */
        cr_assert_eq(munmap(at->base[i] - at->astray, bytes + at->astray), 0);
        at->base[i] = NULL; /* the kernel may map the same again */
        at->given++;
        pthread_mutex_unlock(&at->lock);
        return;
    }
    cr_assert_fail("given back twice, or never taken");
}

static unsigned given(void)
{
    pthread_mutex_lock(&shop.lock);
    unsigned count = shop.given;
    pthread_mutex_unlock(&shop.lock);
    return count;
}

static bool is_inside(const void *host, size_t bytes)
{
    const char *start = host;
    for (unsigned i = 0; i < shop.count; i++) {
        if (shop.base[i] && start >= shop.base[i] && start + bytes <= shop.base[i] + shop.bytes[i]) return true;
    }
    return false;
}

static const struct weir_memory_source from_shop = {.struct_size = sizeof from_shop, .take = take, .give = give, .ctx = &shop};

static void set_up(void)
{
    shop = (struct shop){.lock = PTHREAD_MUTEX_INITIALIZER, .fail_code = WEIR_ENOMEM};
    rt = make_runtime();
}

TestSuite(memory_source, .init = set_up, .timeout = 240);

static int make_pool(size_t min, size_t max)
{
    return weir_pool_create(rt, WEIR_OPTS(pool, .name = "shop", .buffer_bytes = 60 * KIB, .buffers_min = min, .buffers_max = max,
                                          .source = &from_shop), &pool);
}

static uint64_t pinned_bytes(void)
{
    struct weir_runtime_stats stats = {.struct_size = sizeof stats};
    ok(weir_runtime_stats_read(rt, &stats));
    return stats.pinned_bytes;
}

static void expect_detail(const char *text)
{
    struct weir_error error = {.struct_size = sizeof error};
    ok(weir_last_error(&error));
    cr_assert(strstr(error.detail, text), "'%s' does not say '%s'", error.detail, text);
}

Test(memory_source, buffers_lie_in_it_and_it_comes_back_once)
{
    struct weir_buffer *buffer[16];
    uint64_t            before = pinned_bytes();
    ok(make_pool(4, 16));
    cr_assert_eq(shop.count, 1);
    ok(weir_pool_reserve(pool, 16));
    cr_assert_eq(shop.count, 2);
    cr_assert_eq(pinned_bytes() - before, shop.bytes[0] + shop.bytes[1], "charged as other memory is");
    cr_assert_eq(pool_stats(pool).memory, WEIR_MEMORY_PINNED);
    ok(weir_buffers_acquire(pool, 16, WEIR_NOW, buffer));
    for (int i = 0; i < 16; i++) {
        cr_assert(is_inside(buffer[i]->host, buffer[i]->bytes));
        memset(buffer[i]->host, i, buffer[i]->bytes);
    }
    for (int i = 0; i < 16; i++) cr_assert_eq(((unsigned char *)buffer[i]->host)[buffer[i]->bytes - 1], i);
    ok(weir_buffers_release(buffer, 16));
    ok(weir_pool_trim(pool, 4, WEIR_FOREVER));
    cr_assert_eq(given(), 1);
    cr_assert_not_null(shop.base[0], "buffers_min stay");
    ok(weir_pool_reserve(pool, 8));
    cr_assert_eq(shop.count, 3);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    cr_assert_eq(given(), 3);
}

Test(memory_source, the_idle_pool_shrinks)
{
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4 * KIB, .buffers_min = 2, .buffers_max = 8, .shrink_cooldown_ns = 20000000,
                                      .source = &from_shop), &pool));
    struct weir_buffer *buffer[8];
    for (int i = 0; i < 8; i++) ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer[i])); /* grows to 4, and to 8 */
    cr_assert_eq(shop.count, 3);
    ok(weir_buffers_release(buffer, 8));
    eventually(given() >= 2);
    assert_law(pool);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    cr_assert_eq(given(), shop.count);
}

Test(memory_source, what_is_leased_gives_back_when_it_comes_home)
{
    struct weir_buffer *buffer;
    ok(make_pool(2, 2));
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    weir_pool_destroy(pool);
    cr_assert_eq(given(), 0);
    memset(buffer->host, 1, buffer->bytes);
    ok(weir_buffer_release(buffer));
    weir_runtime_destroy(rt);
    cr_assert_eq(given(), 1);
}

Test(memory_source, quarantined_memory_is_never_given_back)
{
    struct weir_buffer *buffer;
    ok(make_pool(2, 4));
    ok(weir_pool_reserve(pool, 4));
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    ok(weir_buffer_hold(buffer));
    ok(weir_buffer_unhold_lost(buffer));
    void *host = buffer->host;
    ok(weir_buffer_release(buffer));
    cr_assert_eq(pool_stats(pool).quarantined, 1);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    cr_assert_eq(given(), 1, "the other piece");
    cr_assert(is_inside(host, 60 * KIB), "that which holds it stays");
}

/* At each call of the source, with each kind of answer: the code comes through, and nothing is left. */
Test(memory_source, each_call_fails)
{
    static const int codes[] = {WEIR_ENOMEM, WEIR_EPRESSURE, WEIR_ENOSYS, WEIR_EDEVICE};
    for (unsigned i = 0; i < 2 * sizeof codes / sizeof *codes; i++) {
        uint64_t before = pinned_bytes();
        shop = (struct shop){.lock = PTHREAD_MUTEX_INITIALIZER, .fail_at = 1, .fail_code = codes[i / 2], .records = i % 2};
        for (unsigned turn = 0; turn < 3; turn++) { /* the same failure again says the same */
            shop.calls = 0;
            cr_assert_eq(make_pool(4, 32), codes[i / 2]);
            expect_detail(i % 2 ? "the shop is closed today" : "the memory source has no memory");
        }
        cr_assert_eq(pinned_bytes(), before);
        for (unsigned fail_at = 2; fail_at < 5; fail_at++) {
            shop.calls = 0;
            shop.fail_at = fail_at;
            ok(make_pool(4, 32));
            size_t have = 4;
            for (unsigned call = 2; call < fail_at; call++) ok(weir_pool_reserve(pool, have *= 2));
            cr_assert_eq(weir_pool_reserve(pool, 32), codes[i / 2]);
            cr_assert_eq(pool_stats(pool).total, have, "what there was goes on");
            assert_law(pool);
            ok(weir_pool_reserve(pool, 32)); /* the next call does not fail */
            weir_pool_destroy(pool);
            eventually(pinned_bytes() == before);
        }
        cr_assert_eq(given(), shop.count);
    }
    weir_runtime_destroy(rt);
}

/* The monitor grows: who waits is served by what comes home, or ends at the deadline; the pool is whole. */
Test(memory_source, growth_by_itself_stops_cleanly)
{
    struct weir_buffer *buffer[2], *none;
    shop.fail_at = 2;
    ok(make_pool(1, 2));
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer[0]));
    int err = weir_buffer_acquire(pool, weir_deadline_after_ns(1000000), &none);
    while (err == WEIR_ETIMEDOUT) err = weir_buffer_acquire(pool, weir_deadline_after_ns(20000000), &none); /* it is tried again */
    ok(err);
    cr_assert_geq(shop.calls, 3, "the failure, and what came after it");
    cr_assert_eq(shop.count, 2);
    ok(weir_buffer_release(buffer[0]));
    ok(weir_buffer_release(none));
    assert_law(pool);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    cr_assert_eq(given(), 2);
}

Test(memory_source, memory_not_as_asked_for_is_refused)
{
    uint64_t before = pinned_bytes();
    shop.astray = 512;
    answers(make_pool(1, 1), INVAL);
    expect_detail("not at the beginning of a page");
    cr_assert_eq(given(), 1);
    shop.astray = 0;
    shop.answers_null = true;
    answers(make_pool(1, 1), INVAL);
    expect_detail("NULL");
    cr_assert_eq(given(), 1);
    cr_assert_eq(pinned_bytes(), before);
    weir_runtime_destroy(rt);
}

Test(memory_source, options_are_checked)
{
    struct weir_memory_source wrong = from_shop;
    struct {
        struct weir_memory_source known;
        uint64_t                  later;
    } newer = {.known = from_shop, .later = 1};
    wrong.take = NULL;
    answers(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .source = &wrong), &pool), INVAL);
    expect_detail("no take");
    wrong = from_shop;
    wrong.give = NULL;
    answers(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .source = &wrong), &pool), INVAL);
    expect_detail("no give");
    wrong = from_shop;
    wrong.struct_size = 0;
    answers(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .source = &wrong), &pool), INVAL);
    answers(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .memory = WEIR_MEMORY_DEVICE, .source = &from_shop), &pool),
            INVAL);
    expect_detail("host memory");
    newer.known.struct_size = sizeof newer;
    answers(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .source = &newer.known), &pool), OPTS);
    newer.later = 0;
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .source = &newer.known), &pool));
    cr_assert_eq(shop.count, 1);
    memset(&newer, 0xff, sizeof newer); /* it was copied */
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    cr_assert_eq(given(), 1);
}

/* A program from before there were sources: what lies behind its options is none. */
Test(memory_source, older_options_have_none)
{
    struct weir_pool_opts old = {.struct_size = offsetof(struct weir_pool_opts, source), .buffer_bytes = 4096};
    memset(&old.source, 0xff, sizeof old.source);
    ok(weir_pool_create(rt, &old, &pool));
    cr_assert_eq(shop.calls, 0);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

Test(memory_source, the_budget_comes_first)
{
    weir_runtime_destroy(rt);
    ok(weir_runtime_create(WEIR_OPTS(runtime, .pinned_bytes_max = 256 * KIB), &rt));
    answers(make_pool(8, 8), EXCEEDS);
    cr_assert_eq(shop.calls, 0);
    ok(make_pool(2, 2));
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    cr_assert_eq(given(), 1);
}

Test(memory_source, pageable_pools_and_node_masks)
{
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4 * KIB, .memory = WEIR_MEMORY_PAGEABLE, .numa_mask = 1, .source = &from_shop),
                        &pool));
    cr_assert_eq(shop.numa_mask, 1, "the nodes are the source's to heed");
    cr_assert_eq(pool_stats(pool).memory, WEIR_MEMORY_PAGEABLE);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    cr_assert_eq(given(), 1);
}

static int stop_halfway(void *ctx, size_t ready, size_t total)
{
    (void)ctx;
    return ready > 0 || total == 0;
}

Test(memory_source, a_cancelled_pool_gives_back)
{
    uint64_t before = pinned_bytes();
    answers(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4 * KIB, .progress = stop_halfway, .source = &from_shop), &pool), CANCELED);
    cr_assert_eq(shop.count, 1);
    cr_assert_eq(given(), 1);
    cr_assert_eq(pinned_bytes(), before);
    weir_runtime_destroy(rt);
}

static void *pools_come_and_go(void *arg)
{
    (void)arg;
    for (int i = 0; i < 5; i++) {
        struct weir_pool *mine;
        if (weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4 * KIB, .buffers_min = 1, .buffers_max = 4, .source = &from_shop), &mine) < 0 ||
            weir_pool_reserve(mine, 4) < 0)
            abort();
        weir_pool_destroy(mine);
    }
    return NULL;
}

Test(memory_source, several_pools_at_once)
{
    pthread_t thread[3];
    for (int i = 0; i < 3; i++) cr_assert_eq(pthread_create(&thread[i], NULL, pools_come_and_go, NULL), 0);
    for (int i = 0; i < 3; i++) pthread_join(thread[i], NULL);
    weir_runtime_destroy(rt);
    cr_assert_eq(shop.count, 30);
    cr_assert_eq(given(), 30);
}
