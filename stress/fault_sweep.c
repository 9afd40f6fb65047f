/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault_sweep.c - every driver call, allocation and system call of a runtime's life fails once, at each use
 *
 * Imitates a driver and a system under stress: out of memory at the worst moment, limits, a device that dies.
 * For each call the first use fails in one life, the second in the next, and so on until a life goes by without
 * the failure. fault_cycle.h says what a life is, and what must hold whatever failed. After each failure that is no
 * loss another life must go by unharmed, and leave as much memory behind as lives did before: none.
 *
 *     fault_sweep [--part driver|lost|load|memory|system] [--only call] [--stride n] [--verbose]
 *                 [--plant leak|object|reuse|silence]      a bug that it must find
 *
 * A few minutes for everything; --stride 5 takes every fifth use, and of a driver call's results one in turn.
 * Children do the work, because a lost device and a driver that did not load stay so. Exit code: 0 all is well, 1 a promise was broken.
 */
#include "fault_cycle.h"
#include "fault_system.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIFE_SECONDS 100 /* one that takes longer hangs */
#define LEAK_TURNS   3

enum { CHILD_DONE = 0, CHILD_BROKEN = 1, CHILD_GO_ON = 10 };

/* How a call that fails is tried. */
struct target {
    const char *call;      /* symbol of the driver; NULL: a system call */
    uint32_t    result;    /* of the driver */
    uint32_t    flags;     /* of the driver double */
    uint32_t    system;    /* enum fault_call */
    uint64_t    uses_most; /* 0: all; polls have as many uses as the machine is slow */
    bool        cold;      /* a process has this use in its first life only */
    bool        silent_ok;
    bool        fresh; /* each failure leaves something in the process: a child each */
};

/* Written by the child, read by the parent. */
struct progress {
    uint64_t nth;
    uint64_t points;
    uint64_t leaks;
};

static struct progress *progress;
static struct target    now;
static struct fakecuda  driver;
static uint64_t         stride = 1;
static bool             verbose;
static enum fault_plant plant;

static const char *target_name(const struct target *target)
{
    return target->call ? target->call : fault_call_name(target->system);
}

void fault_broken(const char *format, ...)
{
    va_list arguments;
    fprintf(stderr, "fault_sweep: use %lu of %s, result %u: ", (unsigned long)progress->nth, target_name(&now),
            now.result);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    _exit(CHILD_BROKEN);
}

/* ---- sources of faults ---- */

static uint64_t driver_fired(const char **call, int32_t *thread)
{
    struct fakecuda_fired fired;
    driver.fired(&fired);
    *call = fired.symbol ? fired.symbol : "";
    *thread = fired.thread;
    return fired.count;
}

/* An allocation is named by its failure's code and not by its function. */
static uint64_t system_fired(const char **call, int32_t *thread)
{
    *call = now.system == FAULT_allocation ? "NOMEM" : fault_call_name(now.system);
    return fault_system_fired(thread);
}

static const struct fault_source from_driver = {driver_fired};
static const struct fault_source from_system = {system_fired};

static void arm(uint64_t nth)
{
    if (now.call) {
        struct fakecuda_fault fault = {.symbol = now.call, .nth = nth, .result = now.result, .flags = now.flags};
        driver.clear();
        if (nth > 0) driver.fail(&fault);
    } else {
        fault_system_arm(now.system, nth);
    }
}

static struct fault_cycle live(uint64_t nth)
{
    struct fault_cycle cycle = {
        .driver = &driver,
        .source = now.call ? &from_driver : &from_system,
        .silent_ok = now.silent_ok,
        .loses = now.flags & FAKECUDA_STICKY,
        .plant = plant,
    };
    alarm(LIFE_SECONDS);
    arm(nth);
    fault_cycle_run(&cycle);
    arm(0);
    alarm(0);
    return cycle;
}

/* ---- leaks of memory ---- */

static int64_t blocks_before, bytes_before;

static void remember(void)
{
    blocks_before = fault_blocks_live();
    bytes_before = fault_bytes_mapped();
}

static bool leaks(void)
{
    return fault_blocks_live() > blocks_before || fault_bytes_mapped() > bytes_before;
}

/*
 * What is kept for reuse depends on how many things were alive at one time, so once is no leak. If each
 * further turn of the same failure leaves more behind, it is one.
 */
static void check_leaks(uint64_t nth)
{
    if (!leaks()) return;
    /* An address range that munmap refused is lost by that. */
    if (!now.call && now.system == FAULT_munmap) return remember();
    int64_t blocks[LEAK_TURNS], bytes[LEAK_TURNS];
    for (int i = 0; i < LEAK_TURNS; i++) {
        (void)live(nth);
        (void)live(0);
        blocks[i] = fault_blocks_live();
        bytes[i] = fault_bytes_mapped();
    }
    bool more_blocks = blocks[0] > blocks_before, more_bytes = bytes[0] > bytes_before;
    for (int i = 1; i < LEAK_TURNS; i++) {
        more_blocks &= blocks[i] > blocks[i - 1];
        more_bytes &= bytes[i] > bytes[i - 1];
    }
    if (more_blocks || more_bytes)
        fault_broken("each turn leaves %ld blocks and %ld mapped bytes more behind",
                     (long)(blocks[LEAK_TURNS - 1] - blocks[0]) / (LEAK_TURNS - 1),
                     (long)(bytes[LEAK_TURNS - 1] - bytes[0]) / (LEAK_TURNS - 1));
    remember();
}

