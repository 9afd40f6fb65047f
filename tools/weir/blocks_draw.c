/* SPDX-License-Identifier: Apache-2.0 */
/* blocks_draw.c - block accesses without a file */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "blocks.h"
#include "random.h"

#define PROMPTS         8   /* shared by many chats */
#define PROMPT_BLOCKS   24
#define CHATS_PER_S     0.5
#define TURNS_MEAN      8.0
#define BLOCKS_PER_TURN 6
#define THINK_MEDIAN_S  20.0
#define THINK_SIGMA     1.0
#define NS_PER_S        1e9

struct turn {
    double   at_s;
    uint32_t prompt;
    uint32_t first; /* object of the chat's own first block */
    uint32_t own;   /* blocks of the chat after this turn */
};

struct turns {
    struct turn *turn;
    size_t       count, capacity;
};

/* Box and Muller. */
static double random_normal(uint64_t *seed)
{
    return sqrt(-2 * log(random_unit(seed))) * cos(6.283185307179586 * random_unit(seed));
}

static int add_turn(struct turns *turns, struct turn turn)
{
    if (turns->count == turns->capacity) {
        size_t       capacity = turns->capacity ? turns->capacity * 2 : 1024;
        struct turn *grown = realloc(turns->turn, capacity * sizeof *grown);
        if (!grown) return -1;
        turns->turn = grown;
        turns->capacity = capacity;
    }
    turns->turn[turns->count++] = turn;
    return 0;
}

static int by_time(const void *a, const void *b)
{
    double x = ((const struct turn *)a)->at_s, y = ((const struct turn *)b)->at_s;
    return (x > y) - (x < y);
}

/* Chats arrive at random; each has a number of turns with thinking between them. */
static int draw_turns(uint64_t *seed, double seconds, struct turns *turns, uint32_t *objects)
{
    uint32_t next = PROMPTS * PROMPT_BLOCKS;
    for (double begin_s = 0; begin_s < seconds; begin_s += -log(1 - random_unit(seed)) / CHATS_PER_S) {
        uint32_t prompt = (uint32_t)(random_unit(seed) * random_unit(seed) * PROMPTS); /* some are asked more often */
        uint32_t turns_here = 1 + (uint32_t)(-log(1 - random_unit(seed)) * TURNS_MEAN);
        double   at_s = begin_s;
        for (uint32_t i = 1; i <= turns_here && at_s < seconds; i++) {
            if (add_turn(turns, (struct turn){at_s, prompt, next, i * BLOCKS_PER_TURN}) < 0) return -1;
            at_s += THINK_MEDIAN_S * exp(THINK_SIGMA * random_normal(seed));
        }
        next += turns_here * BLOCKS_PER_TURN;
    }
    qsort(turns->turn, turns->count, sizeof *turns->turn, by_time);
    *objects = next;
    return 0;
}

int block_trace_draw(uint64_t seed, unsigned seconds, struct block_trace *out)
{
    struct turns       turns = {0};
    struct block_trace trace = {0};
    uint32_t           numbers;
    uint32_t          *object = NULL; /* number + 1 in the order of first access; 0: not yet */
    int                err = draw_turns(&seed, seconds, &turns, &numbers);
    size_t             accesses = 0;
    for (size_t i = 0; i < turns.count; i++) accesses += PROMPT_BLOCKS + turns.turn[i].own;
    if (err == 0) object = calloc(numbers, sizeof *object);
    if (err == 0) trace.access = calloc(accesses, sizeof *trace.access);
    if (!object || !trace.access) err = -1;
    for (size_t i = 0; err == 0 && i < turns.count; i++) {
        const struct turn *turn = &turns.turn[i];
        for (uint32_t block = 0; block < PROMPT_BLOCKS + turn->own; block++) {
            uint32_t number = block < PROMPT_BLOCKS ? turn->prompt * PROMPT_BLOCKS + block
                                                    : turn->first + block - PROMPT_BLOCKS;
            if (!object[number]) object[number] = (uint32_t)++trace.objects;
            trace.access[trace.count++] = (struct block_access){(uint64_t)(turn->at_s * NS_PER_S), object[number] - 1};
        }
    }
    trace.requests = turns.count;
    free(turns.turn);
    free(object);
    if (err < 0) {
        free(trace.access);
        return -1;
    }
    *out = trace;
    return 0;
}
