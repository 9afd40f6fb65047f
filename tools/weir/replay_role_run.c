/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay_role_run.c - the two roles
 *
 *      decode                                        prefill
 *      lease, expose, OFFER (lane, reference)   ->   lease, write the block, put it there, release at once
 *      check the stamps, conceal, release       <-   HANDOVER (lane, object, number), once the put has been delivered
 *
 * Block number n goes through lane n % window, so that half a window of puts is under way while the next blocks are written.
 * An offer on a lane says that the block before has been checked. After a failure prefill goes on behind the last
 * block of which it knows that: what it sends again are the retries.
 */
#include "replay_role.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <weir/ucx.h>
#include <weir/weir.h>

#include "progress.h"
#define NS_PER_S      1e9
#define STAMP_EVERY   64 /* words between stamps */
#define CONTROL_BYTES 256
#define STEP_NS       UINT64_C(30000000000) /* one step of a peer that is alive takes no longer */
#define TAG_OFFER     0x10000u
#define TAG_HANDOVER  0x20000u
#define LAST          UINT64_MAX /* the number in a handover that says: this was all */

struct offer {
    struct weir_ucx_ref ref;
};

struct handover {
    uint64_t number;
    uint64_t object;
};

struct lane {
    struct weir_buffer       *control[2]; /* what is received, what is sent */
    struct weir_ucx_transfer *receive, *send, *put;
    struct weir_buffer       *block; /* decode: exposed */
    struct weir_ucx_ref       ref;
    struct handover           handover; /* prefill: of the put under way */
};

struct player {
    const struct role_options *options;
    const struct block_trace  *trace;
    struct role_result        *result;
    struct weir_runtime       *rt;
    struct weir_pool          *blocks, *controls;
    struct weir_ucx           *ucx;
    struct weir_ucx_peer      *peer;
    struct lane                lane[ROLE_WINDOW_MAX];
    uint64_t                   done;   /* prefill: blocks below this have been checked by a decode */
    uint64_t                   begun;  /* prefill: blocks that have been sent at least once */
    uint64_t                   end_ns; /* prefill: when to stop; WEIR_FOREVER: at the end of the trace */
    uint64_t                   begin_ns; /* when the first peer was met */
    uint64_t                   shown_ns;
    struct progress            progress;
};

/* Blocks so far, ten times a second; prefill knows how many there are, or when it stops. */
static void show(struct player *player, uint64_t done)
{
    uint64_t now_ns = weir_clock_ns();
    if (!player->progress.live || now_ns - player->shown_ns < NS_PER_S / 10) return;
    player->shown_ns = now_ns;
    struct progress_line line = {.name = player->options->role, .unit = "blocks", .done = done, .elapsed_ns = now_ns - player->begin_ns};
    if (player->end_ns != WEIR_FOREVER) line.limit_ns = player->end_ns - player->begin_ns;
    if (player->end_ns == WEIR_FOREVER) line.whole = player->trace->count; /* of decode 0: not known */
    progress_show(&player->progress, &line);
}

static int complain(const char *what)
{
    char text[512];
    (void)weir_error_text(text, sizeof text);
    fprintf(stderr, "weir replay: %s: %s\n", what, text);
    return -1;
}

/* ---- stamps ---- */

