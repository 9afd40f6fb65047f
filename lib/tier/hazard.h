/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hazard.h - the parts of the default policy: the model, the coldest residents, the yardstick
 *
 * The idea: an object's chance of being touched next depends on how often it was touched (its class)
 * and on how long ago (its age). Over all objects, fast or slow, touched or not, the model counts how
 * many touches came at each class and age, and how much time was spent there: a hazard rate, with
 * nothing censored. From the rates follow what a place in the faster tier is worth to each object, in
 * hits per second of occupancy, and what it is worth to bring one in, less the cost of the move.
 *
 * Everything here belongs to one thread. Times are ticks of 10 ms since the policy was made.
 */
#ifndef WI_HAZARD_H
#define WI_HAZARD_H

#include "base/base.h"

#include <weir/policy.h>

#define WI_HAZARD_CLASSES   6  /* touched in 1, 2, 3-4, 5-8, 9-16, 17 or more periods            */
#define WI_HAZARD_TOUCHES   17 /* where the count saturates                                      */
#define WI_HAZARD_BINS      64 /* of age: half an octave each, from one tick; 2^32 ticks = 1.4 y */
#define WI_HAZARD_TICK_NS   (10 * WI_NS_PER_MS)
#define WI_HAZARD_TICKS_PER_S 100

_Static_assert(WI_HAZARD_BINS == 2 * 32, "every age of 32 bits must have a bin");

/* State of one object. */
struct wi_hazard_object {
    uint32_t touched_at; /* tick of the last period in which it was touched, else when it was placed */
    uint8_t  touches;    /* periods in which it was touched; saturates at WI_HAZARD_TOUCHES          */
    uint8_t  tier;
    uint8_t  flags;      /* WI_HAZARD_* */
    uint8_t  reserved;
};

enum wi_hazard_flags { WI_HAZARD_PLACED = 1, WI_HAZARD_PINNED = 2, WI_HAZARD_QUEUED = 4 };

_Static_assert(sizeof(struct wi_hazard_object) == 8, "a million objects cost 8 MB");

/* One cell for each class and bin of age. */
struct wi_hazard_table {
    double at[WI_HAZARD_CLASSES][WI_HAZARD_BINS];
};

struct wi_hazard_model {
    struct wi_hazard_table events;   /* touches, decayed                                    */
    struct wi_hazard_table exposure; /* object-seconds, decayed                             */
    struct wi_hazard_table recent;   /* touches since the last fit: part of `events`        */
    struct wi_hazard_table rate;     /* touches per second                                  */
    struct wi_hazard_table value;    /* of a resident: log2 of hits per second of occupancy */
    double                 clump_sum;        /* sum of recent cells, decayed                */
    double                 clump_square_sum; /* sum of their squares, decayed               */
    uint32_t               first_bin;        /* first with exposure                         */
    uint32_t               fitted_at;        /* tick                                        */
};

unsigned wi_hazard_class(unsigned touches); /* pre: touches > 0 */
unsigned wi_hazard_bin(uint32_t age);
double   wi_hazard_bin_start_s(unsigned bin);

/* A touch at this age, in a period of so many seconds. */
void wi_hazard_model_touch(struct wi_hazard_model *model, unsigned touches, uint32_t age,
                           double period_s);
/* Forget a little, and derive rates and values anew. */
void wi_hazard_model_fit(struct wi_hazard_model *model, uint32_t now);
/* What a resident is worth, as log2; -INFINITY: nothing is known, or nothing is expected. */
double wi_hazard_model_resident(const struct wi_hazard_model *model, unsigned touches,
                                uint32_t age);
/* What an object just touched would be worth, less the cost of bringing it in. As log2. */
double wi_hazard_model_candidate(const struct wi_hazard_model *model, unsigned class, double cost);

/*
 * The coldest residents of one tier, coldest first. Made by a walk over all objects and used for a
 * while, so an entry may have gone stale: the user looks at the object before believing it.
 */
struct wi_hazard_cold {
    struct wi_hazard_cold_entry {
        uint64_t key; /* order: value, then the time of the last touch */
        double   value;
        uint32_t object;
        uint32_t reserved;
    }       *entries;  /* room for twice `count_max`     */
    size_t   count_max;
    size_t   count;
    size_t   next;     /* first that was not used        */
    uint64_t key_max;  /* while it is being made: keys above this are not among the coldest */
    bool     complete; /* no resident was left out       */
};

