/* SPDX-License-Identifier: Apache-2.0 */
/* replay_role.h - `weir replay --role`: the block trace played by two processes, over libweir_ucx */
#ifndef WEIR_TOOL_REPLAY_ROLE_H
#define WEIR_TOOL_REPLAY_ROLE_H

#include "blocks.h"

#define ROLE_WINDOW_MAX 256

struct role_options {
    const char *role; /* "prefill" or "decode" */
    const char *blocks;
    const char *address; /* to listen on, or of the peer; without the port */
    uint16_t    port;
    const char *port_file; /* prefill: told the port once it listens */
    const char *json;
    const char *secret_file;
    size_t      block_bytes;
    unsigned    window; /* blocks under way at one time */
    double      seconds;  /* the trace starts over until then; 0: once */
    double      patience_s; /* how long a peer is waited for, at the start and after a failure */
};

struct role_result {
    uint64_t blocks, bytes, retries, peer_failures, corrupt, leaked;
    uint64_t registrations, slabs, refused_secret, refused_garbage, refused_keys;
    bool     finished; /* the other side has said, or been told, that this was all */
    double   wall_s;
};

/* Returns 0, or -1 after saying why on standard error. trace: prefill only. */
int role_run(const struct role_options *options, const struct block_trace *trace, struct role_result *out);

/* `weir replay` hands over to this when it is given --role. */
int command_replay_role(int count, char **arguments);

#endif
