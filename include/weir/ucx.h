/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir/ucx.h - leased buffers between processes and machines, over UCX; link with libweir_ucx (pkg-config weir_ucx)
 *
 * An engine registers the slabs of the pools that are offered to it, one registration a slab, never one a buffer.
 * Peers are met by address and port: a handshake proves on both sides that the secret is known, then the keys of the
 * offered slabs are exchanged, also of those that come later.
 *
 *      weir_ucx_create > weir_ucx_offer > weir_ucx_listen > weir_ucx_accept     on one side
 *      weir_ucx_create > weir_ucx_offer > weir_ucx_connect                      on the other
 *      weir_ucx_expose > send the reference > put or get > say so > weir_ucx_conceal
 *
 * A buffer in a transfer is held (weir_buffer_hold()): released early, it retires until UCX says that the transfer
 * has ended or was cancelled. An exposed buffer is held until weir_ucx_conceal(), or until its peer is gone.
 *
 * What one-sided access cannot do: the owner of memory is not asked when a peer puts or gets. References are checked
 * where they are used; a peer that has been let in and lies can reach every byte of the pools that were offered for that access,
 * and over software transports (tcp, shared memory) UCX itself does not check what it is told to write. Let in only
 * whom you trust with the process; weir_ucx(7) says more.
 *
 * What excludes what: weir_ucx_destroy() and weir_ucx_disconnect() exclude other calls given the same object. All
 * other calls run beside each other. A forked child may only exec.
 *
 * Unless a call says otherwise:
 * Thread:   any.
 * Progress: takes the engine's lock; waits for no peer.
 *
 * Example:
 *
 *     #include <weir/ucx.h>
 *     #include <weir/weir.h>
 *
 *     int open_to_peers(struct weir_runtime *rt, struct weir_pool *pool, uint16_t *port, struct weir_ucx **out)
 *     {
 *         int err = weir_ucx_create(rt, WEIR_OPTS(ucx, .secret = "what only peers know"), out);
 *         if (err < 0) return err;
 *         err = weir_ucx_offer(*out, pool, WEIR_UCX_PUT);
 *         if (err == 0) err = weir_ucx_listen(*out, "127.0.0.1", 0, port);
 *         if (err < 0) weir_ucx_destroy(*out);
 *         return err;
 *     }
 */
#ifndef WEIR_UCX_H
#define WEIR_UCX_H

#include <weir/base.h>
#include <weir/pool.h>

WEIR_BEGIN_DECLS

#define WEIR_UCX_API __attribute__((visibility("default")))

struct weir_ucx;
struct weir_ucx_peer;
struct weir_ucx_transfer;

enum weir_ucx_flags {
    WEIR_UCX_CALLER_PROGRESS = 1 /* no thread: the caller polls weir_ucx_fd() and calls weir_ucx_progress() */
};

struct weir_ucx_opts {
    size_t      struct_size;
    const char *secret;        /* shared by all peers; copied; NULL: none, and only loopback is listened on */
    size_t      secret_bytes;  /* 0: strlen(secret) */
    uint32_t    flags;         /* enum weir_ucx_flags */
    uint32_t    peers_max;     /* at one time, those in a handshake included; 0: 64 */
    uint32_t    transfers_max; /* at one time; 0: 1024 */
    uint32_t    reserved;      /* must be 0 */
    uint64_t    handshake_ns;  /* a handshake takes no longer; 0: 5 s */
    uint64_t    stall_ns;      /* a peer that is silent for so long has failed; 0: 10 s; WEIR_FOREVER: never */
    uint64_t    spin_ns;       /* a wait progresses UCX itself for so long before it sleeps; 0: 50 us; WEIR_FOREVER: does not sleep */
};

/*
 * weir_ucx_create - open UCX for a runtime; UCX's own variables (UCX_TLS, UCX_NET_DEVICES, ...) choose transports
 *
 * Progress: blocks (opens UCX, starts a thread).  Owner: the caller, until weir_ucx_destroy(), before weir_runtime_destroy().
 * Fails:  INVAL, OPTS, NOMEM, NOSYS (UCX cannot be opened; the driver code is UCX's status), FORKED.
 */
