/* SPDX-License-Identifier: Apache-2.0 */
/* engine.c - the engine: UCX opened and closed, its thread, progress, and how others wait for it */
#include "ucx/engine.h"

#include "base/cancel.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define PEERS_MAX_DEFAULT     64u
#define TRANSFERS_MAX_DEFAULT 1024u
#define PROGRESS_MAX          256 /* calls in one round, of one worker */
#define EVENTS_MAX            32
#define POLLED_MS             1 /* the thread looks so often while others progress */

/* ---- memory, log, options: what libweir keeps to itself ---- */

void *wu_calloc(size_t count, size_t bytes)
{
    /* tidy-allow: calloc, because base/alloc.h is no part of libweir's interface. */
    return calloc(count, bytes);
}

void *wu_realloc(void *memory, size_t bytes)
{
    /* tidy-allow: realloc, because base/alloc.h is no part of libweir's interface. */
    return realloc(memory, bytes);
}

void wu_free(void *memory)
{
    /* tidy-allow: free, because base/alloc.h is no part of libweir's interface. */
    free(memory);
}

void wu_log(uint32_t level, const char *format, ...)
{
    char    line[256];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    weir_log_write(level, "ucx", line);
}

_Noreturn void wu_panic(const char *file, unsigned line, const char *what)
{
    wu_log(WEIR_LOG_ERROR, "panic: %s:%u: %s", file, line, what);
    abort();
}

int wu_options_import(void *into, size_t bytes, const void *opts, const char *type)
{
    memset(into, 0, bytes);
    if (!opts) return 0;
    size_t         given = *(const size_t *)opts;
    const uint8_t *raw = opts;
    WU_ENSURE(given >= sizeof(size_t) && given <= 4096, INVAL, .detail = "struct_size is not set",
              .call = type);
    for (size_t i = bytes; i < given; i++)
        WU_ENSURE(raw[i] == 0, OPTS, .detail = "an option is set that this weir lacks",
                  .call = type);
    memcpy(into, opts, given < bytes ? given : bytes);
    return 0;
}

/* ---- locking and telling ---- */

void wu_lock(struct weir_ucx *ucx)
{
    pthread_mutex_lock(&ucx->lock);
}

static void futex_wake_all(_Atomic uint32_t *word)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* Returns when the word has changed, at the deadline, or for no reason. */
static void futex_wait(_Atomic uint32_t *word, uint32_t seen, uint64_t deadline_ns)
{
    struct timespec until = {.tv_sec = (time_t)(deadline_ns / WI_NS_PER_S),
                             .tv_nsec = (long)(deadline_ns % WI_NS_PER_S)};
    (void)syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, seen,
                  deadline_ns == WEIR_FOREVER ? NULL : &until, NULL, FUTEX_BITSET_MATCH_ANY);
}

void wu_advance_locked(struct weir_ucx *ucx)
{
    /* order(ucx-advanced): seq_cst, before sleepers are read; pairs with the count in wu_await(). */
    (void)wi_add(&ucx->advanced, 1, seq_cst);
    if (wi_load(&ucx->sleepers, seq_cst)) futex_wake_all(&ucx->advanced);
}

void wu_unlock_quiet(struct weir_ucx *ucx)
{
    bool told = ucx->told_first != NULL;
    pthread_mutex_unlock(&ucx->lock);
    if (told) wu_wake(ucx);
}

void wu_context_lock(struct weir_ucx *ucx)
{
    if (!ucx->context_alone) wu_lock(ucx);
}

void wu_context_unlock(struct weir_ucx *ucx)
{
    if (!ucx->context_alone) wu_unlock_quiet(ucx);
}

void wu_signal(int fd)
{
    uint64_t one = 1;
    ssize_t  written = write(fd, &one, sizeof one);
    (void)written; /* a counter that is full wakes its reader all the same */
}

static void tell(struct weir_ucx_transfer *transfer)
{
    if (transfer->fd > 0) wu_signal(transfer->fd);
    if (transfer->done) transfer->done(transfer->ctx, transfer->err, transfer->status);
}

/* Takes the list, tells, and gives back what has a function: nobody waits for that. */
void wu_unlock(struct weir_ucx *ucx)
{
    struct weir_ucx_transfer *list = ucx->told_first;
    if (WI_LIKELY(!list)) {
        pthread_mutex_unlock(&ucx->lock);
        return;
    }
    ucx->told_first = NULL;
    ucx->told_last = &ucx->told_first;
    pthread_mutex_unlock(&ucx->lock);
    for (struct weir_ucx_transfer *at = list; at; at = at->next) tell(at);
    pthread_mutex_lock(&ucx->lock);
    while (list) {
        struct weir_ucx_transfer *next = list->next;
        list->next = ucx->spare;
        ucx->spare = list;
        list = next;
    }
    pthread_mutex_unlock(&ucx->lock);
}

