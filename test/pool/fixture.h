/* SPDX-License-Identifier: Apache-2.0 */
/* fixture.h - a runtime on the host backend for tests of the public interface */
#ifndef TEST_POOL_FIXTURE_H
#define TEST_POOL_FIXTURE_H

#include <criterion/criterion.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <weir/weir.h>

/* Assert success; a failure shows weir's own text. */
#define ok(call)                                                                                   \
    do {                                                                                           \
        int ok_ = (call);                                                                          \
        if (ok_ < 0) {                                                                             \
            char text_[512];                                                                       \
            (void)weir_error_text(text_, sizeof text_);                                            \
            cr_assert_fail("%s: %s", #call, text_);                                                \
        }                                                                                          \
    } while (0)

#define answers(call, code)                                                                        \
    do {                                                                                           \
        int answer_ = (call);                                                                      \
        cr_assert_eq(answer_, WEIR_E##code, "%s answered %s", #call, weir_errname(answer_));       \
    } while (0)

/* Is it the same buffer? Under WEIR_CHECK=2 each lease of it has an address of its own. */
static inline bool same(const struct weir_buffer *one, const struct weir_buffer *other)
{
    return one->host == other->host;
}

static inline struct weir_runtime *make_runtime(void)
{
    struct weir_runtime *rt;
    ok(weir_runtime_create(NULL, &rt));
    return rt;
}

static inline struct weir_pool_stats pool_stats(struct weir_pool *pool)
{
    struct weir_pool_stats stats = {.struct_size = sizeof stats};
    ok(weir_pool_stats_read(pool, &stats));
    return stats;
}

/* The law of conservation, at rest. */
static inline void assert_law(struct weir_pool *pool)
{
    struct weir_pool_stats stats = pool_stats(pool);
    cr_assert_eq(stats.total, stats.leased + stats.free + stats.retiring + stats.quarantined,
                 "total %lu leased %lu free %lu retiring %lu quarantined %lu", (unsigned long)stats.total,
                 (unsigned long)stats.leased, (unsigned long)stats.free, (unsigned long)stats.retiring,
                 (unsigned long)stats.quarantined);
}

/* End a forked child. What it has run counts for coverage, which _exit() alone would forget. */
#ifdef WEIR_COVERAGE
void __gcov_dump(void);
#endif

_Noreturn static inline void leave_child(int code)
{
#ifdef WEIR_COVERAGE
    __gcov_dump();
#endif
    _exit(code);
}

/* From here on the calling thread stays on the CPU that it is on, so that one slot is its own. */
static inline void stay_here(void)
{
    cpu_set_t here;
    CPU_ZERO(&here);
    CPU_SET(sched_getcpu(), &here);
    cr_assert_eq(sched_setaffinity(0, sizeof here, &here), 0);
}

/* Wait for something that another thread brings about, at most a minute: a machine may be slow. */
#define eventually(condition)                                                                      \
    do {                                                                                           \
        uint64_t until_ = weir_deadline_after_ns(UINT64_C(60000000000));                           \
        while (!(condition)) {                                                                     \
            cr_assert(weir_clock_ns() < until_, "never came true: %s", #condition);                \
            nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);                                \
        }                                                                                          \
    } while (0)

#endif
