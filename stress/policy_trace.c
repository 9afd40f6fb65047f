/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy_trace - placement policies on traces of accesses
 *
 *     policy_trace [options] trace...
 *     policy_trace --draw seed [options]
 *
 *     --policy name    hazard (default), lru or static
 *     --budget list    percent of the distinct objects that the fast tier holds; 1,2,5,10,20
 *     --pinned percent what the second tier holds besides; 0
 *     --cost hits      of one promotion; 0.05
 *     --period-ms n    length of a period; 1000
 *     --guard loss     exit 1 if the re-access hit ratio is below that of LRU by more than this
 *
 * Imitates a monitor that looks once per period at what was touched, on the clock of the trace. Every
 * object starts in the lowest tier, and a hit is an access that finds its object in the fast tier at that
 * moment. The re-access hit ratio is hits / (accesses - distinct objects), because no policy can serve a
 * first access. Promotions are counted because each is a transfer. LRU decides at every access and is
 * what a cache would do: it knows more than a monitor, and moves far more.
 *
 * Run it on every trace at hand before a change to a policy. On a drawn trace it is a smoke test of some
 * seconds. `weir replay --blocks` plays the same traces through a real pool.
 */
#include "base/alloc.h"
#include "tier/policy.h"
#include "weir/blocks.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BUDGETS_MAX   16
#define MOVES_MAX     ((size_t)1 << 20)
#define DRAWN_SECONDS 900

struct plan {
    const char *policy;
    double      budget_percent[BUDGETS_MAX];
    size_t      budgets;
    double      pinned_percent;
    double      cost;
    double      guard; /* negative: none */
    uint64_t    period_ns;
};

struct outcome {
    size_t   served[WEIR_TIERS];   /* re-accesses by the tier that they found their object in */
    size_t   first;                /* first accesses */
    size_t   promotions[WEIR_BOUNDARIES];
    uint64_t cpu_ns;
    uint64_t span_ns;
};

/* A policy at work, and where it has put the objects. */
struct run {
    const struct weir_policy *policy;
    void                     *ctx;
    uint8_t                  *tier;
    uint32_t                 *seen_in; /* number of the period + 1 */
    uint32_t                 *touched;
    size_t                    touched_count;
    size_t                    used[WEIR_TIERS];
    size_t                    capacity[WEIR_BOUNDARIES];
    struct weir_policy_move  *moves;
    struct outcome            outcome;
};

static uint64_t cpu_now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * WI_NS_PER_S + (uint64_t)now.tv_nsec;
}

static int compare_numbers(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return left < right ? -1 : left > right;
}

/* Make the moves, and hold the policy to its promises. */
static void apply(struct run *run, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct weir_policy_move *move = &run->moves[i];
        wi_require(run->tier[move->object] == move->from && move->from != move->to);
        wi_require(move->to < WEIR_TIERS);
        run->used[move->from]--;
        run->used[move->to]++;
        run->tier[move->object] = (uint8_t)move->to;
        if (move->to < WEIR_BOUNDARIES) wi_require(run->used[move->to] <= run->capacity[move->to]);
        for (unsigned at = move->to; at < move->from; at++) run->outcome.promotions[at]++;
    }
}

static void end_period(struct run *run, uint64_t now_ns)
{
    /* A monitor that looks at all marks finds objects in the order of their numbers. */
    qsort(run->touched, run->touched_count, sizeof *run->touched, compare_numbers);
    struct weir_policy_period period = {.struct_size = sizeof period,
                                        .now_ns = now_ns,
                                        .touched = run->touched,
                                        .touched_count = run->touched_count,
                                        .moves_max = MOVES_MAX};
    uint64_t start_ns = cpu_now_ns();
    size_t   count = run->policy->period(run->ctx, &period, run->moves);
    run->outcome.cpu_ns += cpu_now_ns() - start_ns;
    wi_require(count <= MOVES_MAX);
    apply(run, count);
    run->touched_count = 0;
}

