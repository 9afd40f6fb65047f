/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hazard_yardstick.c - is the learned ranking at least as good as plain recency?
 *
 * Right after a change of load the model is wrong for a while, and recency is not. The difference in
 * touches served is summed over windows. Windows are taken for independent draws, so the sum of their
 * squares is the variance of the lead; behind by more than DOUBT times its root is not chance.
 */
#include "tier/hazard.h"

#include "base/alloc.h"

#include <math.h>
#include <string.h>

#define WINDOW_TICKS  (5 * WI_HAZARD_TICKS_PER_S)
#define MEMORY_HALF_S 600.0
#define DOUBT         2.0
/* How long recency rules before the model gets another chance. */
#define RECENCY_TICKS (600 * WI_HAZARD_TICKS_PER_S)

/* Ages are counted in cells: exact below CELLS, then CELLS / 2 to an octave (an error below 1 %). */
#define CELLS      128
#define CELL_COUNT (CELLS + (32 - 7) * CELLS / 2)

static unsigned cell_of(uint32_t age)
{
    if (age < CELLS) return age;
    unsigned octave = 31 - (unsigned)__builtin_clz(age);
    unsigned shift = octave - 6;
    return CELLS + (octave - 7) * (CELLS / 2) + ((age >> shift) - CELLS / 2);
}

static uint64_t cell_start(unsigned cell)
{
    if (cell < CELLS) return cell;
    unsigned octave = 7 + (cell - CELLS) / (CELLS / 2);
    return (uint64_t)(CELLS / 2 + (cell - CELLS) % (CELLS / 2)) << (octave - 6);
}

int wi_hazard_yardstick_init(struct wi_hazard_yardstick *yardstick)
{
    *yardstick = (struct wi_hazard_yardstick){.age_max = UINT32_MAX, .window_end = WINDOW_TICKS};
    yardstick->ages = wi_calloc(CELL_COUNT, sizeof *yardstick->ages);
    if (!yardstick->ages)
        return WI_FAIL(NOMEM, .call = "calloc", .detail = "no memory for the counts of ages",
                       .wanted = CELL_COUNT * sizeof *yardstick->ages);
    return 0;
}

void wi_hazard_yardstick_fini(struct wi_hazard_yardstick *yardstick)
{
    wi_free(yardstick->ages);
    *yardstick = (struct wi_hazard_yardstick){0};
}

void wi_hazard_yardstick_begin(struct wi_hazard_yardstick *yardstick)
{
    memset(yardstick->ages, 0, CELL_COUNT * sizeof *yardstick->ages);
}

void wi_hazard_yardstick_add(struct wi_hazard_yardstick *yardstick, uint32_t age)
{
    yardstick->ages[cell_of(age)]++;
}

void wi_hazard_yardstick_end(struct wi_hazard_yardstick *yardstick, size_t capacity)
{
    uint64_t younger = 0;
    yardstick->age_max = UINT32_MAX;
    for (unsigned cell = 0; cell < CELL_COUNT; cell++) {
        uint64_t here = yardstick->ages[cell];
        if (younger + here <= capacity) {
            younger += here;
            continue;
        }
        double start = (double)cell_start(cell);
        double width = (double)cell_start(cell + 1) - start;
        yardstick->age_max = (uint32_t)(start + width * (double)(capacity - younger) / (double)here);
        return;
    }
}

bool wi_hazard_yardstick_turn(struct wi_hazard_yardstick *yardstick, uint32_t now)
{
    if (now < yardstick->window_end) return false;
    double keep = exp2(-(double)WINDOW_TICKS / WI_HAZARD_TICKS_PER_S / MEMORY_HALF_S);
    yardstick->lead = yardstick->lead * keep + yardstick->window;
    yardstick->noise = yardstick->noise * keep * keep + yardstick->window * yardstick->window;
    yardstick->window = 0;
    yardstick->window_end = now + WINDOW_TICKS;
    if (yardstick->recency_until) {
        if (now < yardstick->recency_until) return false;
        yardstick->recency_until = 0;
        yardstick->lead = yardstick->noise = 0;
        return true;
    }
    if (yardstick->lead >= -DOUBT * sqrt(yardstick->noise)) return false;
    yardstick->recency_until = now + RECENCY_TICKS;
    return true;
}
