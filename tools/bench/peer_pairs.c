/* SPDX-License-Identifier: Apache-2.0 */
/* peer_pairs.c - threads that acquire and release: throughput, CPU per pair, latencies, progress, fairness */
#include "peer_parts.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { STACK_BYTES = 256 * 1024 };
/* How long threads may take to notice the end. Those that do not are reported as stuck. */
static const uint64_t grace_ns = 2 * WI_NS_PER_S;
static const uint64_t grow_period_ns = 2 * WI_NS_PER_MS;

/* What the main thread reads at both ends of the window. */
struct reading {
    uint64_t ticks;
    uint64_t ns;
    uint64_t cpu_ns;
    uint64_t switches;
    uint64_t cache_misses;
    uint64_t *pairs; /* of each thread */
};

struct team {
    struct peer_run    *run;
    struct peer_thread *threads;
    peer_loop_fn       *loop;
    pthread_barrier_t   start;
    _Atomic uint64_t    grow_steps;
    int                 cache_misses_fd; /* negative errno: this system does not count them */
    struct reading      begin, end;
};

static struct team team;

void peer_sampled(struct peer_thread *thread, uint64_t begin_ticks, uint32_t phase)
{
    uint64_t end_ticks = bench_ticks_end();
    struct peer_run *run = thread->run;
    size_t bit = (size_t)((end_ticks - run->begin_ticks) >> run->progress_shift);

    if (bit < run->progress_bits) {
        _Atomic uint64_t *word = &thread->progress[bit / 64];
        wi_store(word, wi_load(word, relaxed) | UINT64_C(1) << bit % 64, relaxed);
    }
    if (phase == PEER_MEASURE)
        bench_histogram_add(thread->acquire, end_ticks > begin_ticks ? end_ticks - begin_ticks : 0);
}

void **peer_hold_many(struct peer_thread *thread, peer_acquire_fn *acquire)
{
    size_t count = thread->run->config.held;
    void **held = calloc(count, sizeof *held);

    for (size_t i = 0; held != NULL && i < count; i++) {
        held[i] = peer_take(thread, acquire);
        if (held[i] == NULL) return NULL;
    }
    return held;
}

static peer_loop_fn *choose_loop(const struct peer_config *config)
{
    if (config->held > 1) return peer_here.held_loop;
    if (config->checked)
        return config->waiting ? peer_here.wait_checked_loop : peer_here.try_checked_loop;
    return config->waiting ? peer_here.wait_loop : peer_here.try_loop;
}

static void *worker(void *argument)
{
    struct peer_thread *thread = argument;

    if (peer_here.enter != NULL) peer_here.enter(thread->index);
    pthread_barrier_wait(&team.start);
    team.loop(thread);
    wi_store(&thread->finished, 1, release);
    return NULL;
}

static void *grower(void *argument)
{
    struct peer_run *run = argument;

    while (wi_load(&run->phase, relaxed) != PEER_STOP) {
        bench_sleep_until_ns(bench_now_ns() + grow_period_ns);
        if (wi_load(&run->phase, relaxed) != PEER_MEASURE) continue;
        peer_here.grow();
        wi_bump(&team.grow_steps, 1);
    }
    return NULL;
}

static int open_cache_misses(void)
{
    struct perf_event_attr attributes = {.type = PERF_TYPE_HARDWARE,
                                         .size = sizeof attributes,
                                         .config = PERF_COUNT_HW_CACHE_MISSES,
                                         .inherit = 1,
                                         .exclude_kernel = 1,
                                         .exclude_hv = 1};
    long fd = syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0);

    return fd < 0 ? -errno : (int)fd;
}

static void read_now(struct reading *out)
{
    struct rusage usage;

    out->cache_misses = 0;
    if (team.cache_misses_fd >= 0 &&
        read(team.cache_misses_fd, &out->cache_misses, sizeof out->cache_misses) !=
            (ssize_t)sizeof out->cache_misses)
        team.cache_misses_fd = -EIO;
    getrusage(RUSAGE_SELF, &usage);
    out->switches = (uint64_t)(usage.ru_nvcsw + usage.ru_nivcsw);
    out->ticks = bench_ticks();
    out->ns = bench_now_ns();
    out->cpu_ns = bench_clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    for (unsigned i = 0; i < team.run->config.threads; i++)
        out->pairs[i] = wi_load(&team.threads[i].pairs, relaxed);
}

static int make_team(struct peer_run *run, double ticks_per_ns)
{
    const struct peer_config *config = &run->config;
    uint64_t total_ns = config->warm_ns + config->window_ns + grace_ns;
    double bit_ticks = 10.0 * (double)WI_NS_PER_US * ticks_per_ns;

    while ((double)(UINT64_C(1) << run->progress_shift) < bit_ticks) run->progress_shift++;
    run->progress_bits =
        (size_t)((double)total_ns * ticks_per_ns / (double)(UINT64_C(1) << run->progress_shift));
    team.run = run;
    team.loop = choose_loop(config);
    team.threads = aligned_alloc(_Alignof(struct peer_thread),
                                 config->threads * sizeof(struct peer_thread));
    team.begin.pairs = calloc(config->threads, sizeof *team.begin.pairs);
    team.end.pairs = calloc(config->threads, sizeof *team.end.pairs);
    if (team.threads == NULL || team.begin.pairs == NULL || team.end.pairs == NULL) return -ENOMEM;
    memset(team.threads, 0, config->threads * sizeof *team.threads);
    for (unsigned i = 0; i < config->threads; i++) {
        struct peer_thread *thread = &team.threads[i];
        thread->run = run;
        thread->index = i;
        thread->acquire = calloc(1, sizeof *thread->acquire);
        thread->progress = calloc(run->progress_bits / 64 + 1, sizeof *thread->progress);
        if (thread->acquire == NULL || thread->progress == NULL) return -ENOMEM;
    }
    return -pthread_barrier_init(&team.start, NULL, config->threads + 1);
}

