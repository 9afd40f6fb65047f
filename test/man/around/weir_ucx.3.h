/* SPDX-License-Identifier: Apache-2.0 */
/* The port is open, and who knows the secret is let in. */
#include <pthread.h>
#include "world.h"

static struct weir_ucx *listener;

static void *accept_one(void *unused)
{
    struct weir_ucx_peer *peer;
    CHECK(weir_ucx_accept(listener, WEIR_FOREVER, &peer) == 0);
    return unused;
}

int main(void)
{
    pthread_t             thread;
    struct weir_ucx      *other;
    struct weir_ucx_peer *peer;
    uint16_t              port = 0;
    struct weir_runtime  *rt = world_runtime("host");
    struct weir_pool     *pool = world_pool(rt);
    CHECK(open_to_peers(rt, pool, &port, &listener) == 0 && port != 0);
    CHECK(weir_ucx_create(rt, WEIR_OPTS(ucx, .secret = "what only peers know"), &other) == 0);
    CHECK(pthread_create(&thread, NULL, accept_one, NULL) == 0);
    while (weir_ucx_connect(other, "127.0.0.1", port, WEIR_FOREVER, &peer) != 0) continue; /* 5 s are short on a busy machine */
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(weir_ucx_peer_alive(peer) == 1);
    weir_ucx_destroy(other);
    weir_ucx_destroy(listener);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    return 0;
}
