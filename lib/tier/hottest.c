/* SPDX-License-Identifier: Apache-2.0 */
/* hottest.c - which buffers of a tiered pool were touched most, for whoever wants to see it */
#include "tier/place.h"

/* Put one among the hottest so far. `count` of them are there, most touched first. Returns how many are there now. */
static size_t insert(struct wi_hot *hottest, size_t count, size_t room, const struct wi_hot *one)
{
    size_t at = count;
    while (at > 0 && hottest[at - 1].touches < one->touches) at--;
    if (at == room) return count;
    if (count < room) count++;
    for (size_t i = count - 1; i > at; i--) hottest[i] = hottest[i - 1];
    hottest[at] = *one;
    return count;
}

size_t wi_tier_hottest(const struct weir_pool *pool, struct wi_hot *out, size_t room)
{
    const struct wi_tier *tier = pool->tier;
    size_t                count = 0;
    if (room == 0) return 0;
    for (uint32_t i = 0; i < pool->store.records_max; i++) {
        const struct wi_record *record = &pool->store.records[i];
        uint64_t                touches = wi_load(&tier->touches[i], relaxed);
        if (touches == 0 || (count == room && touches <= out[count - 1].touches)) continue;
        if (wi_word_state(wi_load(&record->word, acquire)) != WI_LEASED) continue;
        struct wi_hot one = {.id = wi_record_index(record),
                             .touches = touches,
                             .tier = wi_place_tier(wi_load(&tier->place[i].word, relaxed))};
        count = insert(out, count, room, &one);
    }
    return count;
}