WEIR_UCX_API WEIR_MUST_CHECK int weir_ucx_create(struct weir_runtime *rt, const struct weir_ucx_opts *opts,
                                                 struct weir_ucx **out);

/*
 * weir_ucx_destroy - disconnect all peers, end all transfers, unregister all memory
 *
 * Buffers exposed to a peer that is not known to be gone go to quarantine. NULL is accepted. Cannot fail.
 * Thread: any, once.  Progress: blocks, for peers up to handshake_ns.
 */
WEIR_UCX_API void weir_ucx_destroy(struct weir_ucx *ucx);

/*
 * weir_ucx_memory - where a pool gets memory that UCX allocates: weir_pool_opts.source
 *
 * Such memory is registered as it is made, once a slab, also where it is never offered. Over shared memory a peer maps it, and
 * puts and gets are copies by the CPU without a system call; pools with memory of the system's go through cma there. NULL for NULL.
 *
 * Pools may give it back after weir_ucx_destroy(), and keep it until then; what is asked for after that is answered CLOSED, or NOMEM
 * where UCX has none (over shared memory, /dev/shm is full).
 *
 * UCX takes about 0.5 s for a GiB. The engine goes on meanwhile, unless UCX was built without threads (Debian's has them): then
 * it is held up, no heartbeat is sent, and the stall_ns of its peers must be longer than the largest slab takes.
 *
 * Progress: wait-free.  Owner: the engine; not used for new pools after weir_ucx_destroy().  Fails: never.
 */
WEIR_UCX_API const struct weir_memory_source *weir_ucx_memory(struct weir_ucx *ucx);

/* What peers may do with an offered pool. 0: nothing; its buffers are only sources and targets of the caller's own transfers. */
enum weir_ucx_access { WEIR_UCX_GET = 1, WEIR_UCX_PUT = 2 };

/*
 * weir_ucx_offer - register the slabs of a pool, those that come later too, and tell peers their keys
 *
 * For as long as the engine lives. If a slab cannot be registered, the growth of the pool fails. Before a slab goes,
 * every peer has confirmed that it uses it no more; one that does not confirm within stall_ns is disconnected.
 *
 * Progress: blocks while slabs are registered, and while memory of the runtime comes or goes.
 * Fails: INVAL, KIND (the pool's buffers have no fixed place), EXCEEDS (32 pools), NOMEM, NOSYS (UCX refuses the memory).
 */
WEIR_UCX_API WEIR_MUST_CHECK int weir_ucx_offer(struct weir_ucx *ucx, struct weir_pool *pool, uint32_t access);

/*
 * weir_ucx_listen - accept peers on an address ("127.0.0.1", "::1", a host name, NULL: every address) and a port
 *
 * port 0: the system chooses; *out_port, if not NULL, is set to it. One listener an engine.
 * Progress: may block to look a host name up.
 * Fails: INVAL (without a secret, an address beyond loopback; or no such address), BUSY (a listener exists, or the port is taken), NOMEM.
 */
WEIR_UCX_API WEIR_MUST_CHECK int weir_ucx_listen(struct weir_ucx *ucx, const char *address, uint16_t port,
                                                 uint16_t *out_port);

/*
 * weir_ucx_accept - the next peer that has proved the secret
 *
 * Progress: blocks until deadline_ns.  Owner: the caller, until weir_ucx_disconnect().
 * Fails:    TIMEDOUT, INVAL (no listener).
 */
WEIR_UCX_API WEIR_MUST_CHECK int weir_ucx_accept(struct weir_ucx *ucx, uint64_t deadline_ns,
                                                 struct weir_ucx_peer **out);

/*
 * weir_ucx_connect - meet a listener
 *
 * Progress: blocks until deadline_ns, and may block longer to look a host name up.
 * Owner:  the caller, until weir_ucx_disconnect().
 * Fails:  INVAL (no such address), TIMEDOUT, EXCEEDS (peers_max), PEER (refused, or the other side does not know the secret), NOMEM,
 *         NOSYS (UCX makes no worker for the peer; the driver code is UCX's status).
 */
