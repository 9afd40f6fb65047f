/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kill_storm.c - peers that are killed while they send; after each the same engine must meet the next
 *
 * usage: kill_storm <kills> [seed]
 *
 * The one who dies floods the engine with short messages, so that it is killed as often as may be between reserving a place
 * in a queue and filling it. Exit status 0: each was met, and each was seen to fail.
 */
#include "must.h"

#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <weir/ucx.h>
#include <weir/weir.h>

#define BURST       64
#define PATIENCE_NS UINT64_C(60000000000)

extern char **environ;

struct side {
    struct weir_runtime *rt;
    struct weir_pool    *pool;
    struct weir_ucx     *ucx;
};

static void open_side(struct side *side)
{
    must(weir_runtime_create(NULL, &side->rt), "runtime");
    must(weir_pool_create(side->rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 1), &side->pool), "pool");
    must(weir_ucx_create(side->rt, WEIR_OPTS(ucx, .handshake_ns = PATIENCE_NS / 2, .stall_ns = WEIR_FOREVER), &side->ucx), "ucx");
    must(weir_ucx_offer(side->ucx, side->pool, 0), "offer");
}

static void on_sent(void *ctx, int err, int32_t status)
{
    (void)err;
    (void)status;
    (void)__atomic_sub_fetch((unsigned *)ctx, 1, __ATOMIC_RELAXED);
}

/* Sends until it is killed. Nobody receives: what has come goes with the connection. */
static int flood(uint16_t port)
{
    struct side           side;
    struct weir_ucx_peer *peer;
    struct weir_buffer   *buffer;
    unsigned              in_flight = 0;
    open_side(&side);
    must(weir_ucx_connect(side.ucx, "127.0.0.1", port, weir_deadline_after_ns(PATIENCE_NS), &peer), "connect");
    must(weir_buffer_acquire(side.pool, WEIR_NOW, &buffer), "acquire");
    memset(buffer->host, 1, buffer->bytes);
    while (weir_ucx_peer_alive(peer) == 1) {
        while (__atomic_load_n(&in_flight, __ATOMIC_RELAXED) >= BURST) (void)weir_ucx_spin(side.ucx);
        (void)__atomic_add_fetch(&in_flight, 1, __ATOMIC_RELAXED);
        if (weir_ucx_send(peer, 1, weir_slice(buffer, 0, 8), WEIR_OPTS(ucx_transfer, .done = on_sent, .ctx = &in_flight), NULL) < 0)
            break;
    }
    fprintf(stderr, "kill_storm: the other side has ended the connection\n");
    return 1;
}

static void kill_one(struct side *side, uint16_t port, const char *self, unsigned *seed)
{
    char                  text[8];
    char                 *arguments[] = {(char *)self, (char *)"flood", text, NULL};
    struct weir_ucx_peer *peer;
    pid_t                 child;
    int                   status;
    uint64_t              until_ns = weir_deadline_after_ns(PATIENCE_NS);
    (void)snprintf(text, sizeof text, "%u", port);
    if (posix_spawn(&child, self, NULL, NULL, arguments, environ) != 0) must(WEIR_ENOMEM, "posix_spawn");
    must(weir_ucx_accept(side->ucx, until_ns, &peer), "accept");
    struct timespec delay = {.tv_nsec = rand_r(seed) % 5000000};
    (void)nanosleep(&delay, NULL);
    (void)kill(child, SIGKILL);
    if (waitpid(child, &status, 0) != child || !WIFSIGNALED(status)) {
        fprintf(stderr, "kill_storm: it was not killed, it ended by itself: %#x\n", (unsigned)status);
        exit(1);
    }
    while (weir_ucx_peer_alive(peer) == 1 && weir_clock_ns() < until_ns) (void)weir_ucx_progress(side->ucx);
    if (weir_ucx_peer_alive(peer) == 1) must(WEIR_ETIMEDOUT, "its end was not seen");
    weir_ucx_disconnect(peer);
}

int main(int count, char **arguments)
{
    struct side side;
    uint16_t    port;
    if (count == 3 && !strcmp(arguments[1], "flood")) return flood((uint16_t)atoi(arguments[2]));
    unsigned kills = count > 1 ? (unsigned)strtoul(arguments[1], NULL, 10) : 0;
    unsigned seed = count > 2 ? (unsigned)strtoul(arguments[2], NULL, 10) : (unsigned)time(NULL);
    if (kills == 0) {
        fprintf(stderr, "usage: kill_storm <kills> [seed]\n");
        return 2;
    }
    printf("kill_storm: seed %u\n", seed);
    open_side(&side);
    must(weir_ucx_listen(side.ucx, "127.0.0.1", 0, &port), "listen");
    for (unsigned i = 0; i < kills; i++) {
        kill_one(&side, port, arguments[0], &seed);
        if (isatty(STDERR_FILENO)) fprintf(stderr, "\r%u of %u", i + 1, kills);
    }
    struct weir_ucx_stats stats = {.struct_size = sizeof stats};
    must(weir_ucx_stats_read(side.ucx, &stats), "stats");
    weir_ucx_destroy(side.ucx);
    weir_pool_destroy(side.pool);
    weir_runtime_destroy(side.rt);
    printf("kill_storm: %u killed, %llu seen to fail\n", kills, (unsigned long long)stats.peers_failed);
    return stats.peers_failed == kills ? 0 : 1;
}