void wu_wake(struct weir_ucx *ucx)
{
    wu_signal(ucx->wake_fd);
}

int wu_watch_fd(struct weir_ucx *ucx, int fd, uint32_t events, void *who)
{
    struct epoll_event event = {.events = events, .data.ptr = who};
    if (epoll_ctl(ucx->poll_fd, EPOLL_CTL_ADD, fd, &event) == 0) return 0;
    return WU_FAIL(NOMEM, .call = "epoll_ctl", .sys_errno = errno);
}

/* ---- progress ---- */

unsigned wu_progress_locked(struct weir_ucx *ucx)
{
    unsigned done = wu_workers_progress_locked(ucx, PROGRESS_MAX, true);
    return done + wu_peers_settle_locked(ucx);
}

unsigned wu_spin_locked(struct weir_ucx *ucx)
{
    /* One call for each: whoever spins begins the next transfer when one has ended. While answers of the peer stream in there is always
     * more to do, and to go on until there is none is to let the peer run dry meanwhile. */
    unsigned done = wu_workers_progress_locked(ucx, 1, false);
    return done + wu_peers_settle_locked(ucx);
}

static void drain(int fd)
{
    uint64_t count;
    ssize_t  got = read(fd, &count, sizeof count);
    (void)got;
}

unsigned wu_poll_locked(struct weir_ucx *ucx)
{
    struct epoll_event event[EVENTS_MAX];
    int                count = epoll_wait(ucx->poll_fd, event, EVENTS_MAX, 0);
    unsigned           done = 0;
    for (int i = 0; i < count; i++) {
        void *who = event[i].data.ptr;
        if (who == &ucx->workers_mark) continue;
        done++;
        if (who == &ucx->wake_fd) {
            drain(ucx->wake_fd);
        } else if (who == &ucx->timer_fd) {
            drain(ucx->timer_fd);
            wu_peers_tick_locked(ucx);
        } else if (who == &ucx->listen_fd) {
            wu_listener_event_locked(ucx);
        } else {
            wu_link_event_locked(
                who, event[i].events); /* a peer is freed in settle only, so its pointer holds */
        }
    }
    return done + wu_peers_settle_locked(ucx);
}

int weir_ucx_progress(struct weir_ucx *ucx)
{
    WU_ENSURE(ucx, INVAL, .detail = "ucx is NULL");
    unsigned done = 0;
    wu_lock(ucx);
    done += wu_poll_locked(ucx);
    bool armed;
    do {
        done += wu_progress_locked(ucx);
        armed = wu_workers_arm_locked(ucx);
    } while (!armed && done < PROGRESS_MAX);
    if (!armed) wu_wake(ucx); /* the caller's poll must not sleep on what is left */
    wu_unlock(ucx);
    return (int)done;
}

int weir_ucx_spin(struct weir_ucx *ucx)
{
    WU_ENSURE(ucx, INVAL, .detail = "ucx is NULL");
    wu_lock(ucx);
    unsigned done = wu_spin_locked(ucx);
    wu_unlock(ucx);
    return (int)done;
}

int weir_ucx_fd(struct weir_ucx *ucx)
{
    WU_ENSURE(ucx, INVAL, .detail = "ucx is NULL");
    return ucx->poll_fd;
}

static void *thread_main(void *arg)
{
    struct weir_ucx *ucx = arg;
    struct pollfd    ready = {.fd = ucx->poll_fd, .events = POLLIN};
    (void)prctl(PR_SET_NAME, "weir-ucx");
    while (!wi_load(&ucx->stop, acquire)) {
        bool polled = wi_exchange(&ucx->polled, 0, relaxed) != 0;
        wu_lock(ucx);
        (void)wu_poll_locked(ucx);
        unsigned done = wu_progress_locked(ucx);
        /* While others progress, the thread is not armed: it would be woken by what they have taken already. */
        bool sleep = polled ? done < PROGRESS_MAX : wu_workers_arm_locked(ucx);
        wu_unlock(ucx);
        /* order(ucx-stop): acquire, after the wake-up was drained; pairs with the store in weir_ucx_destroy(). */
        if (sleep && !wi_load(&ucx->stop, acquire)) (void)poll(&ready, 1, polled ? POLLED_MS : -1);
    }
    return NULL;
}