WEIR_UCX_API WEIR_MUST_CHECK int weir_ucx_connect(struct weir_ucx *ucx, const char *address, uint16_t port,
                                                  uint64_t deadline_ns, struct weir_ucx_peer **out);

/*
 * weir_ucx_disconnect - end a peer: its transfers are cancelled, its exposures end as soon as it cannot touch them
 *
 * NULL is accepted. Cannot fail.  Thread: any, once.
 */
WEIR_UCX_API void weir_ucx_disconnect(struct weir_ucx_peer *peer);

/*
 * weir_ucx_peer_alive - 1: it has not failed
 *
 * Progress: wait-free.  Fails: PEER (it has failed, or has gone; the driver code says why: UCX's status), INVAL.
 */
WEIR_UCX_API int weir_ucx_peer_alive(struct weir_ucx_peer *peer);

/* Part of a buffer of another process. Plain bytes: send it by whatever means; useless to who is not its owner's peer. */
struct weir_ucx_ref {
    uint64_t run[2]; /* of the owner's engine; random */
    uint64_t slab;
    uint64_t offset; /* in the slab */
    uint64_t bytes;
};

/*
 * weir_ucx_expose - hold a part of a leased buffer of an offered pool for a peer's puts and gets
 *
 * Thread: the holder of the lease.  Owner: the buffer is held until weir_ucx_conceal().
 * Fails: NOENT (the pool was not offered), RANGE, PEER, NOTLEASED, FOREIGN, KIND, EXCEEDS (4096 of a peer), NOMEM.
 */
WEIR_UCX_API WEIR_MUST_CHECK int weir_ucx_expose(struct weir_ucx_peer *peer, struct weir_slice part,
                                                 struct weir_ucx_ref *out);

/* weir_ucx_conceal - the peer has said that it is done with it. Fails: NOENT (not exposed to this peer). */
WEIR_UCX_API int weir_ucx_conceal(struct weir_ucx_peer *peer, const struct weir_ucx_ref *ref);

/* Called when a transfer has ended, on the engine's thread or any thread inside weir_ucx_*(), on no lock. err: 0 or WEIR_E*. */
typedef void weir_ucx_done_fn(void *ctx, int err, int32_t status);

enum weir_ucx_transfer_flags {
    WEIR_UCX_DELIVERED = 1 /* ended only when the bytes are at the peer; without it, when the buffer may be reused */
};

struct weir_ucx_transfer_opts {
    size_t            struct_size;
    weir_ucx_done_fn *done;   /* NULL: weir_ucx_wait() ends the transfer */
    void             *ctx;
    int               fd;     /* an eventfd to add 1 to as well, once the transfer has ended; 0: none */
    uint32_t          flags;  /* enum weir_ucx_transfer_flags */
};

/*
 * weir_ucx_put, weir_ucx_get - copy a part of a leased buffer of an offered pool into a peer's memory, or from it
 *
 * Makes no registration, no allocation and no system call beyond UCX's own. With opts->done the transfer ends by itself
 * and *out is not written; else it belongs to the caller until weir_ucx_wait() has ended it. *out is written before opts->fd is
 * signalled. Handles of transfers that ended inside the call may be equal: each is waited for, or cancelled, all the same.
 *
 * Thread:  the holder of the lease.  Progress: takes the engine's lock.
 * Fails:   FOREIGN (the reference is of another run, or of another peer), STALE (its slab has gone), AGAIN (its slab has not been
 *          announced yet), RANGE (outside what was exposed or the slab, or of other length), NOENT (the pool was not offered here),
 *          EXCEEDS (transfers_max, or 32767 holds of one buffer), PEER, NOTLEASED.
 */
WEIR_UCX_API WEIR_MUST_CHECK int weir_ucx_put(struct weir_ucx_peer *peer, struct weir_slice from,
                                              const struct weir_ucx_ref *to,
                                              const struct weir_ucx_transfer_opts *opts,
                                              struct weir_ucx_transfer **out);
WEIR_UCX_API WEIR_MUST_CHECK int weir_ucx_get(struct weir_ucx_peer *peer, struct weir_slice into,
                                              const struct weir_ucx_ref *from,
                                              const struct weir_ucx_transfer_opts *opts,
                                              struct weir_ucx_transfer **out);

