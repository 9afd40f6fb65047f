/* SPDX-License-Identifier: Apache-2.0 */
/* harness.c - command line, threads, time, and how a run ends; see harness.h */
#include "harness.h"

#include "harness_parts.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX     4096
#define NOTES_MAX       64
#define LINES_SHOWN     5
#define STACK_BYTES     ((size_t)512 << 10)
#define WATCH_PERIOD_NS UINT64_C(100000000)
#define NS_PER_S        UINT64_C(1000000000)

extern char **environ;

struct note {
    const char *name;
    double      value;
};

struct member {
    struct stress_thread self;
    stress_work_fn      *work;
    pthread_t            thread;
};

/* Fixed once stress_begin() has returned. */
static const struct stress_spec *spec;
static uint64_t                  seed, seconds, threads;
static uint64_t                  hang_s = 60;
static const char               *json_path;
static uint64_t                  begin_ns;

/* Under the lock. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t  changed;
static bool            open_gate;
static unsigned        alive; /* threads that have not returned */
static struct member  *members[THREADS_MAX];
static unsigned        members_count;
static bool            watching;
static pthread_t       watch_thread;

static _Atomic bool stopping, loss_expected;
static struct note  notes[NOTES_MAX];
static unsigned     notes_count;

#ifdef WI_SCHED
uint64_t stress_pause_one_in = 2000; /* pauses.c */
#endif

/* ---- command line ---- */

static const struct stress_option *own_options(void)
{
    static const struct stress_option none[] = {{NULL, NULL, NULL}};
    return spec->options ? spec->options : none;
}

static const struct stress_option common_options[] = {
    {"seed", &seed, "start of every random choice; else a new one"},
    {"seconds", &seconds, "how long the threads work"},
    {"threads", &threads, "how many threads work"},
    {"hang", &hang_s, "seconds without a step after which the run has failed; 0: never"},
#ifdef WI_SCHED
    {"pause", &stress_pause_one_in, "one in so many steps inside the library pauses; 0: none"},
#endif
    {NULL, NULL, NULL},
};

static void print_options(const struct stress_option *options)
{
    for (; options->name; options++)
        printf("  --%-10s %s [%llu]\n", options->name, options->help,
               (unsigned long long)*options->value);
}

static _Noreturn void help(void)
{
    printf("%s - %s\n\n", spec->name, spec->imitates);
    print_options(common_options);
    printf("  --%-10s %s\n", "json", "a file for the results; - is the standard output");
    print_options(own_options());
    exit(0);
}

static _Noreturn void describe(void)
{
    printf("{\"name\": \"%s\", \"imitates\": \"%s\", \"seconds\": %llu, \"threads\": %llu}\n",
           spec->name, spec->imitates, (unsigned long long)spec->seconds,
           (unsigned long long)spec->threads);
    exit(0);
}

static _Noreturn void misused(const char *what, const char *word)
{
    fprintf(stderr, "%s: %s: %s; --help lists what there is\n", spec->name, what, word);
    exit(2);
}

static bool set_option(const struct stress_option *options, const char *name, const char *text)
{
    for (; options->name; options++) {
        if (strcmp(options->name, name) != 0) continue;
        char *end;
        errno = 0;
        *options->value = strtoull(text, &end, 0);
        if (errno || end == text || *end || *text == '-') misused("not a number", text);
        return true;
    }
    return false;
}

static void read_words(int count, char **words)
{
    for (int at = 1; at < count; at++) {
        if (strcmp(words[at], "--help") == 0) help();
        if (strcmp(words[at], "--describe") == 0) describe();
        if (strncmp(words[at], "--", 2) != 0) misused("not an option", words[at]);
        if (at + 1 == count) misused("an option without its value", words[at]);
        const char *name = words[at++] + 2;
        if (strcmp(name, "json") == 0) {
            json_path = words[at];
        } else if (!set_option(common_options, name, words[at]) &&
                   !set_option(own_options(), name, words[at])) {
            misused("no such option", name);
        }
    }
}