int  wi_hazard_cold_init(struct wi_hazard_cold *cold, size_t count_max);
void wi_hazard_cold_fini(struct wi_hazard_cold *cold);
void wi_hazard_cold_begin(struct wi_hazard_cold *cold);
void wi_hazard_cold_add(struct wi_hazard_cold *cold, uint32_t object, double value,
                        uint32_t touched_at);
void wi_hazard_cold_end(struct wi_hazard_cold *cold);

/*
 * Objects by age, in cells: exact below 128 ticks, then 64 cells to an octave (an error below 1 %).
 */
#define WI_HAZARD_AGE_CELLS (128 + (32 - 7) * 64)

struct wi_hazard_ages {
    uint32_t count[WI_HAZARD_AGE_CELLS];
};

void wi_hazard_ages_add(struct wi_hazard_ages *ages, uint32_t age);
/* The age below which there are `count` objects; UINT32_MAX if there are no more than that. */
uint32_t wi_hazard_ages_find(const struct wi_hazard_ages *ages, size_t count);

/*
 * The yardstick of one boundary: would plain recency serve more touches? Least-recently-used
 * replacement holds the objects whose age is below that of the capacity-th youngest one, so it can
 * be watched without being run. While it is clearly ahead, the policy ranks by recency.
 */
struct wi_hazard_yardstick {
    uint32_t age_max;       /* what is younger, recency would hold                         */
    uint32_t window_end;    /* tick */
    uint32_t recency_until; /* tick; 0: the model ranks */
    uint32_t reserved;
    double   window;        /* touches served more than recency would have, in this window */
    double   lead;          /* the same over the past windows, decayed                     */
    double   noise;         /* sum of squared windows, decayed alike: the variance of lead */
};

void wi_hazard_yardstick_init(struct wi_hazard_yardstick *yardstick);
/* Close the window when it is over. Answers true when the ranking changes. */
bool wi_hazard_yardstick_turn(struct wi_hazard_yardstick *yardstick, uint32_t now);

struct wi_hazard_boundary {
    size_t                     capacity; /* of the tier above                       */
    size_t                     used;     /* objects in the tier above, pinned too   */
    double                     cost;     /* of a promotion across it, in hits       */
    struct wi_hazard_cold      cold;     /* of the tier above                       */
    struct wi_hazard_yardstick yardstick;
};

struct wi_hazard {
    struct wi_hazard_object  *objects;
    size_t                    objects_max;
    size_t                    objects_end; /* no object was ever placed from here on            */
    uint32_t                 *candidates;  /* touched below tier 0 since the last decision      */
    size_t                    candidates_count;
    size_t                    expose_next; /* where the next sample of a large table starts     */
    uint64_t                  start_ns;
    uint64_t                  last_ns;     /* end of the last period                            */
    uint64_t                  quiet_ns;    /* length of each of the quiet periods               */
    uint32_t                  quiet;       /* periods without a touch that are not counted yet  */
    uint32_t                  quiet_end;   /* tick: end of the last of them                     */
    uint32_t                  now;         /* tick */
    uint32_t                  decide_at;   /* tick: the candidates have been gathered long enough */
    uint32_t                  walk_at;     /* tick from which the lists are too old             */
    uint32_t                  reserved;
    struct wi_hazard_boundary boundary[WEIR_BOUNDARIES];
    struct wi_hazard_ages     ages;
    struct wi_hazard_model    model;
};

/* What a promotion costs beyond the default: then sparing it may cost hits. */
double wi_hazard_dearness(const struct wi_hazard_boundary *boundary);

/* The answer under way. */
struct wi_hazard_answer {
    struct weir_policy_move *moves;
    size_t                   count;
    size_t                   count_max;
};

/* Bring the tiers within their budgets. */
void wi_hazard_shrink(struct wi_hazard *hazard, struct wi_hazard_answer *answer);
/* Set the gathered candidates against the coldest residents, at these costs, and forget them. */
void wi_hazard_promote(struct wi_hazard *hazard, struct wi_hazard_answer *answer,
                       const double cost[WEIR_BOUNDARIES]);
/* Forget the gathered candidates. */
void wi_hazard_dismiss(struct wi_hazard *hazard);

#endif
