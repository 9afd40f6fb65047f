/* SPDX-License-Identifier: Apache-2.0 */
/*
 * put_rate.c - how fast a put of leased buffers is between two processes: for tools/dev/ucx_rate, which compares
 *
 * usage: put_rate lat|bw|both|spin <bytes> <iterations> [system] [idle peers]
 *
 * `both` compares without another program, for machines on which others run: in turn, short bursts of puts of weir and of UCX's own call on
 * the same endpoint, buffers and key. Prints nanoseconds of a put: least and median of weir's bursts, of UCX's, and the ratios. `spin` does
 * so with rounds of progress, after a put to one peer: those of weir_ucx_spin(), and those that look at every peer.
 *
 * The pools' memory is UCX's, as ucx_perftest's is; with `system`, the system's. Idle peers are processes that have met the one that
 * is measured, and sleep.
 * Prints one number: microseconds one way of a ping-pong of puts, as ucx_perftest -t ucp_put_lat counts; or MB/s (2^20) of puts
 * one after the other, as ucp_put_bw counts. Both sides progress in their own loop, as ucx_perftest does, each on a CPU of its own:
 * two that share one run in turns, and whether they do decides the figures.
 */
#include "must.h"
#include "ucx/engine.h"

#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <ucp/api/ucp.h>
#include <unistd.h>
#include <weir/ucx.h>
#include <weir/weir.h>

#define WINDOW 32

struct side {
    struct weir_runtime  *rt;
    struct weir_pool     *pool;
    struct weir_ucx      *ucx;
    struct weir_ucx_peer *peer;
    struct weir_buffer   *mine, *source, *message;
    struct weir_ucx_ref   far;
};

static void swap_refs(struct side *side)
{
    struct weir_ucx_transfer *received, *sent;
    struct weir_ucx_ref       ref;
    must(weir_ucx_expose(side->peer, weir_slice_all(side->mine), &ref), "expose");
    must(weir_ucx_receive(side->peer, 1, weir_slice(side->message, 0, sizeof ref), NULL, &received),
         "receive");
    memcpy((char *)side->message->host + 256, &ref, sizeof ref);
    must(weir_ucx_send(side->peer, 1, weir_slice(side->message, 256, sizeof ref), NULL, &sent),
         "send");
    must(weir_ucx_wait(received, WEIR_FOREVER, NULL), "receive");
    must(weir_ucx_wait(sent, WEIR_FOREVER, NULL), "send");
    memcpy(&side->far, side->message->host, sizeof ref);
}

static bool system_memory;
static int  idle_pipe[2];

/* The first of the CPUs that it may use, or the second. */
static void take_cpu(int number)
{
    cpu_set_t allowed, one;
    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < 2) return;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &allowed) || number-- > 0) continue;
        CPU_SET(cpu, &one);
        (void)sched_setaffinity(0, sizeof one, &one);
        return;
    }
}

static void open_side(struct side *side, size_t bytes)
{
    must(weir_runtime_create(NULL, &side->rt), "runtime");
    must(weir_ucx_create(side->rt,
                         WEIR_OPTS(ucx, .flags = WEIR_UCX_CALLER_PROGRESS, .spin_ns = WEIR_FOREVER, .stall_ns = WEIR_FOREVER),
                         &side->ucx),
         "ucx");
    must(weir_pool_create(side->rt,
                          WEIR_OPTS(pool, .buffer_bytes = bytes < 4096 ? 4096 : bytes, .buffers_min = 3,
                                    .source = system_memory ? NULL : weir_ucx_memory(side->ucx)),
                          &side->pool),
         "pool");
    must(weir_ucx_offer(side->ucx, side->pool, WEIR_UCX_PUT), "offer");
    must(weir_buffer_acquire(side->pool, WEIR_NOW, &side->mine), "acquire");
    must(weir_buffer_acquire(side->pool, WEIR_NOW, &side->source), "acquire");
    must(weir_buffer_acquire(side->pool, WEIR_NOW, &side->message), "acquire");
    memset(side->mine->host, 0, side->mine->bytes);
    memset(side->source->host, 0, side->source->bytes);
}

static void close_side(struct side *side)
{
    weir_ucx_disconnect(side->peer);
    (void)weir_buffer_release(side->mine);
    (void)weir_buffer_release(side->source);
    (void)weir_buffer_release(side->message);
    weir_ucx_destroy(side->ucx);
    weir_pool_destroy(side->pool);
    weir_runtime_destroy(side->rt);
}

/* The last byte carries the round, as the last byte of a put arrives last. */
static void wait_for(struct side *side, size_t bytes, uint8_t round)
{
    const volatile uint8_t *last = (const uint8_t *)side->mine->host + bytes - 1;
    while (*last != round) (void)weir_ucx_spin(side->ucx);
}

