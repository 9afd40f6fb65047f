/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/directory.h"

#include "base/alloc.h"

#include <string.h>

struct range {
    const char        *from;
    const char        *to;
    struct wi_stretch *stretch;
};

struct table {
    struct wi_deferred deferred;
    size_t             count;
    struct range       range[]; /* sorted, disjoint */
};

static pthread_mutex_t         lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(struct table *) current;

static void free_table(struct wi_deferred *deferred)
{
    wi_free(WI_CONTAINER(deferred, struct table, deferred));
}

static void replace_locked(struct table *table)
{
    /* order(directory): release; pairs with the load in wi_directory_find(). The new table is filled first. */
    struct table *old = wi_exchange(&current, table, acq_rel);
    if (old) {
        old->deferred.fn = free_table;
        wi_epoch_defer(&old->deferred);
    }
}

int wi_directory_add(struct wi_stretch *stretch)
{
    const struct wi_slab *slab = stretch->slab;
    if (!slab->base) return 0; /* device memory has no host address */
    struct range fresh = {slab->base, slab->base + slab->map_bytes, stretch};

    pthread_mutex_lock(&lock);
    struct table *old = wi_load(&current, relaxed);
    size_t        count = old ? old->count : 0;
    struct table *table = wi_calloc(1, sizeof *table + (count + 1) * sizeof table->range[0]);
    if (!table) {
        pthread_mutex_unlock(&lock);
        return WI_FAIL(NOMEM, .call = "calloc", .detail = "the table from addresses to buffers");
    }
    size_t at = 0;
    while (at < count && old->range[at].from < fresh.from) at++;
    if (count > 0) {
        memcpy(table->range, old->range, at * sizeof fresh);
        memcpy(table->range + at + 1, old->range + at, (count - at) * sizeof fresh);
    }
    table->range[at] = fresh;
    table->count = count + 1;
    replace_locked(table);
    pthread_mutex_unlock(&lock);
    return 0;
}

void wi_directory_remove(struct wi_stretch *stretch)
{
    if (!stretch->slab->base) return;
    pthread_mutex_lock(&lock);
    struct table *old = wi_load(&current, relaxed);
    struct table *table = wi_calloc(1, sizeof *table + old->count * sizeof old->range[0]);
    if (!table) {
        /* No memory for a smaller table: keep the old one with an empty range in place of the stretch. */
        for (size_t i = 0; i < old->count; i++) {
            if (old->range[i].stretch == stretch) old->range[i].to = old->range[i].from;
        }
        pthread_mutex_unlock(&lock);
        return;
    }
    for (size_t i = 0; i < old->count; i++) {
        if (old->range[i].stretch != stretch) table->range[table->count++] = old->range[i];
    }
    replace_locked(table);
    pthread_mutex_unlock(&lock);
}

struct wi_record *wi_directory_find(const void *host)
{
    struct wi_thread *self = wi_thread_self();
    struct wi_record *found = NULL;
    const char       *at = host;
    wi_epoch_begin(self);
    /* order(directory): acquire; pairs with the exchange in replace_locked(). */
    const struct table *table = wi_load(&current, acquire);
    size_t              low = 0;
    size_t              high = table ? table->count : 0;
    while (low < high) {
        size_t              middle = low + (high - low) / 2;
        const struct range *range = &table->range[middle];
        if (at < range->from) {
            high = middle;
        } else if (at >= range->to) {
            low = middle + 1;
        } else {
            size_t block = wi_slab_find(range->stretch->slab, host);
            if (block != SIZE_MAX) found = range->stretch->record[block];
            break;
        }
    }
    wi_epoch_end(self);
    return found;
}