/* One turn of somebody who waits. */
static void turn(struct weir_ucx *ucx, bool quiet)
{
    if (pthread_mutex_trylock(&ucx->lock) != 0) return;
    (void)wu_spin_locked(ucx);
    if (!ucx->has_thread) (void)wu_poll_locked(ucx);
    if (quiet) {
        pthread_mutex_unlock(&ucx->lock);
    } else {
        wu_unlock(ucx);
    }
}

static void sleep_on_thread(struct weir_ucx *ucx, bool (*ready)(void *arg), void *arg,
                            uint64_t deadline_ns)
{
    (void)wi_add(&ucx->sleepers, 1, seq_cst);
    uint32_t seen = wi_load(&ucx->advanced, seq_cst); /* order(ucx-advanced) */
    if (!ready(arg)) futex_wait(&ucx->advanced, seen, deadline_ns);
    (void)wi_sub(&ucx->sleepers, 1, seq_cst);
}

static void sleep_here(struct weir_ucx *ucx, uint64_t now_ns, uint64_t deadline_ns)
{
    struct pollfd ready = {.fd = ucx->poll_fd, .events = POLLIN};
    uint64_t ms = deadline_ns == WEIR_FOREVER ? 100 : (deadline_ns - now_ns) / WI_NS_PER_MS + 1;
    wu_lock(ucx);
    bool armed = wu_workers_arm_locked(ucx);
    pthread_mutex_unlock(&ucx->lock);
    /* At most 100 ms: several threads may wait, and one may take the event of another. */
    if (armed) (void)poll(&ready, 1, ms < 100 ? (int)ms : 100);
}

bool wu_await(struct weir_ucx *ucx, bool (*ready)(void *arg), void *arg, uint64_t deadline_ns,
              bool quiet)
{
    uint64_t begin_ns = 0;
    while (true) {
        if (ready(arg)) return true;
        if (deadline_ns == WEIR_NOW) {
            turn(ucx, quiet);
            return ready(arg);
        }
        if (ucx->has_thread) wi_store(&ucx->polled, 1, relaxed);
        for (unsigned i = 0; i < 16; i++) {
            turn(ucx, quiet);
            if (ready(arg)) return true;
        }
        uint64_t now_ns = weir_clock_ns();
        if (now_ns >= deadline_ns) return ready(arg);
        if (!begin_ns) begin_ns = now_ns;
        if (now_ns - begin_ns < ucx->opts.spin_ns || ucx->opts.spin_ns == WEIR_FOREVER) continue;
        if (!ucx->has_thread || quiet) {
            sleep_here(ucx, now_ns, deadline_ns);
        } else {
            sleep_on_thread(ucx, ready, arg, deadline_ns);
        }
    }
}

/* ---- create and destroy ---- */

static void fill_defaults(struct weir_ucx_opts *opts)
{
    if (!opts->peers_max) opts->peers_max = PEERS_MAX_DEFAULT;
    if (!opts->transfers_max) opts->transfers_max = TRANSFERS_MAX_DEFAULT;
    if (!opts->handshake_ns) opts->handshake_ns = 5 * WI_NS_PER_S;
    if (!opts->stall_ns) opts->stall_ns = 10 * WI_NS_PER_S;
    if (!opts->spin_ns) opts->spin_ns = 50 * WI_NS_PER_US;
}

static int keep_secret(struct weir_ucx *ucx)
{
    const char *secret = ucx->opts.secret;
    size_t      bytes = secret && !ucx->opts.secret_bytes ? strlen(secret) : ucx->opts.secret_bytes;
    ucx->opts.secret = NULL;
    ucx->opts.secret_bytes = secret ? bytes : 0;
    if (!secret) return 0;
    WU_ENSURE(bytes > 0, INVAL, .detail = "the secret is empty");
    char *copy = wu_calloc(1, bytes);
    WU_ENSURE(copy, NOMEM, .call = "calloc", .detail = "the secret");
    memcpy(copy, secret, bytes);
    ucx->opts.secret = copy;
    return 0;
}

static int ucx_failed(const char *call, ucs_status_t status)
{
    return WU_FAIL(NOSYS, .call = call, .driver_code = status, .detail = ucs_status_string(status));
}

