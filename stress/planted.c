/* SPDX-License-Identifier: Apache-2.0 */
/*
 * planted - races that ThreadSanitizer must report, and the same steps without the race
 *
 *     planted release | epoch [clean]
 *
 * release   a holder writes to its buffer after it has released it, while the next holder writes
 * epoch     memory that a reader in an epoch section still reads is written without waiting for an epoch
 *
 * Each must end with ThreadSanitizer's exit status, and with 0 as `clean`: a report means then that the
 * headers in lib/sync/tsan make it see too little of Concurrency Kit, no report without `clean` that they order
 * too much. No choice is random, so there is no seed. It takes a second.
 */
#include "base/atomic.h"
#include "base/base.h"
#include "sync/thread.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <weir/weir.h>

static bool clean;

/* Relaxed, so that the steps are in this order in time but ordered for nobody. */
static _Atomic uint32_t now_at;

static void wait_for(uint32_t step)
{
    while (wi_load(&now_at, relaxed) < step)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static void reached(uint32_t step)
{
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    wi_store(&now_at, step, relaxed);
}

/* ---- release ---- */

static struct weir_buffer *acquire(struct weir_pool *pool)
{
    struct weir_buffer *buffer;
    wi_require(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer) == 0);
    return buffer;
}

static void *next_holder(void *arg)
{
    wait_for(1);
    struct weir_buffer *buffer = acquire(arg);
    ((char *)buffer->host)[8] = 2;
    reached(2);
    wait_for(3);
    wi_require(weir_buffer_release(buffer) == 0);
    return NULL;
}

static void run_release(void)
{
    struct weir_runtime *rt;
    struct weir_pool    *pool;
    pthread_t            thread;
    wi_require(weir_runtime_create(WEIR_OPTS(runtime, .backend = "host"), &rt) == 0);
    wi_require(
        weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 1), &pool) == 0);
    wi_require(pthread_create(&thread, NULL, next_holder, pool) == 0);
    struct weir_buffer *buffer = acquire(pool);
    char               *host = buffer->host;
    host[8] = 1;
    wi_require(weir_buffer_release(buffer) == 0);
    reached(1);
    wait_for(2);
    if (!clean) host[8] = 3;
    reached(3);
    pthread_join(thread, NULL);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

/* ---- epoch ---- */

static uint64_t shared;

static void *reader(void *arg)
{
    uint64_t *sum = arg;
    wi_epoch_begin(wi_thread_self());
    *sum = shared;
    reached(1);
    wi_epoch_end(wi_thread_self());
    reached(2);
    return NULL;
}

static void run_epoch(void)
{
    pthread_t thread;
    uint64_t  sum = 0;
    wi_require(pthread_create(&thread, NULL, reader, &sum) == 0);
    wait_for(1);
    if (clean) wi_epoch_synchronize();
    shared = 1;
    pthread_join(thread, NULL);
    wi_require(sum == 0);
}

int main(int count, char **words)
{
    clean = count == 3 && strcmp(words[2], "clean") == 0;
    if (count >= 2 && strcmp(words[1], "release") == 0) {
        run_release();
    } else if (count >= 2 && strcmp(words[1], "epoch") == 0) {
        run_epoch();
    } else {
        fprintf(stderr, "usage: planted release|epoch [clean]\n");
        return 2;
    }
    return 0;
}