static void put(struct side *side, size_t bytes, uint8_t round)
{
    struct weir_ucx_transfer *transfer;
    ((uint8_t *)side->source->host)[bytes - 1] = round;
    must(weir_ucx_put(side->peer, weir_slice(side->source, 0, bytes), &side->far, NULL, &transfer),
         "put");
    must(weir_ucx_wait(transfer, WEIR_FOREVER, NULL), "put");
}

static double now_s(void)
{
    return (double)weir_clock_ns() / 1e9;
}

static double latency_us(struct side *side, bool first, size_t bytes, unsigned count)
{
    double   begin_s = 0;
    unsigned warm = count / 10 + 10;
    for (unsigned i = 0; i < warm + count; i++) {
        uint8_t round = (uint8_t)(i % 100 + 1);
        if (i == warm) begin_s = now_s();
        if (first) put(side, bytes, round);
        wait_for(side, bytes, round);
        if (!first) put(side, bytes, round);
    }
    return (now_s() - begin_s) / count / 2 * 1e6;
}

static unsigned in_flight;

static void on_done(void *ctx, int err, int32_t status)
{
    (void)ctx;
    (void)status;
    must(err, "put");
    in_flight--;
}

/* One after the other, and the last has arrived. */
static void put_many(struct side *side, size_t bytes, unsigned count)
{
    static const struct weir_ucx_transfer_opts opts = {.struct_size = sizeof opts, .done = on_done};
    struct weir_ucx_transfer                  *last;
    for (unsigned i = 1; i < count; i++) {
        while (in_flight >= WINDOW) (void)weir_ucx_spin(side->ucx);
        in_flight++;
        must(weir_ucx_put(side->peer, weir_slice(side->source, 0, bytes), &side->far, &opts, NULL),
             "put");
    }
    must(weir_ucx_put(side->peer, weir_slice(side->source, 0, bytes), &side->far,
                      WEIR_OPTS(ucx_transfer, .flags = WEIR_UCX_DELIVERED), &last),
         "put");
    must(weir_ucx_wait(last, WEIR_FOREVER, NULL), "put");
}

/* Nothing of the warm-up is on its way still when the clock starts: over tcp that would be megabytes. */
static double bandwidth(struct side *side, size_t bytes, unsigned count)
{
    put_many(side, bytes, count / 10 + 1);
    double begin_s = now_s();
    put_many(side, bytes, count);
    return (double)bytes * count / (now_s() - begin_s) / (1 << 20);
}

/* ---- both ---- */

#define BURST 64

static void raw_done(void *request, ucs_status_t status, void *user)
{
    (void)user;
    ucp_request_free(request);
    if (status != UCS_OK) must(WEIR_EPEER, "ucp_put_nbx");
    in_flight--;
}

static void put_raw(struct side *side, size_t bytes)
{
    const struct wu_far_slab *slab = wu_far_slab_find_locked(side->peer, side->far.slab);
    ucp_request_param_t       param = {.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK, .cb.send = raw_done};
    while (in_flight >= WINDOW) (void)ucp_worker_progress(side->peer->worker);
    ucs_status_ptr_t answer =
        ucp_put_nbx(side->peer->ep, side->source->host, bytes, slab->from + side->far.offset, slab->key, &param);
    if (UCS_PTR_IS_ERR(answer)) must(WEIR_EPEER, "ucp_put_nbx");
    in_flight += UCS_PTR_IS_PTR(answer);
}

static void put_weir(struct side *side, size_t bytes)
{
    static const struct weir_ucx_transfer_opts opts = {.struct_size = sizeof opts, .done = on_done};
    while (in_flight >= WINDOW) (void)weir_ucx_spin(side->ucx);
    in_flight++;
    must(weir_ucx_put(side->peer, weir_slice(side->source, 0, bytes), &side->far, &opts, NULL), "put");
}

static void spin_warm(struct side *side, size_t bytes)
{
    (void)bytes;
    (void)weir_ucx_spin(side->ucx);
}

static void spin_all(struct side *side, size_t bytes)
{
    (void)bytes;
    wu_lock(side->ucx);
    (void)wu_progress_locked(side->ucx);
    wu_unlock(side->ucx);
}

static double burst_ns(struct side *side, size_t bytes, void (*one)(struct side *side, size_t bytes))
{
    struct weir_ucx_transfer *last;
    uint64_t                  begin_ns = weir_clock_ns();
    for (int i = 0; i < BURST; i++) one(side, bytes);
    while (in_flight > 0) (void)weir_ucx_spin(side->ucx);
    double each = (double)(weir_clock_ns() - begin_ns) / BURST;
    must(weir_ucx_put(side->peer, weir_slice(side->source, 0, 8), &side->far, WEIR_OPTS(ucx_transfer, .flags = WEIR_UCX_DELIVERED), &last),
         "put");
    must(weir_ucx_wait(last, WEIR_FOREVER, NULL), "put");
    return each;
}

