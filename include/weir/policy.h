/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir/policy.h - placement policies: which buffers of a tiered pool live in which memory
 *
 * A policy is a struct of functions over tables of its own. weir calls it from one thread, the monitor:
 * once a period it says what was touched, and the policy answers with moves. A policy never sees
 * memory, starts no thread and reads no clock, so the same one also runs over a recorded trace.
 *
 * All objects of a policy have the same size, and budgets are counts of objects. Tier 0 is the
 * fastest. What the tiers above a boundary cannot hold lives below it; the lowest tier takes all.
 *
 * weir has three: "hazard" (the default: learns how long after its last touch an object of its kind
 * is touched again, and ranks by expected touches per second of occupancy), "lru" and "static".
 *
 * Unless a call says otherwise:
 * Thread:   any.
 * Progress: wait-free.
 *
 * Example, given struct weir_policy_move moves[8]; size_t count:
 *
 *     const struct weir_policy *lru;
 *     void                     *ctx;
 *     int err = weir_policy_find("lru", &lru);
 *     if (err == 0) err = lru->create(WEIR_OPTS(policy, .objects_max = 100, .capacity = {10, 20}), &ctx);
 *     if (err < 0) return err;
 *     struct weir_policy_place  here = {.object = 7, .tier = WEIR_TIER_PAGEABLE};
 *     uint32_t                  touched[] = {7};
 *     struct weir_policy_period second = {.struct_size = sizeof second, .now_ns = 1000000000,
 *                                         .touched = touched, .touched_count = 1, .moves_max = 8};
 *     lru->place(ctx, &here);
 *     count = lru->period(ctx, &second, moves);
 *     lru->destroy(ctx);
 */
#ifndef WEIR_POLICY_H
#define WEIR_POLICY_H

#include <weir/base.h>

WEIR_BEGIN_DECLS

/* From fast to slow. */
enum weir_tier { WEIR_TIER_DEVICE = 0, WEIR_TIER_PINNED = 1, WEIR_TIER_PAGEABLE = 2 };

#define WEIR_TIERS      3
#define WEIR_BOUNDARIES 2 /* boundary i lies between tier i and tier i + 1 */

struct weir_policy_opts {
    size_t   struct_size;
    size_t   objects_max;               /* object numbers are below this                           */
    uint64_t now_ns;                    /* the clock that later periods go on from                 */
    size_t   capacity[WEIR_BOUNDARIES]; /* objects that tier 0 and tier 1 may hold; 0: none        */
    double   cost[WEIR_BOUNDARIES];     /* of one promotion, in hits: DMA time divided by the time
                                           that one hit saves; 0: 0.05. Negative: free             */
    uint64_t seed;                      /* for policies that draw lots; those of weir draw none    */
};

/* Where an object is. */
struct weir_policy_place {
    uint32_t object;
    uint32_t tier;  /* enum weir_tier */
    uint32_t flags; /* enum weir_policy_place_flags */
};

enum weir_policy_place_flags { WEIR_PLACE_PINNED = 1 /* stays where it is: never named in a move */ };

/* What happened since the period before. Filled by weir; valid during the call. */
struct weir_policy_period {
    size_t          struct_size;
    uint64_t        now_ns;        /* end of the period; never decreases                       */
    const uint32_t *touched;       /* objects touched in it, each once                         */
    size_t          touched_count;
    size_t          moves_max;     /* room in the array for the answer                         */
    uint32_t        pressure;      /* enum weir_pressure_level. TIGHT: leave out marginal
                                      promotions. HIGH and CRITICAL: promote nothing           */
    uint32_t        reserved;
};

struct weir_policy_move {
    uint32_t object;
    uint16_t from; /* enum weir_tier */
    uint16_t to;
};

/*
 * A policy. All functions must be given but create and destroy, which default to nothing to do (ctx is
 * then NULL). weir keeps a copy; ctx is what create made, one for each tiered pool.
 *
 * Thread: weir calls from one thread at a time. Progress: must not block, and must not call weir.
 */
struct weir_policy {
    size_t      struct_size;
    const char *name; /* static; shown in stats */

    /* Make the tables. Returns 0 or a negative WEIR_E* code. Objects are unknown until placed. */
    int (*create)(const struct weir_policy_opts *opts, void **out_ctx);
    void (*destroy)(void *ctx);

    /*
     * An object exists, and this is where it is. Called when it is made, when the caller moved it or
     * changed its flags, and when a move that the policy asked for did not happen. A move that did
     * happen is not reported: the policy takes its moves as done.
     */
    void (*place)(void *ctx, const struct weir_policy_place *place);

    /* An object is gone. Its number may come back as another object. */
    void (*remove)(void *ctx, uint32_t object);

    /* The budgets changed; the next periods bring the tiers within them, as far as moves_max reaches. */
    void (*resize)(void *ctx, const size_t capacity[WEIR_BOUNDARIES]);

    /*
     * Answers how many moves it wrote, in the order in which they are to be made: when each is made
     * in turn, its destination has room, and no object is named that is pinned or not placed.
     */
    size_t (*period)(void *ctx, const struct weir_policy_period *period,
                     struct weir_policy_move *moves);
};

/*
 * weir_policy_find - a policy of weir by name: "hazard", "lru" or "static"
 *
 * Static; never freed. A user's policy may pass calls on to one of these. Fails: NOENT, INVAL.
 */
WEIR_API WEIR_MUST_CHECK int weir_policy_find(const char *name, const struct weir_policy **out);

WEIR_END_DECLS

#endif
