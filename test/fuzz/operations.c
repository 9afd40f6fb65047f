/* SPDX-License-Identifier: Apache-2.0 */
/*
 * operations.c - any sequence of operations on a pool, streams and events of the host backend
 *
 * Beside each call stands what it may answer. A buffer that is leased is nobody else's, keeps its bytes, and does not lose
 * them to whoever has it next while the device still reads them; what is not leased cannot be released. At the end
 * everything comes home: total = leased + free + retiring + quarantined, and of those only what was lost on purpose is missing.
 */
#include "fuzz/operations.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

const char *const fuzz_words[] = {NULL};

struct world world;

int LLVMFuzzerInitialize(int *count, char ***words)
{
    (void)count;
    (void)words;
    weir_log_set(hear_no_error, NULL);
    (void)setenv("WEIR_CHECK", "2", 1);
    (void)setenv("WEIR_HOST_MODEL", "latency=1us", 0);
    return 0;
}

static struct weir_pool_stats stats_of_pool(void)
{
    struct weir_pool_stats stats = {.struct_size = sizeof stats};
    must(weir_pool_stats_read(world.pool, &stats));
    return stats;
}

static uint64_t soon(struct fuzz_input *input)
{
    return fuzz_u8(input) & 3 ? WEIR_NOW : weir_deadline_after_ns(20000);
}

/* ---- leases ---- */

static bool is_leased(const void *pointer)
{
    for (size_t i = 0; i < world.leases; i++)
        if (world.lease[i].buffer == pointer) return true;
    return false;
}

struct lease *some_lease(struct fuzz_input *input)
{
    uint8_t which = fuzz_u8(input);
    return world.leases ? &world.lease[which % world.leases] : NULL;
}

static void check_bytes(const struct lease *lease)
{
    const uint8_t *at = lease->buffer->host;
    for (size_t i = 0; lease->known && i < BYTES; i++)
        fuzz_require(at[i] == lease->stamp, "byte %zu of a leased buffer is %u, not %u", i, at[i],
                     lease->stamp);
}

static void keep(struct weir_buffer *buffer)
{
    fuzz_require(world.leases < LEASES && buffer->bytes == BYTES && buffer->host, "a lease");
    for (size_t i = 0; i < world.leases; i++)
        fuzz_require(world.lease[i].buffer->host != buffer->host, "one buffer, two leases");
    world.lease[world.leases++] = (struct lease){buffer, ++world.stamps, true};
    memset(buffer->host, world.stamps, BYTES); /* the device may still read it, if weir is wrong */
}

static bool room(size_t count)
{
    return world.leases + count <= LEASES;
}

static void acquire(struct fuzz_input *input)
{
    struct weir_buffer *buffer;
    uint64_t            deadline_ns = soon(input);
    if (!room(1)) return;
    bool certain = world.exact && world.leases < world.buffers_min;
    int  err = may(weir_buffer_acquire(world.pool, deadline_ns, &buffer), WEIR_EAGAIN,
                   WEIR_ETIMEDOUT, WEIR_EPRESSURE);
    if (err == 0) keep(buffer);
    fuzz_require(err == 0 || !certain, "refused with %zu of %zu leased", world.leases,
                 world.buffers_min);
}

static void acquire_with(struct fuzz_input *input)
{
    struct weir_buffer *buffer;
    uint32_t            priority = fuzz_below(input, 5), flags = fuzz_below(input, 16) == 0;
    if (!room(1)) return;
    int err = may(weir_buffer_acquire_with(world.pool,
                                           WEIR_OPTS(acquire, .priority = priority, .flags = flags),
                                           soon(input), &buffer),
                  WEIR_EAGAIN, WEIR_ETIMEDOUT, WEIR_EPRESSURE, WEIR_EOPTS, WEIR_EINVAL);
    fuzz_require(err < 0 || (priority < 4 && !flags), "options that do not exist");
    if (err == 0) keep(buffer);
}

static void acquire_many(struct fuzz_input *input)
{
    struct weir_buffer *buffers[8];
    size_t              count = fuzz_below(input, 8);
    bool                some = fuzz_u8(input) & 1;
    if (!room(count)) return;
    int got = some ? may(weir_buffers_acquire_some(world.pool, count, buffers), WEIR_EAGAIN,
                         WEIR_EPRESSURE, WEIR_EINVAL)
                   : may(weir_buffers_acquire(world.pool, count, soon(input), buffers), WEIR_EAGAIN,
                         WEIR_ETIMEDOUT, WEIR_EPRESSURE, WEIR_EEXCEEDS, WEIR_EINVAL);
    if (got == 0 && !some) got = (int)count;
    fuzz_require(got < 0 || (size_t)got <= count, "%d of %zu", got, count);
    for (int i = 0; i < got; i++) keep(buffers[i]);
}

