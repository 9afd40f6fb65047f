/* SPDX-License-Identifier: Apache-2.0 */
/* progress.h - one line that says how far a long run is; on a terminal only */
#ifndef WEIR_TOOL_PROGRESS_H
#define WEIR_TOOL_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct progress {
    FILE *out;
    bool (*interrupted)(void); /* NULL: never */
    bool  live; /* out is a terminal */
    bool  shown;
};

struct progress_line {
    const char *name;
    uint64_t    done;
    uint64_t    whole; /* requests in all; 0: not known */
    const char *unit;  /* NULL: requests */
    uint64_t    elapsed_ns;
    uint64_t    limit_ns; /* time that the run may take; 0: no limit */
    uint64_t    p99_ns; /* 0: not said, nor is retiring */
    uint64_t    retiring;
};

/* A bar of what is done: "[######....]". */
#define PROGRESS_BAR_BYTES 33
const char *progress_bar(double share, char text[PROGRESS_BAR_BYTES]);

void progress_init(struct progress *progress, FILE *out);
void progress_show(struct progress *progress, const struct progress_line *line);

/* As progress_show(), for work that is over when a time is: shown after two seconds. */
void progress_time(struct progress *progress, const char *name, uint64_t elapsed_ns, uint64_t whole_ns);

/* Memory is being pinned. The line is renewed ten times a second. */
struct progress_pinning {
    struct progress *progress;
    const char      *name; /* of the pool */
    uint64_t         shown_ns;
};

/*
 * progress_pin - a weir_progress_fn; ctx is a struct progress_pinning
 *
 * Answers nonzero, which cancels the pinning, once the run has been interrupted.
 */
int progress_pin(void *ctx, size_t bytes_ready, size_t bytes_total);

/* Remove the line, so that other output starts in the first column. */
void progress_clear(struct progress *progress);

/* Time left in nanoseconds, by the requests done and by the limit; UINT64_MAX: not known yet. */
uint64_t progress_left_ns(const struct progress_line *line);

#endif
