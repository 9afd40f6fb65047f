/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - the command: schedule [name...] [options]
 *
 * Without options each scenario is searched as far as is quick. Prints one line for each search; a failure prints its
 * interleaving and the command that repeats it. Exits 1 if any failed, or if a planted bug was not found.
 */
#include "schedule/engine.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "schedule/scenarios.h"

#define RANDOM_QUICK 4000
#define RANDOM_PLANT 5000000 /* until the bug is found */
#define SHRINK_RUNS  3000

static const struct schedule_scenario *const scenarios[] = {SCHEDULE_SCENARIOS};

static struct {
    int         bound; /* -1: the scenario's */
    int         full;
    long        random; /* -1: default */
    uint64_t    seed;
    const char *plant;
    const char *replay;
    int         weak; /* -1: as the scenario wants */
    double      seconds;
} option = {.bound = -1, .random = -1, .seed = 1, .weak = -1, .seconds = 1e9};

/* All of these are written before the world is kept, or it would be restored over them. */
static char *program;

static double now_s(void)
{
    struct timespec now;
    (void)__real_clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void begin(void)
{
    world_restore();
    fiber_restore_all();
}

/* ---- failures ---- */

static void print_replay(void)
{
    printf("  again: %s %s", program, sched->scenario->name);
    if (sched->plant) printf(" --plant %s", sched->plant);
    printf(" --weak %d --replay '", sched->weak);
    for (unsigned i = 0; i < sched->taken_count; i++)
        printf("%s%u=%u", i ? "," : "", sched->taken[i].at, sched->taken[i].choice);
    printf("'\n");
}

static bool fails_again(void)
{
    sched->mode = SEARCH_REPLAY;
    sched->replay_at = 0;
    engine_run(begin);
    return sched->failed;
}

static void take_over(void)
{
    memcpy(sched->replay, sched->taken, sched->taken_count * sizeof sched->taken[0]);
    sched->replay_count = sched->taken_count;
}

/* Leave out decisions while the schedule still fails. */
static void shrink(void)
{
    unsigned runs = 0;
    take_over();
    for (bool better = true; better && runs < SHRINK_RUNS;) {
        better = false;
        for (unsigned left_out = 0; left_out < sched->replay_count && runs < SHRINK_RUNS; left_out++, runs++) {
            struct decision one = sched->replay[left_out];
            memmove(&sched->replay[left_out], &sched->replay[left_out + 1],
                    (sched->replay_count - left_out - 1) * sizeof one);
            sched->replay_count--;
            if (fails_again() && sched->taken_count <= sched->replay_count) {
                take_over();
                better = true;
                break;
            }
            memmove(&sched->replay[left_out + 1], &sched->replay[left_out],
                    (sched->replay_count - left_out) * sizeof one);
            sched->replay[left_out] = one;
            sched->replay_count++;
        }
    }
    (void)fails_again();
}

static void print_failure(void)
{
    uint64_t schedules = sched->schedules;
    unsigned decisions = sched->taken_count;
    if (sched->mode == SEARCH_WALK || sched->mode == SEARCH_STICKY || sched->mode == SEARCH_PCT) shrink();
    printf("FAILED %s after %llu schedules: %s\n", sched->scenario->name, (unsigned long long)schedules, sched->failure);
    trace_print();
    printf("  %u steps, %u decisions", sched->steps, sched->taken_count);
    if (decisions != sched->taken_count) printf(" (%u before it was made shorter)", decisions);
    printf("%s\n", sched->weak ? ", with store buffers" : "");
    print_replay();
    (void)fflush(stdout);
}

static void crashed(int signal_number)
{
    static const char text[] = "a crash in this schedule:\n";
    (void)!write(STDOUT_FILENO, text, sizeof text - 1);
    if (sched->plant) _exit(0);
    trace_print();
    print_replay();
    printf("  signal %d\n", signal_number);
    (void)fflush(stdout);
    _exit(1);
}

/* ---- searches ---- */

static void print_line(const char *how, unsigned bound, uint64_t before, double started)
{
    char search[32];
    (void)snprintf(search, sizeof search, bound == UINT32_MAX ? "%s" : "%s/%u", how, bound);
    printf("%-18s %-10s %10llu schedules, at most %5u steps, %6.2f s\n", sched->scenario->name, search,
           (unsigned long long)(sched->schedules - before), sched->steps_max, now_s() - started);
    (void)fflush(stdout);
}

/* Every schedule within the bound. False: one failed. */
static bool search_all(unsigned bound, bool weak)
{
    double   started = now_s();
    uint64_t before = 0;
    sched->weak = weak;
    memset(sched->seen, 0, sizeof sched->seen);
    for (sched->bound = 0; sched->bound <= bound; sched->bound++) {
        do {
            before = sched->schedules;
            sched->path_length = sched->path_at = 0;
            do {
                sched->mode = SEARCH_ALL;
                engine_run(begin);
                if (sched->failed) return false;
                if (sched->schedules % 4096 == 0 && now_s() - started > option.seconds) {
                    print_line(weak ? "all weak cut" : "all cut", sched->bound, before, started);
                    return true;
                }
            } while (search_next_path());
        } while (search_share());
        if (sched->bound == 0) sched->typical_steps = sched->steps;
    }
    print_line(weak ? "all weak" : "all", bound, before, started);
    return true;
}

static bool search_random(uint64_t count)
{
    double   started = now_s();
    uint64_t before = sched->schedules;
    sched->mode = SEARCH_ALL;
    sched->bound = 0;
    sched->weak = false;
    sched->path_length = sched->path_at = 0;
    engine_run(begin);
    sched->typical_steps = sched->steps;
    for (uint64_t i = 0; i < count && !sched->failed; i++) {
        search_begin_random(option.seed, i);
        if (option.weak >= 0) sched->weak = option.weak;
        engine_run(begin);
        if (i % 1024 == 0 && now_s() - started > option.seconds) break;
    }
    if (!sched->failed) print_line("random", UINT32_MAX, before, started);
    return !sched->failed;
}

static bool search_replay(void)
{
    const char *at = option.replay;
    while (*at) {
        char *end;
        sched->replay[sched->replay_count].at = (uint32_t)strtoul(at, &end, 10);
        if (*end != '=') break;
        sched->replay[sched->replay_count++].choice = (uint32_t)strtoul(end + 1, &end, 10);
        at = *end == ',' ? end + 1 : end;
    }
    sched->weak = option.weak > 0;
    return !fails_again();
}

/* ---- a scenario in a process of its own ---- */

static void start(const struct schedule_scenario *scenario)
{
    sched->scenario = scenario;
    sched->current = NOBODY;
    sched->plant = option.plant;
    while (sched->fibers < SCHEDULE_FIBERS && scenario->fibers[sched->fibers].name) {
        sched->fiber[sched->fibers].daemon = scenario->fibers[sched->fibers].daemon;
        sched->fibers++;
    }
    world_start();
    fiber_attach_all();
    if (setjmp(sched->outside) != 0) {
        printf("%s cannot be set up: %s\n", scenario->name, sched->failure);
        exit(1);
    }
    if (scenario->set_up) scenario->set_up();
    struct sigaction action = {.sa_handler = crashed, .sa_flags = SA_ONSTACK};
    stack_t          stack = {.ss_sp = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
                              .ss_size = 65536};
    (void)sigaltstack(&stack, NULL);
    (void)sigaction(SIGSEGV, &action, NULL);
    (void)sigaction(SIGBUS, &action, NULL);
    world_keep();
}

static bool search(const struct schedule_scenario *scenario)
{
    unsigned bound = scenario->bound ? scenario->bound : 2;
    if (option.full) bound = scenario->full_bound ? scenario->full_bound : 3;
    if (option.bound >= 0) bound = (unsigned)option.bound;
    uint64_t random = option.plant ? RANDOM_PLANT : RANDOM_QUICK;
    if (option.random >= 0) random = (uint64_t)option.random;
    if (option.replay) return search_replay();
    if (option.weak != 1 && !search_all(bound, false)) return false;
    if (scenario->weak && option.weak != 0 && !search_all(bound, true)) return false;
    return random == 0 || search_random(random);
}

static int run_scenario(const struct schedule_scenario *scenario)
{
    sched = mmap(NULL, sizeof *sched, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (sched == MAP_FAILED) abort();
    fiber_start();
    start(scenario);
    bool held = search(scenario);
    if (!held) print_failure();
    if (!option.plant) return held ? 0 : 1;
    if (!held && plant_is_weak(option.plant) && !sched->weak) {
        printf("FOUND WITHOUT STORE BUFFERS, though the bug needs them: %s\n", option.plant);
        return 1;
    }
    if (held) printf("NOT FOUND: %s, %u times in %s\n", option.plant, sched->plant_hits, scenario->name);
    return held ? 1 : 0;
}

/* ---- the command line ---- */

static void usage(void)
{
    printf("usage: schedule [name...] [--bound n] [--full] [--random n] [--seed n] [--weak 0|1] [--seconds n]\n"
           "                [--plant name] [--replay decisions]\n\n");
    for (size_t i = 0; i < WI_ARRAY_COUNT(scenarios); i++)
        printf("  %-18s %s\n", scenarios[i]->name, scenarios[i]->about);
    printf("\nbugs to plant:\n");
    plant_list();
    exit(2);
}

static const struct schedule_scenario *find(const char *name)
{
    for (size_t i = 0; i < WI_ARRAY_COUNT(scenarios); i++) {
        if (strcmp(scenarios[i]->name, name) == 0) return scenarios[i];
    }
    return NULL;
}

static bool read_option(const char *name, const char *value)
{
    if (strcmp(name, "--bound") == 0) option.bound = atoi(value);
    else if (strcmp(name, "--random") == 0) option.random = atol(value);
    else if (strcmp(name, "--seed") == 0) option.seed = strtoull(value, NULL, 0);
    else if (strcmp(name, "--weak") == 0) option.weak = atoi(value);
    else if (strcmp(name, "--seconds") == 0) option.seconds = atof(value);
    else if (strcmp(name, "--plant") == 0) option.plant = value;
    else if (strcmp(name, "--replay") == 0) option.replay = value;
    else return false;
    return true;
}

int main(int argc, char **argv)
{
    const struct schedule_scenario *chosen = NULL;
    program = argv[0];
    (void)setenv("WEIR_LOG", "off", 1); /* a failure of the device is wanted here, and is logged in each schedule */
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--full") == 0) {
            option.full = 1;
        } else if (strncmp(argv[i], "--", 2) == 0) {
            if (i + 1 == argc || !read_option(argv[i], argv[i + 1])) usage();
            i++;
        } else {
            if (chosen || !(chosen = find(argv[i]))) usage();
        }
    }
    if (option.plant && !plant_known(option.plant)) usage();
    if (option.plant && !chosen) chosen = find(plant_scenario(option.plant));
    if (!chosen) usage();
    return run_scenario(chosen);
}
