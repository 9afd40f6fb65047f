/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine.h - what the parts of libweir_ucx share; see weir/ucx.h for what it does
 *
 *   engine.c    the object, its thread, progress and waiting
 *   memory.c    memory for pools, allocated by UCX
 *   slab.c      offered pools: slabs are registered, announced to peers, and taken back
 *   link.c      the control connection: frames, handshake, heartbeat
 *   peer.c      peers: meeting, failing, ending; exposures
 *   worker.c    UCX workers, one for each peer
 *   transfer.c  put, get, send, receive
 *   segments.c  shared memory that killed processes have left
 *   proof.c     HMAC and random numbers
 *
 * One lock guards an engine: its UCX workers, peers, slabs and transfers. UCX's callbacks run inside ucp_worker_progress()
 * and so under it. The caller's functions run on no lock: what has ended is put on a list, and told after the unlock.
 * Rank: slab_hooks.lock of the runtime > engine lock. The engine calls weir only to hold, unhold and log under it.
 *
 * libweir_ucx stands on weir's public interface alone, so that it works with libweir.so.
 */
#ifndef WI_UCX_ENGINE_H
#define WI_UCX_ENGINE_H

#include "base/atomic.h"
#include "base/base.h"

#include <pthread.h>
#include <ucp/api/ucp.h>
#include <weir/error.h>
#include <weir/log.h>
#include <weir/slab.h>
#include <weir/ucx.h>

#define WU_POOLS_MAX     32
#define WU_EXPOSED_MAX   4096  /* of one peer */
#define WU_FRAME_MAX     8192  /* bytes of a control frame, header and proof included */
#define WU_PROOF_BYTES   32
#define WU_RUN_BYTES     16
#define WU_BACKLOG_BYTES ((size_t)4 << 20) /* control bytes that wait for a peer who does not read */

/* Record a failure and answer its code: WU_FAIL(PEER, .call = "ucp_put_nbx", .driver_code = status). */
#define WU_FAIL(code_, ...)                                                                        \
    weir_error_record(&(const struct weir_error){.struct_size = sizeof(struct weir_error),         \
                                                 .code = WEIR_E##code_, .file = __FILE__,          \
                                                 .line = __LINE__, __VA_ARGS__})
#define WU_ENSURE(cond, code_, ...)                                                                \
    do {                                                                                           \
        if (WI_UNLIKELY(!(cond))) return WU_FAIL(code_, __VA_ARGS__);                              \
    } while (0)

