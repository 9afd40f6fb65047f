/* SPDX-License-Identifier: Apache-2.0 */
/* hazard_cold.c - the coldest residents of a tier, by a walk that keeps no more than it needs */
#include "tier/hazard.h"

#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

int wi_hazard_cold_init(struct wi_hazard_cold *cold, size_t count_max)
{
    wi_assert(count_max > 0);
    *cold = (struct wi_hazard_cold){.count_max = count_max, .complete = true};
    cold->entries = wi_calloc(2 * count_max, sizeof *cold->entries);
    if (!cold->entries)
        return WI_FAIL(NOMEM, .call = "calloc", .detail = "no memory for the coldest residents",
                       .wanted = 2 * count_max * sizeof *cold->entries);
    return 0;
}

void wi_hazard_cold_fini(struct wi_hazard_cold *cold)
{
    wi_free(cold->entries);
    *cold = (struct wi_hazard_cold){0};
}

/* Bits in the order of the values; see IEEE 754, totalOrder. */
static uint32_t value_order(double value)
{
    float    narrow = (float)value;
    uint32_t bits;
    memcpy(&bits, &narrow, sizeof bits);
    return bits & UINT32_C(0x80000000) ? ~bits : bits | UINT32_C(0x80000000);
}

/* Of equals the higher number leaves first: it was made later, and what was made first is shared most. */
static int compare_entries(const void *a, const void *b)
{
    const struct wi_hazard_cold_entry *left = a, *right = b;
    if (left->key != right->key) return left->key < right->key ? -1 : 1;
    return left->object > right->object ? -1 : left->object < right->object;
}

static void swap_entries(struct wi_hazard_cold_entry *a, struct wi_hazard_cold_entry *b)
{
    struct wi_hazard_cold_entry held = *a;
    *a = *b;
    *b = held;
}

/* Bring the `wanted` lowest keys to the front, in any order: Hoare's selection. */
static void select_lowest(struct wi_hazard_cold_entry *entries, size_t count, size_t wanted)
{
    ptrdiff_t low = 0, high = (ptrdiff_t)count - 1, last = (ptrdiff_t)wanted - 1;
    while (low < high) {
        uint64_t  pivot = entries[low + (high - low) / 2].key;
        ptrdiff_t left = low, right = high;
        while (left <= right) {
            while (entries[left].key < pivot) left++;
            while (entries[right].key > pivot) right--;
            if (left <= right) swap_entries(&entries[left++], &entries[right--]);
        }
        /* Up to `right` keys are at most the pivot, from `left` on at least; between them, equal. */
        if (last <= right)
            high = right;
        else if (last >= left)
            low = left;
        else
            return;
    }
}

void wi_hazard_cold_begin(struct wi_hazard_cold *cold)
{
    cold->count = 0;
    cold->next = 0;
    cold->key_max = UINT64_MAX;
    cold->complete = true;
}

static void keep_lowest(struct wi_hazard_cold *cold)
{
    if (cold->count <= cold->count_max) return;
    select_lowest(cold->entries, cold->count, cold->count_max);
    cold->count = cold->count_max;
    cold->complete = false;
    cold->key_max = 0;
    for (size_t i = 0; i < cold->count; i++) {
        if (cold->entries[i].key > cold->key_max) cold->key_max = cold->entries[i].key;
    }
}

void wi_hazard_cold_add(struct wi_hazard_cold *cold, uint32_t object, double value,
                        uint32_t touched_at)
{
    uint64_t key = (uint64_t)value_order(value) << 32 | touched_at;
    if (key > cold->key_max) return;
    cold->entries[cold->count++] =
        (struct wi_hazard_cold_entry){.key = key, .value = value, .object = object};
    if (cold->count == 2 * cold->count_max) keep_lowest(cold);
}

void wi_hazard_cold_end(struct wi_hazard_cold *cold)
{
    keep_lowest(cold);
    qsort(cold->entries, cold->count, sizeof *cold->entries, compare_entries);
}