static int start_threads(struct peer_run *run)
{
    pthread_attr_t attributes;
    pthread_t id;

    int err = pthread_attr_init(&attributes);
    if (err == 0) err = pthread_attr_setstacksize(&attributes, STACK_BYTES);
    if (err == 0) err = pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    for (unsigned i = 0; err == 0 && i < run->config.threads; i++)
        err = pthread_create(&id, &attributes, worker, &team.threads[i]);
    if (err == 0 && run->config.growing) err = pthread_create(&id, &attributes, grower, run);
    return -err;
}

/* The main thread sleeps, and must wake in time among many busy threads. Without the right to it, it may be late. */
static void go_first(void)
{
    struct sched_param parameters = {.sched_priority = 1};

    pthread_setschedparam(pthread_self(), SCHED_FIFO, &parameters);
}

static unsigned wait_for_threads(void)
{
    uint64_t deadline_ns = bench_now_ns() + grace_ns;

    for (;;) {
        unsigned running = 0;
        for (unsigned i = 0; i < team.run->config.threads; i++)
            running += wi_load(&team.threads[i].finished, acquire) == 0;
        if (running == 0 || bench_now_ns() >= deadline_ns) return running;
        bench_sleep_until_ns(bench_now_ns() + WI_NS_PER_MS);
    }
}

/* The longest row of empty periods inside the window, over all threads together. */
static uint64_t longest_without_progress(double ticks_per_ns)
{
    struct peer_run *run = team.run;
    size_t first = (size_t)((team.begin.ticks - run->begin_ticks) >> run->progress_shift);
    size_t last = (size_t)((team.end.ticks - run->begin_ticks) >> run->progress_shift);
    size_t longest = 0, row = 0;

    for (size_t bit = first; bit < last && bit < run->progress_bits; bit++) {
        uint64_t any = 0;
        for (unsigned i = 0; i < run->config.threads && any == 0; i++)
            any = wi_load(&team.threads[i].progress[bit / 64], relaxed) >> bit % 64 & 1;
        row = any != 0 ? 0 : row + 1;
        if (row > longest) longest = row;
    }
    return (uint64_t)((double)((uint64_t)longest << run->progress_shift) / ticks_per_ns);
}

static void report(double ticks_per_ns, unsigned stuck)
{
    static struct bench_histogram acquire;
    struct peer_run *run = team.run;
    uint64_t pairs = 0, least = UINT64_MAX, most = 0, empties = 0, doubles = 0;
    uint64_t window_ns = team.end.ns - team.begin.ns;
    uint64_t cpu_ns = team.end.cpu_ns - team.begin.cpu_ns;

    for (unsigned i = 0; i < run->config.threads; i++) {
        uint64_t of_thread = team.end.pairs[i] - team.begin.pairs[i];
        pairs += of_thread;
        if (of_thread < least) least = of_thread;
        if (of_thread > most) most = of_thread;
        empties += wi_load(&team.threads[i].empties, relaxed);
        doubles += wi_load(&team.threads[i].doubles, relaxed);
        bench_histogram_merge(&acquire, team.threads[i].acquire);
    }
    peer_line_u64("window_ns", window_ns);
    peer_line_u64("pairs", pairs);
    peer_line_number("pairs_per_s", (double)pairs * 1e9 / (double)window_ns);
    /* A peer that stalls may not make one pair; that is a result, too. */
    if (pairs > 0)
        peer_line_number("cpu_ns_per_pair", (double)cpu_ns / (double)pairs);
    else
        peer_line_null("cpu_ns_per_pair");
    peer_line_histogram("acquire_ns", &acquire, ticks_per_ns);
    peer_line_u64("no_progress_ns", longest_without_progress(ticks_per_ns));
    peer_line_u64("no_progress_step_ns",
                  (uint64_t)((double)(UINT64_C(1) << run->progress_shift) / ticks_per_ns));
    peer_line_u64("empties", empties);
    peer_line_u64("doubles", doubles);
    peer_line_u64("thread_pairs_min", least);
    peer_line_u64("thread_pairs_max", most);
    peer_line_u64("context_switches", team.end.switches - team.begin.switches);
    peer_line_u64("stuck_threads", stuck);
    if (run->config.growing) peer_line_u64("grow_steps", wi_load(&team.grow_steps, relaxed));
    if (team.cache_misses_fd >= 0 && pairs > 0)
        peer_line_number("cache_misses_per_pair",
                         (double)(team.end.cache_misses - team.begin.cache_misses) / (double)pairs);
    else
        peer_line_null("cache_misses_per_pair");
}

int peer_case_pairs(struct peer_run *run, double ticks_per_ns)
{
    WI_TRY(make_team(run, ticks_per_ns));
    team.cache_misses_fd = open_cache_misses();
    WI_TRY(start_threads(run));
    run->begin_ticks = bench_ticks();
    go_first();
    pthread_barrier_wait(&team.start);

    uint64_t begin_ns = bench_now_ns();
    bench_sleep_until_ns(begin_ns + run->config.warm_ns);
    read_now(&team.begin);
    wi_store(&run->phase, PEER_MEASURE, relaxed);
    bench_sleep_until_ns(bench_now_ns() + run->config.window_ns);
    read_now(&team.end);
    wi_store(&run->phase, PEER_STOP, relaxed);
    report(ticks_per_ns, wait_for_threads());
    return 0;
}
