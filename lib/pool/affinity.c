/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/affinity.h"

#include "base/alloc.h"

#define STREAM_BITS 16

int wi_affinity_init(struct wi_affinity *affinity, uint32_t keys_max, uint32_t streams)
{
    uint32_t sets = 1;
    wi_assert(streams < (1u << STREAM_BITS));
    while ((uint64_t)sets * WI_AFFINITY_WAYS < keys_max) sets *= 2;
    *affinity = (struct wi_affinity){.sets = sets, .streams = streams};
    affinity->entry = wi_calloc((size_t)sets * WI_AFFINITY_WAYS, sizeof *affinity->entry);
    affinity->bound = wi_calloc(streams, sizeof *affinity->bound);
    if (affinity->entry && affinity->bound) return 0;
    wi_affinity_fini(affinity);
    return WI_FAIL(NOMEM, .call = "calloc", .detail = "the table of affinity keys", .limit = "affinity_keys_max",
                   .limit_value = keys_max, .setting = "weir_runtime_opts.affinity_keys_max");
}

void wi_affinity_fini(struct wi_affinity *affinity)
{
    wi_free(affinity->entry);
    wi_free(affinity->bound);
    affinity->entry = NULL;
    affinity->bound = NULL;
}

/* A permutation of 64 bits. Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (OOPSLA 2014). */
static uint64_t scramble(uint64_t key)
{
    key = (key ^ (key >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    key = (key ^ (key >> 27)) * UINT64_C(0x94d049bb133111eb);
    return key ^ (key >> 31);
}

/* The set comes from the low bits, which an entry does not keep. */
static _Atomic uint64_t *set_of(const struct wi_affinity *affinity, uint64_t hash)
{
    return &affinity->entry[(hash & (affinity->sets - 1)) * WI_AFFINITY_WAYS];
}

static uint64_t entry_make(uint64_t hash, uint32_t stream)
{
    return (hash >> STREAM_BITS << STREAM_BITS) | (stream + 1);
}

static uint32_t entry_stream(uint64_t entry)
{
    return (uint32_t)(entry & ((1u << STREAM_BITS) - 1)) - 1;
}

uint32_t wi_affinity_find(const struct wi_affinity *affinity, uint64_t key)
{
    uint64_t          hash = scramble(key);
    _Atomic uint64_t *set = set_of(affinity, hash);
    for (uint32_t way = 0; way < WI_AFFINITY_WAYS; way++) {
        uint64_t entry = wi_load(&set[way], relaxed);
        if (entry && entry >> STREAM_BITS == hash >> STREAM_BITS) return entry_stream(entry);
    }
    return WI_AFFINITY_NONE;
}

static _Atomic uint64_t *empty_way(_Atomic uint64_t *set)
{
    for (uint32_t way = 0; way < WI_AFFINITY_WAYS; way++) {
        if (wi_load(&set[way], relaxed) == 0) return &set[way];
    }
    return NULL;
}

void wi_affinity_bind(struct wi_affinity *affinity, uint64_t key, uint32_t stream)
{
    uint64_t          hash = scramble(key);
    _Atomic uint64_t *set = set_of(affinity, hash);
    uint64_t          before;
    _Atomic uint64_t *place;
    wi_assert(stream < affinity->streams);
    do {
        place = empty_way(set);
        if (!place) place = &set[wi_add(&affinity->turn, 1, relaxed) % WI_AFFINITY_WAYS];
        before = wi_load(place, relaxed);
    } while (!wi_cas(place, &before, entry_make(hash, stream), relaxed));
    wi_add(&affinity->bound[stream], 1, relaxed);
    if (before == 0) {
        wi_add(&affinity->keys, 1, relaxed);
    } else {
        wi_sub(&affinity->bound[entry_stream(before)], 1, relaxed);
        wi_add(&affinity->evictions, 1, relaxed);
    }
}

uint32_t wi_affinity_clear(struct wi_affinity *affinity)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < affinity->sets * WI_AFFINITY_WAYS; i++) {
        if (wi_load(&affinity->entry[i], relaxed) == 0) continue;
        uint64_t entry = wi_exchange(&affinity->entry[i], 0, relaxed);
        if (entry == 0) continue;
        wi_sub(&affinity->bound[entry_stream(entry)], 1, relaxed);
        wi_sub(&affinity->keys, 1, relaxed);
        count++;
    }
    return count;
}
