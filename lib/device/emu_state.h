/* SPDX-License-Identifier: Apache-2.0 */
/*
 * emu_state.h - what the files of the emulation share
 *
 * Everything here is guarded by emu->lock, but for what is fixed after creation and the bytes that a
 * worker copies. A function whose name ends in _locked expects the lock to be held.
 *
 * A stream's life, as its `state` tells:
 *
 *   REST     nothing under way. Its queue has entries only if it is held, or the clock is virtual.
 *   READY    may be able to move; listed in emu->ready until the lock is let go.
 *   BLOCKED  its first operation waits for a ticket; listed at the ticket.
 *   LINED    its first operation waits for its engine; listed at the engine.
 *   TIMED    its first operation is under way until due_ns; listed in emu->timers.
 *   RUNNING  a worker holds it: copying, or inside a host function.
 *
 * Law: a stream is in at most one list, that of its state, and so one link is enough.
 */
#ifndef WI_EMU_STATE_H
#define WI_EMU_STATE_H

#include "device/emu.h"

#include <pthread.h>

#define EMU_STREAM_ALIVE UINT32_C(0x73747231)
#define EMU_EVENT_ALIVE  UINT32_C(0x65766e31)
#define EMU_HANDLE_DEAD  UINT32_C(0xdeaddead)

/* A worker that is this close to its time waits without sleeping: a sleep costs more than that. */
#define EMU_SPIN_NS UINT64_C(2500)

enum emu_engine_kind { EMU_UP, EMU_DOWN, EMU_INSIDE, EMU_CALLS, EMU_ENGINES_COUNT };
enum emu_stream_state { EMU_REST, EMU_READY, EMU_BLOCKED, EMU_LINED, EMU_TIMED, EMU_RUNNING };
enum emu_phase { EMU_TO_DO, EMU_DONE };
enum emu_task {
    EMU_TASK_RECORD,
    EMU_TASK_WAIT,
    EMU_TASK_DELAY,
    EMU_TASK_COPY,
    EMU_TASK_FILL,
    EMU_TASK_CALL
};
enum emu_ticket_state {
    EMU_TICKET_PENDING,
    EMU_TICKET_PASSED,
    EMU_TICKET_FAILED,
    EMU_TICKET_CAPTURED
};

/* Objects of one size. Never given back before the end, so that a dead handle can still be looked at. */
struct emu_arena {
    size_t            bytes;
    struct emu_chunk *chunks;
    struct emu_free  *first;
    struct emu_free  *last;
};

struct emu_range {
    uint64_t base;
    size_t   bytes;
    uint32_t kind; /* enum wi_emu_range_kind */
    uint32_t pending;
};

struct emu_list {
    struct wi_emu_stream *first;
    struct wi_emu_stream *last;
};

struct emu_ticket {
    uint32_t        refs; /* one for the event, one for each queued task that names it */
    uint32_t        state;
    uint64_t        stamp_ns;
    struct emu_list blocked;
};

/* A blocking caller, on its own stack. */
struct emu_waiter {
    bool done;
    int  err;
};

struct emu_operation {
    struct emu_operation *next;
    uint32_t              task;
    uint32_t              engine;
    uint64_t              queued_ns; /* it starts no earlier */
    uint64_t              start_ns;
    uint64_t              end_ns;
    uint64_t              cost_ns; /* modelled length */
    struct emu_range     *ranges[2];
    struct emu_waiter    *waiter;
    union {
        struct {
            void       *dst;
            const void *src;
            size_t      bytes;
            uint8_t     byte;
            bool        crossed; /* WI_COPY_CROSSED */
        } move;
        struct {
            void (*fn)(void *);
            void *ctx;
        } call;
        struct emu_ticket *ticket;
    };
};

struct wi_emu_stream {
    uint32_t              magic;
    uint32_t              state;
    uint32_t              phase; /* TIMED: what to do when the time has come */
    int32_t               priority;
    struct wi_emu_stream *next; /* in the list of its state */
    struct wi_emu_stream *alive_next;
    struct wi_emu_stream *alive_previous;
    struct emu_operation *first;
    struct emu_operation *last;
    uint64_t              time_ns; /* device time that its past has reached */
    uint64_t              due_ns;
    uint64_t              permits;
    bool                  held;
    bool                  capturing;
    bool                  destroyed; /* goes away when its queue is empty */
};

struct wi_emu_event {
    uint32_t           magic;
    uint32_t           flags;
    struct emu_ticket *ticket; /* NULL: never recorded */
};

struct emu_engine {
    struct emu_list line;
    uint64_t        free_ns; /* device time at which its last operation ended */
    bool            busy;
};

struct wi_emu {
    /* Fixed after creation. */
    struct wi_emu_opts opts;
    pthread_cond_t     leading; /* the worker that sleeps until the first timer */
    pthread_cond_t     idling;  /* workers with nothing to do                   */
    pthread_cond_t     change;  /* callers that wait for device work            */

    /* Guards all that follows. */
    pthread_mutex_t lock;

    struct wi_emu_stats stats;
    struct emu_arena    streams;
    struct emu_arena    events;
    struct emu_arena    tickets;
    struct emu_arena    operations;
    struct emu_arena    range_records;
    struct emu_range  **ranges; /* sorted by base; they never overlap */
    size_t              ranges_count;
    size_t              ranges_capacity;