/* The run's own command, with what the environment says to weir. */
static void print_command(FILE *file)
{
    for (char **at = environ; *at; at++) {
        if (strncmp(*at, "WEIR_", 5) == 0 || strncmp(*at, "FAKECUDA=", 9) == 0)
            fprintf(file, "%s ", *at);
    }
    fprintf(file, "%s", spec->name);
    for (const struct stress_option *at = common_options; at->name; at++)
        fprintf(file, " --%s %llu", at->name, (unsigned long long)*at->value);
    for (const struct stress_option *at = own_options(); at->name; at++)
        fprintf(file, " --%s %llu", at->name, (unsigned long long)*at->value);
    fprintf(file, "\n");
}

/*
 * The emulated device says through the log what was misused, or still alive at its end. Of the rest a few lines
 * are shown: a program that lets growth fail on purpose hears of it often.
 */
static void hear(void *ctx, uint32_t level, const char *component, const char *message)
{
    static _Atomic uint32_t shown;
    (void)ctx;
    if (level == WEIR_LOG_ERROR || wi_add(&shown, 1, relaxed) < LINES_SHOWN)
        fprintf(stderr, "weir: %s: %s\n", component, message);
    stress_require(level > WEIR_LOG_WARN || strcmp(component, "device") != 0 ||
                       wi_load(&loss_expected, relaxed),
                   "%s", message);
}

void stress_expect_loss(void)
{
    wi_store(&loss_expected, true, relaxed);
}

void stress_begin(const struct stress_spec *given, int count, char **words)
{
    pthread_condattr_t clock;
    spec = given;
    begin_ns = weir_clock_ns();
    seed = (begin_ns ^ (uint64_t)getpid() << 40) % 1000000000; /* short enough to be typed */
    seconds = spec->seconds;
    threads = spec->threads;
    read_words(count, words);
    if (threads < 1 || threads > THREADS_MAX) misused("threads must be 1 to 4096", "--threads");
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&changed, &clock);
    pthread_condattr_destroy(&clock);
    weir_log_set(hear, NULL);
    print_command(stdout);
    fflush(stdout);
}

uint64_t stress_seed(void)
{
    return seed;
}

uint64_t stress_seconds(void)
{
    return seconds;
}

uint64_t stress_threads(void)
{
    return threads;
}

/* ---- results ---- */

void stress_note(const char *name, double value)
{
    pthread_mutex_lock(&lock);
    if (notes_count < NOTES_MAX) notes[notes_count++] = (struct note){name, value};
    pthread_mutex_unlock(&lock);
}

static void write_json(const char *result)
{
    if (!json_path) return;
    bool  to_output = strcmp(json_path, "-") == 0;
    FILE *file = to_output ? stdout : fopen(json_path, "w");
    if (!file) {
        fprintf(stderr, "%s: %s: %s\n", spec->name, json_path, strerror(errno));
        return;
    }
    fprintf(file,
            "{\"program\": \"%s\", \"result\": \"%s\", \"seed\": %llu, \"threads\": %llu, "
            "\"seconds\": %.3f",
            spec->name, result, (unsigned long long)seed, (unsigned long long)threads,
            (double)(weir_clock_ns() - begin_ns) / 1e9);
    for (unsigned at = 0; at < notes_count; at++)
        fprintf(file, ", \"%s\": %.15g", notes[at].name, notes[at].value);
    fprintf(file, "}\n");
    if (to_output) {
        fflush(file);
    } else {
        fclose(file);
    }
}

int stress_end(void)
{
    pthread_mutex_lock(&lock);
    bool watched = watching;
    watching = false;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    if (watched) pthread_join(watch_thread, NULL);
    for (unsigned at = 0; at < notes_count; at++)
        printf("  %-28s %.15g\n", notes[at].name, notes[at].value);
    printf("%s: passed in %.1f s\n", spec->name, (double)(weir_clock_ns() - begin_ns) / 1e9);
    write_json("passed");
    for (unsigned at = 0; at < members_count; at++) free(members[at]);
    members_count = 0;
    weir_log_set(NULL, NULL);
    return 0;
}