/* ---- children ---- */

/* What a child has run counts, too: _exit() would forget it. */
#ifdef WEIR_COVERAGE
void __gcov_dump(void);
static void keep_counts(void)
{
    __gcov_dump();
}
#else
static void keep_counts(void)
{
}
#endif

_Noreturn static void work(void)
{
    if (!fakecuda_open(FAKECUDA_LIBRARY, &driver)) fault_broken("cannot open %s", FAKECUDA_LIBRARY);
    /* The address is asked for only where the driver does not promise that it is the host's. */
    bool        asks = now.call && strcmp(now.call, "cuMemHostGetDevicePointer") == 0;
    const char *config = asks ? "latency=0us,host_pointer=0" : "latency=0us";
    if (driver.configure(config) != 0) fault_broken("the double is not to be configured");
    for (int i = 0; !now.cold && i < 2; i++) (void)live(0);
    remember();
    for (;; progress->nth += stride) {
        if (now.uses_most && progress->nth > now.uses_most) exit(CHILD_DONE);
        struct fault_cycle cycle = live(progress->nth);
        if (!cycle.fired) exit(CHILD_DONE);
        progress->points++;
        /* Memory that stays with the device is no leak; a leak checker would think so. */
        if (cycle.abandoned || cycle.lost || cycle.left || now.fresh || now.cold || (now.flags & FAKECUDA_STICKY)) {
            keep_counts();
            _exit(CHILD_GO_ON);
        }
        (void)live(0);
        check_leaks(progress->nth);
    }
}

/* 0, or 1 if a promise was broken. */
static int sweep(const struct target *target)
{
    uint64_t points_before = progress->points, begin_ns = weir_clock_ns();
    int      broken = 0, status;
    now = *target;
    progress->nth = 1;
    while (!broken) {
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) work();
        if (child < 0 || waitpid(child, &status, 0) != child) {
            broken = 1;
        } else if (WIFSIGNALED(status)) {
            fprintf(stderr, "fault_sweep: use %lu of %s, result %u: %s\n", (unsigned long)progress->nth,
                    target_name(target), target->result,
                    WTERMSIG(status) == SIGALRM ? "hangs" : strsignal(WTERMSIG(status)));
            broken = 1;
        } else if (WEXITSTATUS(status) == CHILD_GO_ON) {
            progress->nth += stride;
        } else {
            broken = WEXITSTATUS(status) != CHILD_DONE;
            break;
        }
    }
    if (verbose || broken)
        printf("%-34s result %3u%-7s %5lu points, %5lu ms%s\n", target_name(target), target->result,
               target->flags & FAKECUDA_STICKY ? " sticky" : "", (unsigned long)(progress->points - points_before),
               (unsigned long)((weir_clock_ns() - begin_ns) / WI_NS_PER_MS), broken ? "  BROKEN" : "");
    return broken;
}

/* ---- what is swept ---- */

#define POLLS_MOST 40

/* Every function of the driver that weir knows. One that a life does not use costs one life. */
static const char *const symbols[] = {
#define X(field, symbol, version, need, arguments) #symbol,
    WI_CU_SYMBOLS(X)
#undef X
};

/* Loading is swept apart; a symbol with two forms is in the list twice. */
static bool is_swept(size_t at)
{
    if (strcmp(symbols[at], "cuInit") == 0 || strcmp(symbols[at], "cuDriverGetVersion") == 0) return false;
    return at == 0 || strcmp(symbols[at], symbols[at - 1]) != 0;
}

/* What weir can do without: pressure, a sample's time, and the number of a priority that the driver clamped. */
static bool may_be_silent(const char *symbol)
{
    return strcmp(symbol, "cuMemGetInfo") == 0 || strcmp(symbol, "cuEventElapsedTime") == 0 ||
           strcmp(symbol, "cuStreamGetPriority") == 0;
}

static bool is_poll(const char *symbol)
{
    return strcmp(symbol, "cuEventQuery") == 0 || strncmp(symbol, "cuCtx", 5) == 0 ||
           strncmp(symbol, "cuThread", 8) == 0;
}

struct plan {
    const char *part; /* NULL: all */
    const char *only; /* NULL: all */
};

#define RESULTS    3
#define EVERY_TURN RESULTS /* this result is for each call, whatever the stride */