    struct wi_emu_stream
        *alive; /* in order of creation, also destroyed ones that still have work */
    struct wi_emu_stream *alive_last;
    struct emu_list       ready;  /* REAL: at rest, and may be able to move */
    struct emu_list       timers; /* by due_ns */
    struct emu_engine     engines[EMU_ENGINES_COUNT];
    uint32_t              running; /* streams in state RUNNING */
    uint32_t              waiters; /* callers that sleep on `change` */
    bool                  held;
    bool                  lost;

    uint64_t rate_bytes_per_s; /* how fast this machine has really been copying */
    uint64_t now_ns;           /* VIRTUAL */
    uint64_t random;           /* VIRTUAL */

    pthread_t workers[WI_EMU_WORKERS_MAX];
    uint32_t  workers_count;
    uint32_t  workers_max;
    uint32_t  starting;      /* workers that have not come to their first look */
    uint32_t  idle;          /* workers on `idling` */
    uint64_t  leader_due_ns; /* what the leader sleeps for */
    bool      leader;        /* a worker sleeps on `leading` */
    bool      kick;          /* the first timer is a new one: somebody must look */
    bool      stopping;

    const char         *misuse_text; /* to be told when the lock is let go */
    struct wi_emu_fault faults[WI_EMU_FAULTS_MAX];
    uint32_t            faults_count;
};

/* emu_arena.c */
void  wi_emu_arena_init(struct emu_arena *arena, size_t bytes);
void *wi_emu_arena_take(struct emu_arena *arena);                /* zeroed, or NULL */
void  wi_emu_arena_give(struct emu_arena *arena, void *object);  /* the next to be taken */
void wi_emu_arena_retire(struct emu_arena *arena, void *object); /* the last to be taken: handles */
void wi_emu_arena_fini(struct emu_arena *arena);

/* emu.c */
int wi_emu_refuse(int code, const char *reason);
int wi_emu_misuse_locked(struct wi_emu *emu, const char *text);
/* Count the call, apply its faults, and take the lock; on failure the lock is not held. */
int wi_emu_enter(struct wi_emu *emu, enum wi_emu_op op);
/* Let go of the lock, wake who must look, tell of a misuse. Returns err. */
int wi_emu_leave(struct wi_emu *emu, int err);
/* The fault of this use, if one is armed. Consumes it. */
bool     wi_emu_fault_take_locked(struct wi_emu *emu, enum wi_emu_op op, struct wi_emu_fault *out);
void     wi_emu_lose_locked(struct wi_emu *emu);
uint64_t wi_emu_now_locked(const struct wi_emu *emu);
void     wi_emu_set_inside_call(bool inside);
/* Something that a blocked caller may wait for has happened. */
void wi_emu_change_locked(struct wi_emu *emu);
/* VIRTUAL: step; if nothing can move, or the clock is real, sleep until something happens. */
void wi_emu_pause_locked(struct wi_emu *emu);

/* emu_memory.c */
/* *range is the one that holds all the bytes, or NULL if none holds any of them. Fails: INVAL (crosses an edge). */
int  wi_emu_range_resolve_locked(struct wi_emu *emu, uint64_t address, size_t bytes,
                                 struct emu_range **range);
void wi_emu_memory_fini(struct wi_emu *emu);

/* emu_event.c */
void wi_emu_ticket_give_locked(struct wi_emu *emu, struct emu_ticket *ticket);
/* Pass it at this device time, and let go who is blocked on it. */
void wi_emu_ticket_pass_locked(struct wi_emu *emu, struct emu_ticket *ticket, uint64_t stamp_ns);

/* emu_stream.c */
int  wi_emu_stream_check_locked(struct wi_emu *emu, const struct wi_emu_stream *stream);
void wi_emu_stream_retire_locked(struct wi_emu *emu, struct wi_emu_stream *stream);

/* emu_queue.c */
int  wi_emu_push_locked(struct wi_emu *emu, struct wi_emu_stream *stream,
                        const struct emu_operation *like);
void wi_emu_operation_end_locked(struct wi_emu *emu, struct wi_emu_stream *stream);
void wi_emu_operation_drop_locked(struct wi_emu *emu, struct emu_operation *operation);

/* emu_engine.c */
void                  wi_emu_list_add(struct emu_list *list, struct wi_emu_stream *stream);
struct wi_emu_stream *wi_emu_list_take(struct emu_list *list);
bool                  wi_emu_begin_locked(struct wi_emu *emu, struct wi_emu_stream *stream);
/* REAL: the stream may be able to move; settle looks at all that were named so. */
void wi_emu_ready_locked(struct wi_emu *emu, struct wi_emu_stream *stream);
void wi_emu_settle_locked(struct wi_emu *emu);
/* Do the stream's first operation, without the lock meanwhile. false: the device was lost, and it is dropped. */
bool wi_emu_perform_locked(struct wi_emu *emu, struct wi_emu_stream *stream);
/* pre: taken from the timers, state RUNNING, its time has come. */
void wi_emu_timer_run_locked(struct wi_emu *emu, struct wi_emu_stream *stream);
bool wi_emu_quiet_locked(const struct wi_emu *emu);

/* emu_virtual.c */
int wi_emu_step_locked(struct wi_emu *emu);

/* emu_check.c: walks everything and aborts where a law is broken; true otherwise. pre: between calls. */
bool wi_emu_check_locked(const struct wi_emu *emu);

/* emu_worker.c */
int wi_emu_worker_need_locked(struct wi_emu *emu);
/* See that a worker looks at the first timer in time: the condition to signal, or NULL. */
pthread_cond_t *wi_emu_attend_locked(struct wi_emu *emu);
void            wi_emu_workers_join(struct wi_emu *emu);

#endif
