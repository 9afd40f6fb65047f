/* SPDX-License-Identifier: Apache-2.0 */
/* deferred.c - see deferred.h */
#include "deferred.h"

#include <stdlib.h>

int deferred_init(struct deferred_list *list, size_t capacity)
{
    *list = (struct deferred_list){.capacity = capacity};
    list->entries = calloc(capacity, sizeof(*list->entries));
    return list->entries ? 0 : WEIR_ENOMEM;
}

void deferred_fini(struct deferred_list *list)
{
    free(list->entries);
}

int deferred_mark(struct weir_runtime *rt, struct weir_stream *stream, struct weir_event **out)
{
    struct weir_event *event;

    if (weir_event_acquire(rt, 0, WEIR_NOW, &event) == 0) {
        if (weir_event_record(event, stream) == 0) {
            *out = event;
            return 0;
        }
        weir_event_release(event);
    }
    int err = weir_stream_sync(stream, WEIR_FOREVER);
    if (err < 0) return err;
    *out = NULL;
    return 0;
}

void deferred_push(struct deferred_list *list, struct deferred entry)
{
    list->entries[(list->first + list->count++) % list->capacity] = entry;
}

struct deferred deferred_pop(struct deferred_list *list)
{
    struct deferred oldest = list->entries[list->first];

    list->first = (list->first + 1) % list->capacity;
    list->count--;
    return oldest;
}

void *deferred_pop_passed(struct deferred_list *list)
{
    if (!list->count || weir_event_query(list->entries[list->first].event) != 0) return NULL;
    struct deferred passed = deferred_pop(list);
    weir_event_release(passed.event);
    return passed.item;
}