static int sweep_driver(const struct plan *plan, size_t turn, uint32_t result, uint32_t flags)
{
    int broken = 0;
    for (size_t i = 0; i < WI_ARRAY_COUNT(symbols); i++) {
        struct target target = {.call = symbols[i], .result = result, .flags = flags,
                                .uses_most = is_poll(symbols[i]) ? POLLS_MOST : 0,
                                /* A context that was not popped stays on the thread's stack. */
                                .fresh = strcmp(symbols[i], "cuCtxPopCurrent") == 0,
                                .silent_ok = may_be_silent(symbols[i])};
        if (!is_swept(i) || (stride > 1 && turn < RESULTS && i % RESULTS != turn)) continue;
        if (!plan->only || strcmp(plan->only, symbols[i]) == 0) broken += sweep(&target);
    }
    return broken;
}

/* Loading happens once in a process. A symbol that weir can do without may be missing in silence. */
static int sweep_load(const struct plan *plan)
{
    static const char *const loading[] = {"cuInit", "cuDriverGetVersion", "cuGetProcAddress"};
    static const uint32_t    results[] = {WI_CU_OUT_OF_MEMORY, WI_CU_STUB_LIBRARY, WI_CU_UNKNOWN};
    int                      broken = 0;
    for (size_t i = 0; i < WI_ARRAY_COUNT(loading); i++) {
        for (size_t j = 0; j < WI_ARRAY_COUNT(results); j++) {
            struct target target = {.call = loading[i], .result = results[j], .cold = true, .silent_ok = i > 0};
            if (!plan->only || strcmp(plan->only, loading[i]) == 0) broken += sweep(&target);
        }
    }
    return broken;
}

static int sweep_system(const struct plan *plan, enum fault_call from, enum fault_call to)
{
    int broken = 0;
    for (enum fault_call call = from; call <= to; call++) {
        for (int cold = 0; cold < 2; cold++) {
            /* A sleep that ends early is not told of; memory may be populated later, helpers done without. */
            struct target target = {.system = call, .cold = cold, .silent_ok = true, .uses_most = cold ? 40 : 0};
            if (call == FAULT_futex) target.uses_most = POLLS_MOST;
            if (!plan->only || strcmp(plan->only, fault_call_name(call)) == 0) broken += sweep(&target);
        }
    }
    return broken;
}

static bool chosen(const struct plan *plan, const char *part)
{
    return !plan->part || strcmp(plan->part, part) == 0;
}

static int run_plan(const struct plan *plan)
{
    int broken = 0;
    if (chosen(plan, "driver")) {
        static const uint32_t results[RESULTS] = {WI_CU_OUT_OF_MEMORY, WI_CU_NOT_SUPPORTED, WI_CU_UNKNOWN};
        for (size_t turn = 0; turn < RESULTS; turn++)
            broken += sweep_driver(plan, turn, results[turn], 0);
    }
    if (chosen(plan, "lost")) broken += sweep_driver(plan, EVERY_TURN, WI_CU_ILLEGAL_ADDRESS, FAKECUDA_STICKY);
    if (chosen(plan, "load")) broken += sweep_load(plan);
    if (chosen(plan, "memory")) broken += sweep_system(plan, FAULT_allocation, FAULT_allocation);
    if (chosen(plan, "system")) broken += sweep_system(plan, FAULT_mmap, FAULT_CALLS_COUNT - 1);
    return broken;
}

int main(int argc, char **argv)
{
    struct plan plan = {0};
    for (int at = 1; at < argc; at++) {
        const char *value = at + 1 < argc ? argv[at + 1] : NULL;
        if (strcmp(argv[at], "--verbose") == 0) {
            verbose = true;
        } else if (value && strcmp(argv[at], "--part") == 0) {
            plan.part = argv[++at];
        } else if (value && strcmp(argv[at], "--only") == 0) {
            plan.only = argv[++at];
        } else if (value && strcmp(argv[at], "--plant") == 0) {
            static const char *const plants[] = {"none", "leak", "object", "reuse", "silence"};
            at++;
            for (plant = 0; plant < FAULT_PLANTS_COUNT && strcmp(argv[at], plants[plant]) != 0;) plant++;
            if (plant == FAULT_PLANTS_COUNT) return 2;
        } else if (value && strcmp(argv[at], "--stride") == 0) {
            stride = strtoull(argv[++at], NULL, 10);
        } else {
            fprintf(stderr, "usage: fault_sweep [--part driver|lost|load|memory|system] [--only call] [--stride n] "
                            "[--plant leak|object|reuse|silence] [--verbose]\n");
            return 2;
        }
    }
    if (stride == 0) stride = 1;
    progress = mmap(NULL, sizeof *progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (progress == MAP_FAILED) return 2;
    /* The monitor's and the keeper's own pace must not decide; what is logged is looked at. */
    (void)setenv("WEIR_CUDA_LIBRARY", FAKECUDA_LIBRARY, 1);
    (void)setenv("WEIR_LOG", "debug", 1);
    int broken = run_plan(&plan);
    printf("fault_sweep: %lu fault points, %d broken\n", (unsigned long)progress->points, broken);
    if (progress->points == 0) return 1;
    return broken ? 1 : 0;
}
