/* SPDX-License-Identifier: Apache-2.0 */
/* random.h - numbers that a seed fixes. Method: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014). */
#ifndef WEIR_TOOL_RANDOM_H
#define WEIR_TOOL_RANDOM_H

#include <stdint.h>

#define RANDOM_STRIDE UINT64_C(0x9e3779b97f4a7c15)

static inline uint64_t random_mix(uint64_t value)
{
    value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
    return value ^ (value >> 31);
}

static inline uint64_t random_next(uint64_t *state)
{
    *state += RANDOM_STRIDE;
    return random_mix(*state);
}

/* In (0, 1): never 0, so that a logarithm may be taken. */
static inline double random_unit(uint64_t *state)
{
    return ((double)(random_next(state) >> 11) + 0.5) / 9007199254740992.0;
}

#endif