static void release(struct fuzz_input *input)
{
    struct lease *lease = some_lease(input);
    if (!lease) return;
    check_bytes(lease);
    world.stale[world.stales++ % STALES] = lease->buffer;
    if (fuzz_planted() && world.leases >= 3 && world.dropped++ == 2)
        ; /* a release that does nothing */
    else
        must(weir_buffer_release(lease->buffer));
    *lease = world.lease[--world.leases];
}

static void release_what_is_not_leased(struct fuzz_input *input)
{
    uint8_t which = fuzz_u8(input);
    char    here[256] = {0};
    void   *pointer = here + 64;
    switch (which & 3) {
    case 0:
        pointer = world.leases ? (char *)world.lease[which % world.leases].buffer + 8 : pointer;
        break;
    case 1:
        pointer = world.stream[0] ? (void *)world.stream[0] : pointer;
        break;
    case 2:
        pointer = (void *)(uintptr_t)(which << 8);
        break;
    default:
        break;
    }
    if (pointer) fuzz_require(weir_buffer_release(pointer) < 0, "what is no lease was released");
    pointer =
        world.stales ? world.stale[which % (world.stales < STALES ? world.stales : STALES)] : NULL;
    if (pointer && !is_leased(pointer)) {
        int err = may(weir_buffer_release(pointer), WEIR_ENOTLEASED, WEIR_ESTALE, WEIR_EFOREIGN);
        fuzz_require(err < 0, "released twice");
    }
}

static void hold(struct fuzz_input *input)
{
    struct lease *lease = some_lease(input);
    if (!lease || world.holds == LEASES) return;
    world.exact = false;
    must(weir_buffer_hold(lease->buffer));
    world.hold[world.holds++] = lease->buffer;
}

static void unhold(struct fuzz_input *input)
{
    uint8_t which = fuzz_u8(input);
    if (world.holds == 0) return;
    struct weir_buffer **held = &world.hold[which % world.holds];
    bool                 lost = which >> 4 == 0 && world.lost < 2;
    world.lost += lost;
    must(lost ? weir_buffer_unhold_lost(*held) : weir_buffer_unhold(*held));
    *held = world.hold[--world.holds];
}

/* ---- the pool ---- */

static void change_pool(struct fuzz_input *input)
{
    uint32_t count = fuzz_below(input, 24), what = fuzz_below(input, 5);
    switch (what) {
    case 0:
        (void)may(weir_pool_reserve(world.pool, count), WEIR_EEXCEEDS, WEIR_ENOMEM, WEIR_EPRESSURE);
        break;
    case 1:
        (void)may(weir_pool_trim(world.pool, count, soon(input)), WEIR_ETIMEDOUT, WEIR_EBUSY);
        break;
    case 2:
        fuzz_require(must(weir_pool_clear(world.pool)) >= (int)(world.exact ? world.leases : 0),
                     "leases were cleared");
        break;
    case 3:
        (void)may(weir_runtime_trim(world.rt, WEIR_MEMORY_PINNED, count * BYTES, soon(input)),
                  WEIR_ETIMEDOUT, WEIR_EBUSY);
        break;
    default:
        must(weir_runtime_set_budget(world.rt, WEIR_MEMORY_PINNED,
                                     count & 1 ? UINT64_MAX : count * 4096));
        break;
    }
    struct weir_pool_stats stats = stats_of_pool();
    fuzz_require(stats.total >= world.buffers_min && stats.total <= world.buffers_max,
                 "%llu buffers", (unsigned long long)stats.total);
}

/* ---- looking ---- */

static void look(struct fuzz_input *input)
{
    size_t                   bytes = fuzz_u8(input);
    struct lease            *lease = some_lease(input);
    struct weir_buffer_info *info = malloc(bytes < sizeof(size_t) ? sizeof(size_t) : bytes);
    struct weir_buffer      *found;
    fuzz_require(info, "no memory");
    info->struct_size = bytes; /* of a program of any age: nothing is written beyond it */
    if (lease) {
        int err = may(weir_buffer_info_read(lease->buffer, info), WEIR_EINVAL);
        fuzz_require((err == 0) == (bytes >= sizeof(size_t)), "answered %d for %zu bytes", err,
                     bytes);
        must(weir_buffer_find(world.rt, (char *)lease->buffer->host + bytes, &found));
        fuzz_require(found->host == lease->buffer->host, "another buffer was found");
        fuzz_require(must(weir_buffer_wanted(lease->buffer)) == 0, "nobody waits");
    }
    (void)may(weir_buffer_find(world.rt, &bytes, &found), WEIR_ENOENT);
    free(info);
}