static int open_ucx(struct weir_ucx *ucx)
{
    ucp_config_t *config;
    wu_segments_sweep();
    ucs_status_t  status = ucp_config_read(NULL, NULL, &config);
    if (status != UCS_OK) return ucx_failed("ucp_config_read", status);
    ucp_params_t params = {.field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_NAME | UCP_PARAM_FIELD_MT_WORKERS_SHARED,
                           .features = UCP_FEATURE_RMA | UCP_FEATURE_TAG | UCP_FEATURE_WAKEUP,
                           .mt_workers_shared = 1,
                           .name = "weir"};
    ucp_context_attr_t attributes = {.field_mask = UCP_ATTR_FIELD_THREAD_MODE};
    status = ucp_init(&params, config, &ucx->context);
    ucp_config_release(config);
    if (status != UCS_OK) return ucx_failed("ucp_init", status);
    ucx->context_alone = ucp_context_query(ucx->context, &attributes) == UCS_OK && attributes.thread_mode == UCS_THREAD_MODE_MULTI;
    WI_TRY(wu_memory_begin(ucx));
    return wu_worker_try(ucx);
}

static int open_fds(struct weir_ucx *ucx)
{
    ucx->poll_fd = epoll_create1(EPOLL_CLOEXEC);
    ucx->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    ucx->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    WU_ENSURE(ucx->poll_fd >= 0 && ucx->wake_fd >= 0 && ucx->timer_fd >= 0, NOMEM,
              .call = "epoll_create1, eventfd, timerfd_create", .sys_errno = errno,
              .setting = "RLIMIT_NOFILE");
    WI_TRY(wu_watch_fd(ucx, ucx->wake_fd, EPOLLIN, &ucx->wake_fd));
    return wu_watch_fd(ucx, ucx->timer_fd, EPOLLIN, &ucx->timer_fd);
}

static int make_transfers(struct weir_ucx *ucx)
{
    ucx->transfers = wu_calloc(ucx->opts.transfers_max, sizeof *ucx->transfers);
    WU_ENSURE(ucx->transfers, NOMEM, .call = "calloc", .detail = "the table of transfers");
    for (uint32_t i = ucx->opts.transfers_max; i-- > 0;) {
        ucx->transfers[i].ucx = ucx;
        ucx->transfers[i].next = ucx->spare;
        ucx->spare = &ucx->transfers[i];
    }
    return 0;
}

/* Signals are the program's: none is taken by the engine's thread. */
static int start_thread(struct weir_ucx *ucx)
{
    sigset_t all, before;
    if (ucx->opts.flags & WEIR_UCX_CALLER_PROGRESS) return 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&ucx->thread, NULL, thread_main, ucx);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    WU_ENSURE(err == 0, NOMEM, .call = "pthread_create", .sys_errno = err,
              .detail = "the engine's thread");
    ucx->has_thread = true;
    return 0;
}

static void close_fd(int fd)
{
    if (fd >= 0) (void)close(fd);
}

static void free_engine(struct weir_ucx *ucx)
{
    if (ucx->memory) wu_memory_end(ucx->memory, ucx->context);
    else if (ucx->context) ucp_cleanup(ucx->context);
    close_fd(ucx->poll_fd);
    close_fd(ucx->wake_fd);
    close_fd(ucx->timer_fd);
    close_fd(ucx->listen_fd);
    if (ucx->opts.secret) wu_wipe((char *)ucx->opts.secret, ucx->opts.secret_bytes);
    wu_free((char *)ucx->opts.secret);
    wu_free(ucx->transfers);
    pthread_mutex_destroy(&ucx->lock);
    wu_free(ucx);
}

int weir_ucx_create(struct weir_runtime *rt, const struct weir_ucx_opts *opts,
                    struct weir_ucx **out)
{
    struct weir_ucx_opts given;
    WI_UNCANCELLABLE;
    WU_ENSURE(rt && out, INVAL, .detail = "runtime or out is NULL");
    WI_TRY(wu_options_import(&given, sizeof given, opts, "weir_ucx_opts"));
    WU_ENSURE(given.flags <= WEIR_UCX_CALLER_PROGRESS && given.reserved == 0, OPTS,
              .detail = "flags has a bit that this weir does not know");
    WU_ENSURE(given.peers_max <= 65536 && given.transfers_max <= 1u << 20, EXCEEDS,
              .limit = "peers_max 65536, transfers_max", .limit_value = 1u << 20,
              .wanted = given.transfers_max, .setting = "weir_ucx_opts");
    fill_defaults(&given);
    struct weir_ucx *ucx = wu_calloc(1, sizeof *ucx);
    WU_ENSURE(ucx, NOMEM, .call = "calloc", .detail = "an engine");
    ucx->rt = rt;
    ucx->opts = given;
    ucx->poll_fd = ucx->wake_fd = ucx->timer_fd = ucx->listen_fd = -1;
    ucx->told_last = &ucx->told_first;
    ucx->ended.ucx = ucx;
    pthread_mutex_init(&ucx->lock, NULL);
    int err = keep_secret(ucx);
    if (err >= 0 && !wu_random(ucx->run, sizeof ucx->run))
        err = WU_FAIL(NOSYS, .detail = "no random numbers");
    memcpy(ucx->run_words, ucx->run, sizeof ucx->run_words);
    if (err >= 0) err = make_transfers(ucx);
    if (err >= 0) err = open_ucx(ucx);
    if (err >= 0) err = open_fds(ucx);
    if (err >= 0) err = start_thread(ucx);
    if (err < 0) {
        free_engine(ucx);
        return err;
    }
    *out = ucx;
    return 0;
}

