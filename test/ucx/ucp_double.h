/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ucp_double.h - calls of UCX that pass through the test: counted, and the n-th of each kind fails
 *
 * The program's own functions stand before the library's, and find those behind them. The engines' threads call them too.
 */
#ifndef TEST_UCX_UCP_DOUBLE_H
#define TEST_UCX_UCP_DOUBLE_H

#include "base/atomic.h"

/* X(name, function) - those that can fail */
#define UCP_DOUBLE_MAP(X)                                                                          \
    X(CONFIG_READ, ucp_config_read)                                                                \
    X(INIT, ucp_init_version)                                                                      \
    X(WORKER_CREATE, ucp_worker_create)                                                            \
    X(WORKER_ADDRESS, ucp_worker_get_address)                                                      \
    X(WORKER_EFD, ucp_worker_get_efd)                                                              \
    X(EP_CREATE, ucp_ep_create)                                                                    \
    X(MEM_MAP, ucp_mem_map)                                                                        \
    X(MEM_QUERY, ucp_mem_query)                                                                    \
    X(RKEY_PACK, ucp_rkey_pack)                                                                    \
    X(RKEY_UNPACK, ucp_ep_rkey_unpack)

enum ucp_call {
#define X(name, function) UCP_##name,
    UCP_DOUBLE_MAP(X)
#undef X
    UCP_CALLS
};

struct ucp_double {
    _Atomic unsigned calls[UCP_CALLS];
    _Atomic unsigned fail_at[UCP_CALLS]; /* the call of that number; 0: none */
    _Atomic int      contexts, workers, addresses, mappings, keys, far_keys; /* made, and not ended */
    void (*_Atomic in_map)(void); /* called inside ucp_mem_map() */
    void *_Atomic    newest;   /* worker */
    void *_Atomic    restless; /* its flush does not end */
};

extern struct ucp_double ucp_double;

const char *ucp_call_name(unsigned call);

#endif