/* ---- failing ---- */

#define STORY_SECONDS 2

static void print_members(FILE *file)
{
    for (unsigned at = 0; at < members_count; at++) {
        const struct stress_thread *self = &members[at]->self;
        const char                 *doing = wi_load(&self->doing, relaxed);
        if (doing)
            fprintf(file, "  thread %u: %s, step %llu\n", self->index, doing,
                    (unsigned long long)wi_load(&self->steps, relaxed));
    }
}

/* The story may want a lock that the failing thread, or one that it has stopped, holds: then it ends here. */
static void cut_short(int signal)
{
    (void)signal;
    _exit(1);
}

/* The first failure tells its story; what fails meanwhile in other threads only waits for the end. */
static _Noreturn void finish_failure(void)
{
    signal(SIGALRM, cut_short);
    alarm(STORY_SECONDS);
    write_json("failed"); /* first: the story may be cut short */
    print_members(stderr);
    fprintf(stderr, "  again: ");
    print_command(stderr);
    stress_print_pools(stderr);
    fflush(NULL);
    _exit(1); /* other threads are still at it: no destructors */
}

static bool first_failure(void)
{
    static _Atomic bool failed;
    if (!wi_exchange(&failed, true, acq_rel)) return true;
    for (;;) stress_sleep_ns(NS_PER_S);
}

void stress_fail(const char *file, int line, const char *promise, const char *format, ...)
{
    va_list arguments;
    (void)first_failure();
    fprintf(stderr, "%s: FAILED at %s:%d: %s:", spec->name, file, line, promise);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\n");
    finish_failure();
}

void stress_fail_weir(const char *file, int line, const char *call, int err)
{
    char text[512] = "";
    (void)first_failure();
    (void)weir_error_text(text, sizeof(text));
    fprintf(stderr, "%s: FAILED at %s:%d: %s answered %s; this thread's last failure is %s\n",
            spec->name, file, line, call, weir_errname(err), text);
    finish_failure();
}

/* ---- the watch ---- */

static struct timespec timespec_of(uint64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};
}

static uint64_t steps_locked(void)
{
    uint64_t steps = 0;
    for (unsigned at = 0; at < members_count; at++)
        steps += wi_load(&members[at]->self.steps, relaxed);
    return steps;
}

