/* SPDX-License-Identifier: Apache-2.0 */
/* world_ucx.h - two engines in one process, which have met: decode, to which can be put, and prefill */
#include <pthread.h>
#include "world.h"

struct world_ucx {
    struct weir_ucx      *decode, *prefill;
    struct weir_ucx_peer *at_decode, *at_prefill;
};

static inline void *world_accept(void *ctx)
{
    struct world_ucx *world = ctx;
    CHECK(weir_ucx_accept(world->decode, WEIR_FOREVER, &world->at_decode) == 0);
    return NULL;
}

/* Patient: a busy machine is no dead peer. */
static inline struct world_ucx world_ucx_open(struct weir_runtime *rt_, struct weir_pool *of)
{
    const struct weir_ucx_opts *patient = WEIR_OPTS(ucx, .handshake_ns = 40000000000, .stall_ns = WEIR_FOREVER);
    struct world_ucx            world;
    pthread_t                   thread;
    uint16_t                    port;
    CHECK(weir_ucx_create(rt_, patient, &world.decode) == 0 && weir_ucx_create(rt_, patient, &world.prefill) == 0);
    CHECK(weir_ucx_offer(world.decode, of, WEIR_UCX_PUT) == 0 && weir_ucx_offer(world.prefill, of, 0) == 0);
    CHECK(weir_ucx_listen(world.decode, "127.0.0.1", 0, &port) == 0);
    CHECK(pthread_create(&thread, NULL, world_accept, &world) == 0);
    CHECK(weir_ucx_connect(world.prefill, "127.0.0.1", port, WEIR_FOREVER, &world.at_prefill) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    return world;
}

static inline void world_ucx_close(struct world_ucx *world)
{
    weir_ucx_destroy(world->prefill);
    weir_ucx_destroy(world->decode);
}