/*
 * weir_ucx_send, weir_ucx_receive - a message with a tag, from a leased buffer into one that the peer has chosen
 *
 * Messages of one tag arrive in order. A message longer than the receiver's part ends its receive with RANGE.
 * Thread: the holder of the lease.  Fails: as weir_ucx_put(), but for what is said of references.
 */
WEIR_UCX_API WEIR_MUST_CHECK int weir_ucx_send(struct weir_ucx_peer *peer, uint32_t tag, struct weir_slice from,
                                               const struct weir_ucx_transfer_opts *opts,
                                               struct weir_ucx_transfer **out);
WEIR_UCX_API WEIR_MUST_CHECK int weir_ucx_receive(struct weir_ucx_peer *peer, uint32_t tag, struct weir_slice into,
                                                  const struct weir_ucx_transfer_opts *opts,
                                                  struct weir_ucx_transfer **out);

/*
 * weir_ucx_wait - wait for the end of a transfer, and end it
 *
 * *bytes, if not NULL: how many bytes a receive brought, 0 if it failed; untouched for others, and while a receive has not ended.
 *
 * Answers how the transfer ended.  Thread: one for a transfer.  Progress: blocks until deadline_ns.
 * Fails: PEER (driver code: UCX's status), RANGE, CANCELED, INVAL; TIMEDOUT leaves the transfer as it is.
 */
WEIR_UCX_API WEIR_MUST_CHECK int weir_ucx_wait(struct weir_ucx_transfer *transfer, uint64_t deadline_ns, size_t *bytes);

/*
 * weir_ucx_cancel - the caller does not wait for this transfer any more; it must not be used again
 *
 * A receive is cancelled. A put, get or send cannot be: it goes on, its buffer is held until it has ended, nobody is told.
 * NULL is accepted. Cannot fail.  Thread: one for a transfer.
 */
WEIR_UCX_API void weir_ucx_cancel(struct weir_ucx_transfer *transfer);

/*
 * weir_ucx_fd - readable when weir_ucx_progress() has something to do; for an epoll loop
 *
 * Progress: wait-free.  Owner: the engine.  Fails: INVAL.
 */
WEIR_UCX_API int weir_ucx_fd(struct weir_ucx *ucx);

/*
 * weir_ucx_progress - do what there is to do, without blocking; returns how much
 *
 * Thread: any, also beside the engine's own.  Fails: INVAL.
 */
WEIR_UCX_API int weir_ucx_progress(struct weir_ucx *ucx);

/*
 * weir_ucx_spin - UCX's progress alone, for loops that poll memory or count callbacks: no system call of weir's; returns how much was done
 *
 * Sees no peer come, and none go: call weir_ucx_progress() now and then.  Fails: INVAL.
 */
WEIR_UCX_API int weir_ucx_spin(struct weir_ucx *ucx);

struct weir_ucx_stats {
    size_t   struct_size;
    uint64_t registrations, unregistrations; /* of slabs */
    uint64_t peers;                          /* alive */
    uint64_t peers_failed;
    uint64_t puts, gets, sends, receives;    /* begun */
    uint64_t ended, failed;                  /* transfers, of all kinds */
    uint64_t in_flight;
    uint64_t quarantined;                    /* buffers held for peers that have failed and are not known to be gone, or for transfers not yet cancelled */
    uint64_t bytes_put, bytes_got, bytes_sent, bytes_received;
    uint64_t refused_secret;                 /* handshakes that did not prove the secret */
    uint64_t refused_garbage;                /* connections that did not speak the protocol, or in time */
    uint64_t refused_keys;                   /* references of other runs, outside their slab, or gone */
    uint64_t exposed;                        /* parts of buffers exposed now */
};

/* weir_ucx_stats_read - counts of an engine; set out->struct_size first. Fails: INVAL. */
WEIR_UCX_API int weir_ucx_stats_read(struct weir_ucx *ucx, struct weir_ucx_stats *out);

WEIR_END_DECLS

#endif