static void replay(struct run *run, const struct block_trace *trace, uint64_t period_ns)
{
    uint64_t end_ns = period_ns;
    uint32_t period = 1;
    for (size_t i = 0; i < trace->count; i++) {
        const struct block_access *access = &trace->access[i];
        for (; access->at_ns >= end_ns; end_ns += period_ns, period++) end_period(run, end_ns);
        if (run->seen_in[access->object] == 0)
            run->outcome.first++;
        else
            run->outcome.served[run->tier[access->object]]++;
        if (run->seen_in[access->object] == period) continue;
        run->seen_in[access->object] = period;
        run->touched[run->touched_count++] = access->object;
    }
    end_period(run, end_ns);
    run->outcome.span_ns = end_ns;
}

static void *table(size_t count, size_t bytes)
{
    void *made = wi_calloc(count, bytes);
    wi_require(made);
    return made;
}

static struct outcome run_policy(const struct plan *plan, const struct block_trace *trace,
                                 const size_t capacity[WEIR_BOUNDARIES])
{
    struct run              run = {.capacity = {capacity[0], capacity[1]}};
    struct weir_policy_opts opts = {.struct_size = sizeof opts,
                                    .objects_max = trace->objects,
                                    .capacity = {capacity[0], capacity[1]},
                                    .cost = {plan->cost, plan->cost}};
    wi_require(weir_policy_find(plan->policy, &run.policy) == 0);
    wi_require(run.policy->create(&opts, &run.ctx) == 0);
    run.tier = table(trace->objects, sizeof *run.tier);
    run.seen_in = table(trace->objects, sizeof *run.seen_in);
    run.touched = table(trace->objects, sizeof *run.touched);
    run.moves = table(MOVES_MAX, sizeof *run.moves);
    run.used[WEIR_TIER_PAGEABLE] = trace->objects;
    for (size_t i = 0; i < trace->objects; i++) {
        struct weir_policy_place where = {.object = (uint32_t)i, .tier = WEIR_TIER_PAGEABLE};
        run.tier[i] = WEIR_TIER_PAGEABLE;
        run.policy->place(run.ctx, &where);
    }
    replay(&run, trace, plan->period_ns);
    run.policy->destroy(run.ctx);
    wi_free(run.tier);
    wi_free(run.seen_in);
    wi_free(run.touched);
    wi_free(run.moves);
    return run.outcome;
}

/* Least recently used, decided at every access: links of a list through the objects. */
static struct outcome run_lru(const struct block_trace *trace, size_t capacity)
{
    struct outcome outcome = {0};
    size_t         count = 0, head = trace->objects;
    uint32_t      *newer = table(trace->objects + 1, sizeof *newer);
    uint32_t      *older = table(trace->objects + 1, sizeof *older);
    uint8_t       *state = table(trace->objects, 1); /* 1: was accessed, 2: is held */
    newer[head] = older[head] = (uint32_t)head;
    for (size_t i = 0; i < trace->count; i++) {
        uint32_t object = trace->access[i].object;
        if (state[object] & 2) {
            outcome.served[0]++;
            older[newer[object]] = older[object];
            newer[older[object]] = newer[object];
        } else {
            outcome.promotions[0]++;
            if (state[object])
                outcome.served[WEIR_TIER_PAGEABLE]++;
            else
                outcome.first++;
            if (count == capacity) {
                uint32_t last = newer[head];
                newer[head] = newer[last];
                older[newer[last]] = (uint32_t)head;
                state[last] = 1;
                count--;
            }
            state[object] = 3;
            count++;
        }
        older[object] = older[head];
        newer[object] = (uint32_t)head;
        newer[older[head]] = object;
        older[head] = object;
    }
    wi_free(newer);
    wi_free(older);
    wi_free(state);
    return outcome;
}

static double ratio(size_t part, size_t whole)
{
    return whole ? (double)part / (double)whole : 0;
}