static void *watch_main(void *arg)
{
    uint64_t steps_before = 0;
    uint64_t moved_ns = weir_clock_ns();
    (void)arg;
    pthread_mutex_lock(&lock);
    while (watching) {
        struct timespec at = timespec_of(weir_clock_ns() + WATCH_PERIOD_NS);
        (void)pthread_cond_timedwait(&changed, &lock, &at);
        uint64_t steps = steps_locked();
        bool     working = alive > 0;
        pthread_mutex_unlock(&lock);
        uint64_t now_ns = weir_clock_ns();
        if (steps != steps_before || !working) moved_ns = now_ns;
        steps_before = steps;
        stress_require(hang_s == 0 || now_ns - moved_ns < hang_s * NS_PER_S,
                       "no thread has made a step for %llu s", (unsigned long long)hang_s);
        stress_watch_pools(WATCH_PERIOD_NS);
        pthread_mutex_lock(&lock);
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}

/* ---- threads ---- */

static void *member_main(void *arg)
{
    struct member *member = arg;
    pthread_mutex_lock(&lock);
    while (!open_gate) pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    member->work(&member->self);
    stress_doing(&member->self, NULL);
    pthread_mutex_lock(&lock);
    alive--;
    if (alive == 0) pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return NULL;
}

static struct member *new_member(stress_work_fn *work, void *ctx, unsigned number)
{
    struct member *member = aligned_alloc(_Alignof(struct member), sizeof(*member));
    stress_require(member && members_count < THREADS_MAX);
    memset(member, 0, sizeof(*member));
    member->self.ctx = ctx;
    member->self.index = members_count;
    member->self.number = number;
    member->self.random = (seed + members_count) * UINT64_C(0xD1342543DE82EF95);
    member->work = work;
    members[members_count++] = member;
    return member;
}

void stress_start(stress_work_fn *work, void *ctx, uint64_t count)
{
    pthread_attr_t small;
    pthread_attr_init(&small);
    (void)pthread_attr_setstacksize(&small, STACK_BYTES);
    pthread_mutex_lock(&lock);
    for (uint64_t number = 0; number < count; number++) {
        struct member *member = new_member(work, ctx, (unsigned)number);
        alive++;
        int err = pthread_create(&member->thread, &small, member_main, member);
        stress_require(err == 0, "thread %u: %s", member->self.index, strerror(err));
    }
    if (!watching) {
        /* The program's signals are for the program's threads. */
        sigset_t all, before;
        sigfillset(&all);
        (void)pthread_sigmask(SIG_SETMASK, &all, &before);
        watching = true;
        stress_require(pthread_create(&watch_thread, &small, watch_main, NULL) == 0);
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    pthread_mutex_unlock(&lock);
    pthread_attr_destroy(&small);
}

void stress_go(void)
{
    pthread_mutex_lock(&lock);
    open_gate = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

void stress_join_for(uint64_t ns)
{
    static unsigned joined;
    uint64_t        deadline_ns = weir_deadline_after_ns(ns);
    struct timespec at = timespec_of(deadline_ns);
    stress_go();
    pthread_mutex_lock(&lock);
    while (alive > 0 && !wi_load(&stopping, relaxed) && weir_clock_ns() < deadline_ns)
        (void)pthread_cond_timedwait(&changed, &lock, &at);
    pthread_mutex_unlock(&lock);
    wi_store(&stopping, true, relaxed);
    for (; joined < members_count; joined++) pthread_join(members[joined]->thread, NULL);
    open_gate = false; /* another group may follow */
    wi_store(&stopping, false, relaxed);
}

void stress_join(void)
{
    stress_join_for(seconds * NS_PER_S);
}

void stress_stop(void)
{
    pthread_mutex_lock(&lock);
    wi_store(&stopping, true, relaxed);
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

bool stress_going(const struct stress_thread *self)
{
    (void)self;
    return !wi_load(&stopping, relaxed);
}

/* ---- time ---- */

void stress_sleep_ns(uint64_t ns)
{
    struct timespec left = timespec_of(ns);
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}

static void spin(uint64_t rounds)
{
    for (uint64_t at = 0; at < rounds; at++) __asm__ volatile("" ::: "memory");
}

static double measure_rounds_per_ns(void)
{
    double best = 0;
    for (int attempt = 0; attempt < 9; attempt++) {
        uint64_t start_ns = weir_clock_ns();
        spin(200000);
        double speed = 200000.0 / (double)(weir_clock_ns() - start_ns);
        if (speed > best) best = speed;
    }
    return best;
}

void stress_spin_ns(uint64_t ns)
{
    static _Atomic uint64_t rounds_per_us;
    uint64_t                speed = wi_load(&rounds_per_us, relaxed);
    if (speed == 0) {
        speed = (uint64_t)(measure_rounds_per_ns() * 1000);
        if (speed == 0) speed = 1;
        wi_store(&rounds_per_us, speed, relaxed);
    }
    spin(ns * speed / 1000);
}

void stress_pause(struct stress_thread *self)
{
    uint64_t roll = stress_random(self);
    switch (roll % 256) {
    case 0:
        stress_sleep_ns(1000 + (roll >> 8) % 200000);
        break;
    case 1:
    case 2:
        sched_yield();
        break;
    case 3:
    case 4:
    case 5:
        spin((roll >> 8) % 20000);
        break;
    default:
        break;
    }
}