static uint64_t stamp_of(const struct handover *handover, size_t word)
{
    return (handover->object + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ (handover->number << 20) ^ word;
}

static void write_stamps(struct weir_buffer *block, const struct handover *handover)
{
    uint64_t *word = block->host;
    size_t    words = block->bytes / sizeof *word;
    for (size_t i = 0; i < words; i += STAMP_EVERY) word[i] = stamp_of(handover, i);
    word[words - 1] = stamp_of(handover, words - 1);
}

static bool stamps_hold(const struct weir_buffer *block, const struct handover *handover)
{
    const uint64_t *word = block->host;
    size_t          words = block->bytes / sizeof *word;
    for (size_t i = 0; i + 1 < words; i += STAMP_EVERY) {
        if (word[i] != stamp_of(handover, i)) return false;
    }
    return word[words - 1] == stamp_of(handover, words - 1);
}

/* ---- steps: each returns 0, or an error, PEER for a peer that is gone ---- */

static int finish(struct weir_ucx_transfer **transfer)
{
    if (!*transfer) return 0;
    int err = weir_ucx_wait(*transfer, weir_deadline_after_ns(STEP_NS), NULL);
    if (err != WEIR_ETIMEDOUT) *transfer = NULL;
    return err;
}

static int expect(struct player *player, struct lane *lane, uint32_t tag)
{
    return weir_ucx_receive(player->peer, tag, weir_slice_all(lane->control[0]), NULL, &lane->receive);
}

static int tell(struct player *player, struct lane *lane, uint32_t tag, const void *message, size_t bytes)
{
    int err = finish(&lane->send);
    if (err < 0) return err;
    memcpy(lane->control[1]->host, message, bytes);
    return weir_ucx_send(player->peer, tag, weir_slice(lane->control[1], 0, bytes), NULL, &lane->send);
}

/* The session is over: nothing of it stays under way, whatever the peer does. */
static void clear_lanes(struct player *player)
{
    weir_ucx_disconnect(player->peer);
    player->peer = NULL;
    for (unsigned i = 0; i < player->options->window; i++) {
        struct lane *lane = &player->lane[i];
        weir_ucx_cancel(lane->receive);
        weir_ucx_cancel(lane->send);
        weir_ucx_cancel(lane->put);
        (void)weir_buffer_release(lane->control[0]);
        (void)weir_buffer_release(lane->control[1]);
        (void)weir_buffer_release(lane->block); /* held for as long as the peer could write to it */
        *lane = (struct lane){0};
    }
}

static int fill_lanes(struct player *player)
{
    for (unsigned i = 0; i < player->options->window; i++) {
        for (int k = 0; k < 2; k++) {
            int err = weir_buffer_acquire(player->controls, weir_deadline_after_ns(STEP_NS), &player->lane[i].control[k]);
            if (err < 0) return err;
        }
    }
    return 0;
}

/* ---- prefill ---- */

static bool is_over(const struct player *player, uint64_t number)
{
    if (player->end_ns == WEIR_FOREVER) return number >= player->trace->count;
    return weir_clock_ns() >= player->end_ns;
}

static int start_block(struct player *player, uint64_t number)
{
    struct lane        *lane = &player->lane[number % player->options->window];
    struct weir_buffer *block;
    int                 err = finish(&lane->receive);
    if (err < 0) return err;
    const struct offer *offer = lane->control[0]->host;
    struct weir_ucx_ref ref = offer->ref;
    if (number >= player->options->window && player->done < number - player->options->window + 1)
        player->done = number - player->options->window + 1;
    err = weir_buffer_acquire(player->blocks, weir_deadline_after_ns(STEP_NS), &block);
    if (err < 0) return err;
    lane->handover = (struct handover){number, player->trace->access[number % player->trace->count].object};
    write_stamps(block, &lane->handover);
    do {
        err = weir_ucx_put(player->peer, weir_slice_all(block), &ref,
                           WEIR_OPTS(ucx_transfer, .flags = WEIR_UCX_DELIVERED), &lane->put);
        player->result->retries += err == WEIR_EAGAIN;
    } while (err == WEIR_EAGAIN); /* the slab's key is on its way */
    (void)weir_buffer_release(block); /* the put holds it */
    player->result->retries += number < player->begun;
    if (number >= player->begun) player->begun = number + 1;
    return err < 0 ? err : expect(player, lane, TAG_OFFER | (uint32_t)(number % player->options->window));
}

static int hand_over(struct player *player, uint64_t number)
{
    uint32_t     at = (uint32_t)(number % player->options->window);
    struct lane *lane = &player->lane[at];
    int          err = finish(&lane->put);
    if (err < 0) return err;
    player->result->blocks++;
    player->result->bytes += player->options->block_bytes;
    return tell(player, lane, TAG_HANDOVER | at, &lane->handover, sizeof lane->handover);
}

static int say_that_was_all(struct player *player, uint64_t number)
{
    uint32_t        at = (uint32_t)(number % player->options->window);
    struct handover last = {.number = LAST};
    int             err = finish(&player->lane[at].receive);
    if (err >= 0) err = tell(player, &player->lane[at], TAG_HANDOVER | at, &last, sizeof last);
    for (unsigned i = 0; i < player->options->window && err >= 0; i++) err = finish(&player->lane[i].send);
    /* Decode ends the connection when it has seen it. */
    uint64_t until_ns = weir_deadline_after_ns(STEP_NS);
    while (err >= 0 && weir_ucx_peer_alive(player->peer) == 1 && weir_clock_ns() < until_ns)
        (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    return err;
}

static int prefill_session(struct player *player)
{
    uint64_t first = player->done, lag = player->options->window / 2;
    int      err = fill_lanes(player);
    for (uint64_t i = 0; i < player->options->window && err >= 0; i++) {
        uint32_t at = (uint32_t)((first + i) % player->options->window);
        err = expect(player, &player->lane[at], TAG_OFFER | at);
    }
    /* Lanes begin at the first block of the session. */
    if (err >= 0) err = tell(player, &player->lane[0], TAG_HANDOVER | ROLE_WINDOW_MAX, &(struct handover){.number = first}, sizeof(struct handover));
    uint64_t next = first, handed = first;
    while (err >= 0 && !is_over(player, next)) {
        err = start_block(player, next++);
        show(player, next);
        if (err >= 0 && next - handed > lag) err = hand_over(player, handed++);
    }
    while (err >= 0 && handed < next) err = hand_over(player, handed++);
    return err < 0 ? err : say_that_was_all(player, next);
}

/* ---- decode ---- */

static int offer_lane(struct player *player, uint32_t at)
{
    struct lane *lane = &player->lane[at];
    struct offer offer;
    int          err = weir_buffer_acquire(player->blocks, weir_deadline_after_ns(STEP_NS), &lane->block);
    if (err >= 0) err = weir_ucx_expose(player->peer, weir_slice_all(lane->block), &lane->ref);
    if (err >= 0) err = expect(player, lane, TAG_HANDOVER | at);
    offer.ref = lane->ref;
    return err < 0 ? err : tell(player, lane, TAG_OFFER | at, &offer, sizeof offer);
}

static int take_block(struct player *player, uint32_t at, bool *over)
{
    struct lane *lane = &player->lane[at];
    int          err = finish(&lane->receive);
    if (err < 0) return err;
    struct handover handover = *(const struct handover *)lane->control[0]->host;
    *over = handover.number == LAST;
    if (*over) return 0;
    player->result->corrupt += !stamps_hold(lane->block, &handover);
    player->result->blocks++;
    player->result->bytes += player->options->block_bytes;
    err = weir_ucx_conceal(player->peer, &lane->ref);
    (void)weir_buffer_release(lane->block);
    lane->block = NULL;
    return err < 0 ? err : offer_lane(player, at);
}

static int decode_session(struct player *player)
{
    int  err = fill_lanes(player);
    bool over = false;
    if (err >= 0) err = expect(player, &player->lane[0], TAG_HANDOVER | ROLE_WINDOW_MAX);
    if (err >= 0) err = finish(&player->lane[0].receive);
    if (err < 0) return err;
    uint64_t number = ((const struct handover *)player->lane[0].control[0]->host)->number;
    for (unsigned i = 0; i < player->options->window && err >= 0; i++)
        err = offer_lane(player, (uint32_t)((number + i) % player->options->window));
    while (err >= 0 && !over) {
        err = take_block(player, (uint32_t)(number++ % player->options->window), &over);
        show(player, player->result->blocks);
    }
    return err;
}

/* ---- the run ---- */

static int meet(struct player *player, bool prefill)
{
    const struct role_options *options = player->options;
    uint64_t                   until_ns = weir_deadline_after_ns((uint64_t)(options->patience_s * NS_PER_S));
    if (prefill) return weir_ucx_accept(player->ucx, until_ns, &player->peer);
    while (true) {
        int err = weir_ucx_connect(player->ucx, options->address, options->port, until_ns, &player->peer);
        if (err != WEIR_EPEER || weir_clock_ns() >= until_ns) return err;
        (void)nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL); /* it may be about to listen */
    }
}

static int read_secret(const char *path, char *secret, size_t capacity, size_t *out_bytes)
{
    FILE *file = fopen(path, "re");
    *out_bytes = file ? fread(secret, 1, capacity, file) : 0;
    if (file) (void)fclose(file);
    while (*out_bytes > 0 && (secret[*out_bytes - 1] == '\n' || secret[*out_bytes - 1] == '\r')) --*out_bytes;
    if (*out_bytes > 0) return 0;
    fprintf(stderr, "weir replay: %s: no secret can be read from it\n", path);
    return -1;
}

static int tell_port(const char *path, uint16_t port)
{
    char  partial[4096];
    FILE *file = (size_t)snprintf(partial, sizeof partial, "%s.partial", path) < sizeof partial ? fopen(partial, "we") : NULL;
    bool  told = file && fprintf(file, "%u\n", port) > 0;
    if (file) told = fclose(file) == 0 && told;
    if (told && rename(partial, path) == 0) return 0;
    fprintf(stderr, "weir replay: %s: could not be written\n", path);
    return -1;
}

/* Shared memory reports the death of a peer only if asked to; UCX complains if that is asked where it is not used. */
static void ask_for_deaths(void)
{
    const char *transports = getenv("UCX_TLS");
    bool        used = !transports || strstr(transports, "posix") || strstr(transports, "sysv") || strstr(transports, "sm") ||
                strstr(transports, "shm") || strstr(transports, "all");
    if (used) (void)setenv("UCX_MM_ERROR_HANDLING", "y", 0);
}

static int open_all(struct player *player, bool prefill)
{
    const struct role_options *options = player->options;
    char                       secret[4096];
    size_t                     secret_bytes = 0;
    uint16_t                   port = 0;
    if (options->secret_file && read_secret(options->secret_file, secret, sizeof secret, &secret_bytes) < 0) return -1;
    ask_for_deaths();
    if (weir_runtime_create(NULL, &player->rt) < 0) return complain("runtime");
    if (weir_ucx_create(player->rt, WEIR_OPTS(ucx, .secret = secret_bytes ? secret : NULL, .secret_bytes = secret_bytes), &player->ucx) < 0)
        return complain("ucx");
    const struct weir_memory_source *source = weir_ucx_memory(player->ucx);
    if (weir_pool_create(player->rt, WEIR_OPTS(pool, .name = "blocks", .buffer_bytes = options->block_bytes, .buffers_min = options->window,
                                               .buffers_max = 4 * (size_t)options->window, .source = source), &player->blocks) < 0 ||
        weir_pool_create(player->rt, WEIR_OPTS(pool, .name = "control", .buffer_bytes = CONTROL_BYTES,
                                               .buffers_min = 4 * (size_t)options->window, .source = source), &player->controls) < 0)
        return complain("pools");
    if (weir_ucx_offer(player->ucx, player->blocks, prefill ? 0 : WEIR_UCX_PUT) < 0 || weir_ucx_offer(player->ucx, player->controls, 0) < 0)
        return complain("offer");
    if (prefill && weir_ucx_listen(player->ucx, options->address, options->port, &port) < 0) return complain("listen");
    if (prefill && options->port_file) return tell_port(options->port_file, port);
    return 0;
}

static uint64_t missing(struct weir_pool *pool)
{
    struct weir_pool_stats stats = {.struct_size = sizeof stats};
    if (!pool || weir_pool_stats_read(pool, &stats) < 0) return 0;
    return stats.leased + stats.retiring + stats.quarantined;
}

/* What peers held comes home when their connections have ended: within a moment, where they are dead. */
static void close_all(struct player *player)
{
    struct role_result   *result = player->result;
    struct weir_ucx_stats stats = {.struct_size = sizeof stats};
    uint64_t              until_ns = weir_deadline_after_ns(UINT64_C(10000000000));
    while (missing(player->blocks) + missing(player->controls) > 0 && weir_clock_ns() < until_ns)
        (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    if (player->ucx && weir_ucx_stats_read(player->ucx, &stats) == 0) {
        result->registrations = stats.registrations;
        result->refused_secret = stats.refused_secret;
        result->refused_garbage = stats.refused_garbage;
        result->refused_keys = stats.refused_keys;
    }
    for (int i = 0; i < 2; i++) {
        struct weir_pool_stats pool = {.struct_size = sizeof pool};
        struct weir_pool      *which = i ? player->controls : player->blocks;
        if (which && weir_pool_stats_read(which, &pool) == 0) result->slabs += 1 + pool.grows;
    }
    weir_ucx_destroy(player->ucx);
    result->leaked = missing(player->blocks) + missing(player->controls);
    weir_pool_destroy(player->blocks);
    weir_pool_destroy(player->controls);
    weir_runtime_destroy(player->rt);
}

int role_run(const struct role_options *options, const struct block_trace *trace, struct role_result *out)
{
    static struct player player;
    bool                 prefill = !strcmp(options->role, "prefill");
    memset(out, 0, sizeof *out);
    player = (struct player){.options = options, .trace = trace, .result = out, .end_ns = WEIR_FOREVER};
    int err = open_all(&player, prefill);
    int met = err;
    progress_init(&player.progress, stderr);
    while (met >= 0 && !out->finished) {
        met = meet(&player, prefill);
        if (met < 0) {
            (void)complain(prefill ? "accept" : "connect");
            break;
        }
        if (!player.begin_ns) player.begin_ns = weir_clock_ns();
        if (prefill && options->seconds > 0 && player.end_ns == WEIR_FOREVER)
            player.end_ns = weir_deadline_after_ns((uint64_t)(options->seconds * NS_PER_S));
        fprintf(stderr, "weir replay: a peer is met\n");
        int played = prefill ? prefill_session(&player) : decode_session(&player);
        progress_clear(&player.progress);
        out->finished = played >= 0;
        if (played < 0) {
            out->peer_failures++;
            (void)complain("session");
        }
        clear_lanes(&player);
    }
    if (player.begin_ns) out->wall_s = (double)(weir_clock_ns() - player.begin_ns) / NS_PER_S;
    close_all(&player);
    return err;
}