static int compare(const void *one, const void *other)
{
    double difference = *(const double *)one - *(const double *)other;
    return difference < 0 ? -1 : difference > 0;
}

static void print_both(struct side *side, size_t bytes, unsigned rounds, bool spin)
{
    double *found[2] = {calloc(rounds, sizeof(double)), calloc(rounds, sizeof(double))};
    if (!found[0] || !found[1]) exit(2);
    for (unsigned i = 0; i < rounds; i++) {
        found[0][i] = burst_ns(side, bytes, spin ? spin_warm : put_weir);
        found[1][i] = burst_ns(side, bytes, spin ? spin_all : put_raw);
    }
    for (int i = 0; i < 2; i++) qsort(found[i], rounds, sizeof(double), compare);
    double *weir = found[0], *raw = found[1];
    printf("weir %.1f %.1f  %s %.1f %.1f  ratio %.3f %.3f\n", weir[0], weir[rounds / 2], spin ? "all" : "ucx", raw[0], raw[rounds / 2],
           raw[0] / weir[0], raw[rounds / 2] / weir[rounds / 2]);
    free(found[0]);
    free(found[1]);
}

static int other_side(int port_fd, bool latency, size_t bytes, unsigned count)
{
    struct side side;
    uint16_t    port;
    take_cpu(1);
    open_side(&side, bytes);
    if (read(port_fd, &port, sizeof port) != sizeof port) return 2;
    must(weir_ucx_connect(side.ucx, "127.0.0.1", port, WEIR_FOREVER, &side.peer), "connect");
    swap_refs(&side);
    if (latency) (void)latency_us(&side, false, bytes, count);
    for (unsigned i = 1; weir_ucx_peer_alive(side.peer) == 1; i++)
        (void)(i % 1000 ? weir_ucx_spin(side.ucx) : weir_ucx_progress(side.ucx));
    close_side(&side);
    return 0;
}

/* Until the one that is measured has gone. */
static int idle_side(int port_fd)
{
    struct side side;
    uint16_t    port;
    open_side(&side, 4096);
    if (read(port_fd, &port, sizeof port) != sizeof port) return 2;
    must(weir_ucx_connect(side.ucx, "127.0.0.1", port, WEIR_FOREVER, &side.peer), "connect");
    while (weir_ucx_peer_alive(side.peer) == 1) {
        struct pollfd ready = {.fd = weir_ucx_fd(side.ucx), .events = POLLIN};
        must(weir_ucx_progress(side.ucx), "progress");
        (void)poll(&ready, 1, 1000);
    }
    close_side(&side);
    return 0;
}

/* Each in turn, so that the last to come is the one that puts. */
static void meet_idle(struct side *side, uint16_t port, unsigned idle)
{
    for (unsigned i = 0; i < idle; i++) {
        struct weir_ucx_peer *peer;
        if (write(idle_pipe[1], &port, sizeof port) != sizeof port) exit(2);
        must(weir_ucx_accept(side->ucx, WEIR_FOREVER, &peer), "accept");
    }
}

int main(int count, char **arguments)
{
    struct side side;
    uint16_t    port;
    int         pipe_fd[2], status = 0;
    if (count < 4 || count > 6 || pipe(pipe_fd) != 0 || pipe(idle_pipe) != 0) return 2;
    system_memory = count >= 5 && !strcmp(arguments[4], "system");
    unsigned idle = count > 4 + system_memory ? (unsigned)strtoul(arguments[4 + system_memory], NULL, 10) : 0;
    bool     latency = !strcmp(arguments[1], "lat");
    size_t   bytes = strtoull(arguments[2], NULL, 10);
    unsigned rounds = (unsigned)strtoul(arguments[3], NULL, 10);
    pid_t    child = fork(); /* before anything of weir */
    if (child == 0) exit(other_side(pipe_fd[0], latency, bytes, rounds));
    for (unsigned i = 0; i < idle; i++) {
        if (fork() == 0) exit(idle_side(idle_pipe[0]));
    }
    take_cpu(0);
    open_side(&side, bytes);
    must(weir_ucx_listen(side.ucx, "127.0.0.1", 0, &port), "listen");
    meet_idle(&side, port, idle);
    if (write(pipe_fd[1], &port, sizeof port) != sizeof port) return 2;
    must(weir_ucx_accept(side.ucx, WEIR_FOREVER, &side.peer), "accept");
    swap_refs(&side);
    bool spin = !strcmp(arguments[1], "spin");
    if (spin || !strcmp(arguments[1], "both")) {
        print_both(&side, bytes, rounds, spin);
    } else {
        printf("%.4f\n", latency ? latency_us(&side, true, bytes, rounds) : bandwidth(&side, bytes, rounds));
    }
    close_side(&side);
    bool good = waitpid(child, &status, 0) == child && status == 0;
    while (wait(&status) > 0) good &= status == 0;
    return good ? 0 : 2;
}
