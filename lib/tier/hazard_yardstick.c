/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hazard_yardstick.c - is the learned ranking at least as good as plain recency?
 *
 * Right after a change of load the model is wrong for a while, and recency is not. The difference in
 * touches served is summed over windows. Windows are taken for independent draws, so the sum of their
 * squares is the variance of the lead; behind by more than DOUBT times its root is not chance.
 */
#include "tier/hazard.h"

#include <math.h>

#define WINDOW_TICKS  (5 * WI_HAZARD_TICKS_PER_S)
#define MEMORY_HALF_S 600.0
#define DOUBT         2.0
/* How long recency ranks before the model gets another chance. */
#define RECENCY_TICKS (600 * WI_HAZARD_TICKS_PER_S)

#define EXACT      128
#define PER_OCTAVE 64

static unsigned cell_of(uint32_t age)
{
    if (age < EXACT) return age;
    unsigned octave = 31 - (unsigned)__builtin_clz(age);
    return EXACT + (octave - 7) * PER_OCTAVE + ((age >> (octave - 6)) - PER_OCTAVE);
}

static uint64_t cell_start(unsigned cell)
{
    if (cell < EXACT) return cell;
    unsigned octave = 7 + (cell - EXACT) / PER_OCTAVE;
    return (uint64_t)(PER_OCTAVE + (cell - EXACT) % PER_OCTAVE) << (octave - 6);
}

void wi_hazard_ages_add(struct wi_hazard_ages *ages, uint32_t age)
{
    ages->count[cell_of(age)]++;
}

uint32_t wi_hazard_ages_find(const struct wi_hazard_ages *ages, size_t count)
{
    size_t younger = 0;
    for (unsigned cell = 0; cell < WI_HAZARD_AGE_CELLS; cell++) {
        size_t here = ages->count[cell];
        if (younger + here <= count) {
            younger += here;
            continue;
        }
        double start = (double)cell_start(cell);
        double width = (double)cell_start(cell + 1) - start;
        return (uint32_t)(start + width * (double)(count - younger) / (double)here);
    }
    return UINT32_MAX;
}

void wi_hazard_yardstick_init(struct wi_hazard_yardstick *yardstick)
{
    *yardstick =
        (struct wi_hazard_yardstick){.age_max = UINT32_MAX, .window_end = WINDOW_TICKS};
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