#define wu_require(cond)                                                                           \
    do {                                                                                           \
        if (WI_UNLIKELY(!(cond))) wu_panic(__FILE__, __LINE__, #cond);                             \
    } while (0)
_Noreturn void wu_panic(const char *file, unsigned line, const char *what);

struct weir_ucx;

/* ---- slabs ---- */

/* A pool that was offered. */
struct wu_offer {
    struct weir_ucx       *ucx;
    struct weir_pool      *pool;
    uint32_t               access;
    uint32_t               reserved;
    struct weir_slab_hook *hook;
};

/* A slab of this process, registered. */
struct wu_slab {
    struct wu_slab *next;
    uint64_t        id;   /* weir's, as its hook is told */
    uint64_t        name; /* what peers know it by: grows from 1 in the order of registration */
    uint64_t        from; /* address of its first byte */
    uint64_t        bytes;
    uint32_t        access;
    bool            going; /* peers have been told */
    ucp_mem_h       memory;
    bool            registered; /* here; else it came from the engine's own memory, registered */
    void           *key; /* packed */
    size_t          key_bytes;
};

/* A slab of a peer. */
struct wu_far_slab {
    struct wu_far_slab *next;
    struct weir_ucx_peer *peer;
    uint64_t            id, from, bytes;
    uint32_t            access;
    bool                going;
    ucp_rkey_h          key;
};

/* ---- peers ---- */

enum wu_peer_state {
    WU_PEER_GREETING = 1, /* handshake */
    WU_PEER_ALIVE,
    WU_PEER_ENDING,       /* the endpoint is being closed; its transfers are being cancelled */
    WU_PEER_ENDED         /* no endpoint */
};

struct wu_exposure {
    struct weir_buffer *buffer; /* held; NULL: free */
    struct weir_ucx_ref ref;
};

struct weir_ucx_peer {
    struct weir_ucx      *ucx;
    struct weir_ucx_peer *next;
    _Atomic uint32_t      state;  /* enum wu_peer_state; written under the lock */
    int32_t               status; /* UCX's, or 0: why it failed */
    int                   error;  /* WEIR_E*: why a connect failed */
    bool                  connector;  /* this side connected */
    bool                  taken;      /* the caller has the pointer */
    bool                  dropped;    /* the caller has given it back */
    bool                  ready;      /* both have answered, and all that it offered when it came is known */
    bool                  answered;   /* our greeting is received and answered: UCX's connections stand */
    bool                  said_ready; /* the same of the other side, which has announced all that it offered */
    bool                  broken;     /* UCX has reported it; to be ended after progress */
    bool                  gone_acked; /* scratch of a slab that goes */
    uint32_t              uses;       /* transfers that have not ended */
    uint32_t              greeted;    /* step of the handshake */

    /* The control connection. Our half ends when our endpoint is closed; -1: both halves have ended. */
    int      fd;
    bool     parted; /* its half has ended: its endpoint is closed, or its process is gone */
    uint32_t events; /* what epoll watches it for */
    uint8_t *in;     /* WU_FRAME_MAX */
    size_t   in_bytes;
    uint8_t *out; /* waits for the socket */
    size_t   out_bytes, out_capacity;
    uint64_t heard_ns, began_ns;

    /* Handshake and proof. */
    uint8_t  run[WU_RUN_BYTES]; /* the peer's */
    uint8_t  nonce_mine[32], nonce_its[32];
    uint8_t  key[WU_PROOF_BYTES]; /* of this session */
    uint64_t sent, received;      /* frames under proof */
    uint32_t inbox_mine, inbox_its; /* upper half of tags, even: the odd one beside it is the greeting's */

    ucp_worker_h        worker; /* NULL: before the handshake, or the peer has ended */
    int                 worker_fd;
    uint32_t            fruitless; /* rounds of progress since something came of it */
    bool                is_warm;
    struct weir_ucx_peer *next_warm;
    ucp_address_t      *address; /* of the worker */
    size_t              address_bytes;
    void               *flush; /* before the worker is destroyed */
    ucp_ep_h            ep;
    void               *closing;  /* UCX's close request */
    void               *greeting; /* UCX's request to receive it */
    uint64_t            greeting_in, greeting_out; /* what it says: nothing */
    struct wu_far_slab *slabs;
    uint64_t            slab_newest; /* greatest id seen */
    struct wu_exposure *exposed;     /* WU_EXPOSED_MAX, made on first use */
    uint32_t            exposed_count, exposed_end;
};

/* ---- transfers ---- */

enum wu_transfer_kind { WU_PUT = 1, WU_GET, WU_SEND, WU_RECEIVE };

struct weir_ucx_transfer {
    struct weir_ucx          *ucx;
    struct weir_ucx_transfer *next; /* free, or ended and to be told */
    struct weir_ucx_peer     *peer;
    struct weir_buffer       *buffer; /* held */
    void                     *request; /* UCX's; NULL: none pending */
    uint64_t                  bytes;
    uint32_t                  kind;
    uint32_t                  flags;
    int32_t                   status;
    int                       err;
    int                       fd;
    bool                      left; /* the caller has cancelled it: nobody waits */
    _Atomic uint32_t          ended; /* order(transfer-ended) */
    weir_ucx_done_fn         *done;
    void                     *ctx;
};

/* ---- the engine ---- */

struct weir_ucx {
    struct weir_runtime *rt;
    struct weir_ucx_opts opts; /* with defaults filled in; secret is our copy */
    uint8_t              run[WU_RUN_BYTES];
    uint64_t             run_words[2];

    pthread_mutex_t lock;
    ucp_context_h   context;
    bool            context_alone; /* UCX guards its context itself: calls on it need no lock of ours */
    struct wu_memory *memory; /* what weir_ucx_memory() gives */
    char            workers_mark; /* its address marks a worker's event in poll_fd */

    int              poll_fd;   /* epoll: all of the below */
    int              wake_fd, listen_fd, timer_fd;
    pthread_t        thread;
    bool             has_thread;
    _Atomic uint32_t stop;
    _Atomic uint32_t polled;   /* somebody else progresses: the thread need not be woken by every message */
    _Atomic uint32_t advanced; /* futex: grows when something has ended */
    _Atomic uint32_t sleepers;

    struct wu_offer       offer[WU_POOLS_MAX];
    uint32_t              offers;
    struct wu_slab       *slabs; /* newest first */
    uint64_t              slab_names;
    struct weir_ucx_peer *peers;
    uint32_t              peer_count;
    uint32_t              rounds;
    struct weir_ucx_peer *warm;      /* those whose worker is looked at in each round */
    bool                  unsettled; /* a peer is broken, ends, has ended and is connected still, or was given back */
    struct weir_ucx_transfer *transfers, *spare; /* table, free list */
    struct weir_ucx_transfer *told_first, **told_last; /* ended, with a function to call */
    struct weir_ucx_transfer  ended; /* stands for each that ended, and well, inside the call that began it */
    struct weir_ucx_stats stat;
    bool                  told_secret, told_garbage, told_keys; /* logged once each */
    bool                  closing;    /* the engine is being destroyed */
    bool                  looks_soon; /* the timer comes early, for peers that are ending */
};

/* engine.c */
void *wu_calloc(size_t count, size_t bytes);
void *wu_realloc(void *memory, size_t bytes);
void  wu_free(void *memory);
void  wu_log(uint32_t level, const char *format, ...) WI_PRINTF(2, 3);
int   wu_options_import(void *into, size_t bytes, const void *opts, const char *type);
void  wu_lock(struct weir_ucx *ucx);
/* Unlocks, wakes who waits, and calls the functions of what has ended. */
void  wu_unlock(struct weir_ucx *ucx);
/* As wu_unlock(), without calling anybody's function: for slab hooks, which run under locks of the runtime. */
void  wu_unlock_quiet(struct weir_ucx *ucx);
/*
 * Around calls on UCX's context, which map and unmap memory and make its keys. They take as long as the memory is large, so the
 * engine goes on meanwhile; where UCX was built without threads it must not, and the engine's lock is taken.
 */
void  wu_context_lock(struct weir_ucx *ucx);
void  wu_context_unlock(struct weir_ucx *ucx);
/* UCX's progress, of the warm workers or of all, and what follows from it. Returns how much was done. */
unsigned wu_spin_locked(struct weir_ucx *ucx);
unsigned wu_progress_locked(struct weir_ucx *ucx);
/* What the sockets and the timer have. */
unsigned wu_poll_locked(struct weir_ucx *ucx);
/* Wait until ready() or the deadline. Returns ready(). quiet: calls nobody's function. */
bool wu_await(struct weir_ucx *ucx, bool (*ready)(void *arg), void *arg, uint64_t deadline_ns, bool quiet);
void wu_signal(int fd); /* adds 1 to an eventfd */
/* Something has ended, for which somebody may wait. */
void wu_advance_locked(struct weir_ucx *ucx);
/* Order the thread to look again. */
void wu_wake(struct weir_ucx *ucx);
int  wu_watch_fd(struct weir_ucx *ucx, int fd, uint32_t events, void *who);

/* proof.c: a proof is HMAC-SHA-256. The secret may be empty. */
struct wu_bytes {
    const void *at;
    size_t      bytes;
};
bool wu_random(void *into, size_t bytes);
bool wu_prove(const void *key, size_t key_bytes, const struct wu_bytes *parts, size_t count, uint8_t out[WU_PROOF_BYTES]);
bool wu_same_proof(const uint8_t *one, const uint8_t *other, size_t bytes);
void wu_wipe(void *memory, size_t bytes);

/* memory.c */
int wu_memory_begin(struct weir_ucx *ucx);
/* No more is taken. The context ends with the last piece that pools have; NULL: it stays for good, as the pieces do. */
void wu_memory_end(struct wu_memory *memory, ucp_context_h context);
/* The registration of memory that was taken; NULL: it was not. */
ucp_mem_h wu_memory_find_locked(const struct weir_ucx *ucx, uint64_t address, uint64_t bytes);

/* segments.c */
void wu_segments_sweep(void);

/* slab.c */
struct wu_slab *wu_slab_find_locked(struct weir_ucx *ucx, uint64_t address, uint64_t bytes);
/* Tell a new peer of everything that is offered. */
void wu_slabs_announce_locked(struct weir_ucx_peer *peer);
void wu_offers_end(struct weir_ucx *ucx);
/* What a peer announces, and takes back. False: it lies. */
bool wu_far_slab_add_locked(struct weir_ucx_peer *peer, const uint8_t *payload, size_t bytes);
bool wu_far_slab_going_locked(struct weir_ucx_peer *peer, uint64_t id);
bool wu_slab_gone_locked(struct weir_ucx_peer *peer, uint64_t name);
struct wu_far_slab *wu_far_slab_find_locked(const struct weir_ucx_peer *peer, uint64_t id);
void wu_far_slabs_free_locked(struct weir_ucx_peer *peer);

/* link.c */
enum wu_frame_type { WU_HELLO = 1, WU_AUTH, WU_WELCOME, WU_SLAB, WU_SLAB_GOING, WU_SLAB_GONE, WU_READY, WU_PING, WU_BYE };
struct wu_frame {
    uint8_t  bytes[WU_FRAME_MAX];
    size_t   used;
};
void wu_frame_begin(struct wu_frame *frame, uint32_t type);
void wu_frame_add(struct wu_frame *frame, const void *bytes, size_t count);
void wu_frame_add_u64(struct wu_frame *frame, uint64_t value);
void wu_frame_add_u32(struct wu_frame *frame, uint32_t value);
uint64_t wu_read_u64(const uint8_t *at);
uint32_t wu_read_u32(const uint8_t *at);
/* Queue a frame; proves it once there is a session. A peer that takes none is ended. */
void wu_link_send_locked(struct weir_ucx_peer *peer, struct wu_frame *frame);
void wu_link_greet_locked(struct weir_ucx_peer *peer);
void wu_link_event_locked(struct weir_ucx_peer *peer, uint32_t events);
void wu_link_close_locked(struct weir_ucx_peer *peer);
void wu_listener_event_locked(struct weir_ucx *ucx);

/* worker.c */
/* Can a worker be made at all? */
int wu_worker_try(struct weir_ucx *ucx);
int wu_worker_open_locked(struct weir_ucx_peer *peer);
/* Its endpoint is closed. Returns true when nothing is left to do for the worker; until then UCX's progress is needed. */
bool wu_worker_rest_locked(struct weir_ucx_peer *peer);
/* pre: it rests */
void wu_worker_close_locked(struct weir_ucx_peer *peer);
/* most: calls of UCX for each. all: also those of which nothing has come for long. */
unsigned wu_workers_progress_locked(struct weir_ucx *ucx, unsigned most, bool all);
/* Something may come of it soon. */
void wu_worker_warm_locked(struct weir_ucx_peer *peer);
/* The peer is about to be freed. */
void wu_worker_forget_locked(struct weir_ucx_peer *peer);
/* Each will signal poll_fd for what comes. False: something has come. */
bool wu_workers_arm_locked(struct weir_ucx *ucx);

/* peer.c */
struct weir_ucx_peer *wu_peer_make_locked(struct weir_ucx *ucx, int fd, bool connector);
/* The handshake is done. */
void wu_peer_open_locked(struct weir_ucx_peer *peer, const void *address, size_t bytes);
/* One of the two sides is answered: is the peer ready? */
void wu_peer_ready_locked(struct weir_ucx_peer *peer);
/* The peer has failed, or says goodbye: cancel everything. status: UCX's. */
void wu_peer_end_locked(struct weir_ucx_peer *peer, int err, ucs_status_t status, const char *why);
/* Its end, by the will of this side: it is told. */
void wu_peer_leave_locked(struct weir_ucx_peer *peer);
/* What has become possible since the last look: closing, freeing. Returns how much was done. */
unsigned wu_peers_settle_locked(struct weir_ucx *ucx);
void wu_peers_tick_locked(struct weir_ucx *ucx);
void wu_exposures_end_locked(struct weir_ucx_peer *peer, bool lost);
/* A receive does not belong to an endpoint: closing that does not end it. */
void wu_transfers_cancel_locked(struct weir_ucx_peer *peer);
void wu_refuse_key_locked(struct weir_ucx *ucx, const char *why);

#endif