/* No peer has an endpoint any more, and none that could still touch our memory is left. */
static bool all_ended(void *arg)
{
    struct weir_ucx *ucx = arg;
    bool             ended = true;
    wu_lock(ucx);
    for (struct weir_ucx_peer *peer = ucx->peers; peer; peer = peer->next)
        ended &= wi_load(&peer->state, relaxed) == WU_PEER_ENDED && peer->uses == 0 && !peer->worker &&
                 (peer->fd < 0 || peer->exposed_count == 0);
    pthread_mutex_unlock(&ucx->lock);
    return ended;
}

/* What UCX has not ended by now it never will: nobody may have that memory again. */
static void lose_transfers_locked(struct weir_ucx *ucx)
{
    uint64_t lost = 0;
    for (uint32_t i = 0; i < ucx->opts.transfers_max; i++) {
        struct weir_ucx_transfer *transfer = &ucx->transfers[i];
        if (!transfer->buffer) continue;
        (void)weir_buffer_unhold_lost(transfer->buffer);
        transfer->buffer = NULL;
        lost++;
    }
    if (lost > 0)
        wu_log(WEIR_LOG_ERROR,
               "%llu transfers were never ended by UCX; their buffers are quarantined",
               (unsigned long long)lost);
}

void weir_ucx_destroy(struct weir_ucx *ucx)
{
    WI_UNCANCELLABLE;
    if (!ucx) return;
    wu_lock(ucx);
    ucx->closing = true;
    for (struct weir_ucx_peer *peer = ucx->peers; peer; peer = peer->next) {
        wu_peer_leave_locked(peer);
        peer->dropped = true;
    }
    ucx->unsettled = true;
    wu_unlock(ucx);
    (void)wu_await(ucx, all_ended, ucx, weir_deadline_after_ns(ucx->opts.handshake_ns), false);
    if (ucx->has_thread) {
        wi_store(&ucx->stop, 1, release); /* order(ucx-stop): before the wake-up */
        wu_wake(ucx);
        (void)pthread_join(ucx->thread, NULL);
        ucx->has_thread = false; /* from here on who waits progresses */
    }
    wu_offers_end(ucx);
    wu_lock(ucx);
    lose_transfers_locked(ucx);
    for (struct weir_ucx_peer *peer = ucx->peers; peer; peer = peer->next) {
        wu_exposures_end_locked(peer, peer->fd >= 0);
        wu_link_close_locked(peer);
        if (peer->worker) {
            wu_log(WEIR_LOG_ERROR, "UCX does not come to rest; its worker for a peer stays");
            peer->worker = NULL; /* leaked: UCX aborts the process where a worker is destroyed that does not rest */
            ucx->context = NULL;
        }
        peer->uses = 0;
        wi_store(&peer->state, WU_PEER_ENDED, relaxed);
    }
    (void)wu_peers_settle_locked(ucx);
    wu_unlock(ucx);
    free_engine(ucx);
    wu_segments_sweep();
}

int weir_ucx_stats_read(struct weir_ucx *ucx, struct weir_ucx_stats *out)
{
    WU_ENSURE(ucx && out && out->struct_size >= sizeof(size_t), INVAL,
              .detail = "ucx or out is NULL, or struct_size is not set");
    wu_lock(ucx);
    struct weir_ucx_stats stats = ucx->stat;
    for (struct weir_ucx_peer *peer = ucx->peers; peer; peer = peer->next) {
        uint32_t state = wi_load(&peer->state, relaxed);
        stats.peers += state == WU_PEER_ALIVE;
        stats.exposed += peer->exposed_count;
        if (state > WU_PEER_ALIVE) stats.quarantined += peer->uses + peer->exposed_count;
    }
    pthread_mutex_unlock(&ucx->lock);
    stats.struct_size = out->struct_size;
    memcpy(out, &stats, out->struct_size < sizeof stats ? out->struct_size : sizeof stats);
    return 0;
}
