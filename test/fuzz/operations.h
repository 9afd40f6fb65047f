/* SPDX-License-Identifier: Apache-2.0 */
/* operations.h - the world in which operations.c and operations_work.c work */
#ifndef TEST_FUZZ_OPERATIONS_H
#define TEST_FUZZ_OPERATIONS_H

#include "fuzz/calls.h"

#define BYTES   512
#define LEASES  24
#define STALES  16
#define STREAMS 3
#define EVENTS  3

struct lease {
    struct weir_buffer *buffer;
    uint8_t             stamp; /* what each byte is, if `known` */
    bool                known;
};

/* Plain device memory, to which only one stream copies. */
struct block {
    uint64_t address;
    int      stamp; /* after a sync of its stream; -1: not known */
    bool     mixed; /* more than one stream may have copied to it */
};

struct world {
    struct weir_runtime *rt;
    struct weir_pool    *pool;
    size_t               buffers_min, buffers_max;
    bool         exact; /* nothing was queued or held: a try is refused only if all are leased */
    struct lease lease[LEASES];
    size_t       leases;
    struct weir_buffer *hold[LEASES];
    size_t              holds, lost;
    struct weir_buffer *stale[STALES];
    size_t              stales;
    struct weir_stream *stream[STREAMS], *stale_stream;
    struct block        block[STREAMS];
    struct weir_event  *event[EVENTS];
    uint8_t             stamps;
    uint32_t            dropped; /* planted */
};
extern struct world world;

/* A lease of the input's choice, or NULL. */
struct lease *some_lease(struct fuzz_input *input);
/* Wait for all device work, and judge what the copies have brought. */
void settle_all(void);

/* operations_work.c */
void write_and_read(struct fuzz_input *input);
void change_stream(struct fuzz_input *input);
void copy(struct fuzz_input *input);
void copy_batch(struct fuzz_input *input);
void use_mirror(struct fuzz_input *input);
void order(struct fuzz_input *input);
void change_event(struct fuzz_input *input);

#endif