/* Answers 1 if the guard is broken. */
static int report(const struct plan *plan, const struct block_trace *trace, double budget_percent)
{
    size_t again = trace->count - trace->objects;
    size_t capacity[WEIR_BOUNDARIES] = {
        (size_t)(budget_percent / 100 * (double)trace->objects),
        (size_t)(plan->pinned_percent / 100 * (double)trace->objects)};
    struct outcome lru = run_lru(trace, capacity[0]);
    struct outcome own = run_policy(plan, trace, capacity);
    wi_require(own.first == trace->objects && lru.first == trace->objects);
    double hit = ratio(own.served[0], again), lru_hit = ratio(lru.served[0], again);
    printf("%5.1f%%  %.4f @ %4.0f   lru %.4f @ %4.0f   %+.4f   %.2f %% of a core", budget_percent,
           hit, 1000 * ratio(own.promotions[0], trace->count), lru_hit,
           1000 * ratio(lru.promotions[0], trace->count), hit - lru_hit,
           100 * (double)own.cpu_ns / (double)own.span_ns);
    if (capacity[1])
        printf("   served %.1f / %.1f / %.1f %%, to pinned @ %.0f", 100 * hit,
               100 * ratio(own.served[1], again), 100 * ratio(own.served[2], again),
               1000 * ratio(own.promotions[1], trace->count));
    bool broken = plan->guard >= 0 && hit < lru_hit - plan->guard;
    printf("%s\n", broken ? "   BELOW" : "");
    fflush(stdout);
    return broken;
}

static int report_all(const struct plan *plan, const char *name, const struct block_trace *trace)
{
    int broken = 0;
    printf("%s: %zu accesses, %zu objects, %s, cost %g, period %g ms\n", name, trace->count,
           trace->objects, plan->policy, plan->cost,
           (double)plan->period_ns / (double)WI_NS_PER_MS);
    for (size_t i = 0; i < plan->budgets; i++)
        broken |= report(plan, trace, plan->budget_percent[i]);
    return broken;
}

static void usage(void)
{
    fprintf(stderr, "usage: policy_trace [--policy name] [--budget list] [--pinned percent]\n"
                    "                    [--cost hits] [--period-ms n] [--guard loss]\n"
                    "                    trace... | --draw seed\n");
    exit(2);
}

static double number_of(const char *text)
{
    char  *end;
    double number = strtod(text, &end);
    if (end == text || *end || number < 0) usage();
    return number;
}

static void parse_budgets(char *list, struct plan *plan)
{
    plan->budgets = 0;
    for (char *item = strtok(list, ","); item; item = strtok(NULL, ",")) {
        if (plan->budgets == BUDGETS_MAX) usage();
        plan->budget_percent[plan->budgets++] = number_of(item);
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"policy", required_argument, NULL, 'p'},    {"budget", required_argument, NULL, 'b'},
        {"pinned", required_argument, NULL, 'n'},    {"cost", required_argument, NULL, 'c'},
        {"period-ms", required_argument, NULL, 'm'}, {"guard", required_argument, NULL, 'g'},
        {"draw", required_argument, NULL, 'd'},      {NULL, 0, NULL, 0},
    };
    struct plan plan = {.policy = "hazard",
                        .budget_percent = {1, 2, 5, 10, 20},
                        .budgets = 5,
                        .cost = WI_POLICY_COST_DEFAULT,
                        .guard = -1,
                        .period_ns = WI_NS_PER_S};
    const struct weir_policy *known;
    struct block_trace       trace;
    const char               *seed = NULL;
    int                       broken = 0;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'p') plan.policy = optarg;
        else if (c == 'b') parse_budgets(optarg, &plan);
        else if (c == 'n') plan.pinned_percent = number_of(optarg);
        else if (c == 'c') plan.cost = number_of(optarg);
        else if (c == 'm') plan.period_ns = (uint64_t)(number_of(optarg) * WI_NS_PER_MS);
        else if (c == 'g') plan.guard = number_of(optarg);
        else if (c == 'd') seed = optarg;
        else usage();
    }
    if ((optind == argc) == !seed || plan.period_ns == 0) usage();
    if (weir_policy_find(plan.policy, &known) < 0) usage();
    if (seed) {
        printf("seed %s\n", seed);
        if (block_trace_draw(strtoull(seed, NULL, 0), DRAWN_SECONDS, &trace) < 0) return 1;
        broken |= report_all(&plan, "drawn", &trace);
        block_trace_free(&trace);
    }
    for (int i = optind; i < argc; i++) {
        if (block_trace_read(argv[i], stderr, &trace) < 0) return 1;
        broken |= report_all(&plan, argv[i], &trace);
        block_trace_free(&trace);
    }
    return broken;
}