/* ---- the whole ---- */

static void open_world(struct fuzz_input *input)
{
    struct weir_runtime_opts rt = {
        .struct_size = sizeof rt, .backend = "host", .streams_compute = 2, .streams_comm = 1};
    struct weir_pool_opts pool = {
        .struct_size = sizeof pool, .name = "fuzz", .buffer_bytes = BYTES};
    memset(&world, 0, sizeof world);
    pool.buffers_min = world.buffers_min = 1 + fuzz_below(input, 8);
    pool.buffers_max = world.buffers_max = world.buffers_min + fuzz_below(input, 12);
    pool.strategy = fuzz_below(input, 5);
    pool.flags = fuzz_below(input, 2) ? WEIR_POOL_SCRUB : 0;
    pool.headroom = pool.strategy == WEIR_STRATEGY_PRIORITY ? fuzz_below(input, 3) : 0;
    if (pool.headroom >= pool.buffers_min) pool.headroom = 0;
    world.exact = pool.headroom == 0;
    rt.events_max = 1 + fuzz_below(input, 4);
    rt.events_min = 1;
    must(weir_runtime_create(&rt, &world.rt));
    must(weir_pool_create(world.rt, &pool, &world.pool));
    for (size_t i = 0; i < STREAMS; i++) {
        must(weir_device_alloc(world.rt, BYTES, &world.block[i].address));
        world.block[i].stamp = -1;
    }
}

/*
 * At rest, but for helper threads that have something on its way: they end, or the driver tells of a hang. `lost` holds were
 * lost, maybe several of one buffer.
 */
static void check_law(struct weir_pool_stats (*read)(void), uint64_t lost)
{
    for (;; (void)poll(NULL, 0, 1)) {
        struct weir_pool_stats stats = read();
        uint64_t               sum = stats.leased + stats.free + stats.retiring + stats.quarantined;
        fuzz_require(stats.quarantined <= lost, "%llu in quarantine",
                     (unsigned long long)stats.quarantined);
        fuzz_require(stats.leased == 0, "%llu leased", (unsigned long long)stats.leased);
        if (sum == stats.total && stats.retiring == 0 && (lost == 0 || stats.quarantined > 0))
            return;
    }
}

static struct weir_pool_stats stats_of_streams(void)
{
    struct weir_pool_stats sum = {0}, stats = {.struct_size = sizeof stats};
    for (uint32_t class = WEIR_STREAM_COMPUTE; class <= WEIR_STREAM_HIGH; class ++) {
        must(weir_stream_stats_read(world.rt, class, &stats));
        sum.total += stats.total;
        sum.leased += stats.leased;
        sum.free += stats.free;
        sum.retiring += stats.retiring;
        sum.quarantined += stats.quarantined;
    }
    return sum;
}

static struct weir_pool_stats stats_of_events(void)
{
    struct weir_pool_stats stats = {.struct_size = sizeof stats};
    must(weir_event_stats_read(world.rt, &stats));
    return stats;
}

static void close_world(bool early)
{
    settle_all();
    if (early) weir_pool_destroy(world.pool); /* what is leased comes home all the same */
    while (world.leases > 0) {
        check_bytes(&world.lease[--world.leases]);
        must(weir_buffer_release(world.lease[world.leases].buffer));
    }
    while (world.holds > 0) must(weir_buffer_unhold(world.hold[--world.holds]));
    for (size_t i = 0; i < EVENTS; i++)
        if (world.event[i]) must(weir_event_release(world.event[i]));
    for (size_t i = 0; i < STREAMS; i++) {
        if (world.stream[i]) must(weir_stream_release(world.stream[i]));
        must(weir_device_free(world.rt, world.block[i].address));
    }
    if (!early) check_law(stats_of_pool, world.lost);
    check_law(stats_of_streams, 0);
    check_law(stats_of_events, 0);
    if (!early) weir_pool_destroy(world.pool);
    weir_runtime_destroy(world.rt);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static void (*const operations[])(struct fuzz_input * input) = {
        acquire,        acquire_with,  acquire_many,
        release,        release,       release_what_is_not_leased,
        hold,           unhold,        change_pool,
        write_and_read, change_stream, copy,
        copy,           copy_batch,    use_mirror,
        order,          change_event,  look,
    };
    struct fuzz_input input = {data, bytes > 1024 ? 1024 : bytes};
    open_world(&input);
    bool early = fuzz_below(&input, 4) == 3;
    while (input.left > 0) operations[fuzz_below(&input, WI_ARRAY_COUNT(operations))](&input);
    close_world(early);
    return 0;
}
