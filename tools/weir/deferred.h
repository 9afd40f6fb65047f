/* SPDX-License-Identifier: Apache-2.0 */
/*
 * deferred.h - what a hand-written engine keeps of memory that the device still uses: a list with an event each
 *
 * The list has no lock of its own. Law: entries come out in the order in which they went in.
 */
#ifndef WEIR_TOOL_DEFERRED_H
#define WEIR_TOOL_DEFERRED_H

#include <stdbool.h>
#include <weir/weir.h>

struct deferred {
    void              *item;
    struct weir_event *event; /* recorded behind the item's last use */
};

struct deferred_list {
    struct deferred *entries; /* ring; owned */
    size_t           capacity;
    size_t           first;
    size_t           count;
};

/* Room for that many entries. Returns 0 or WEIR_ENOMEM. */
int deferred_init(struct deferred_list *list, size_t capacity);

void deferred_fini(struct deferred_list *list);

/*
 * deferred_mark - lease an event and record it behind all that the stream holds
 *
 * Where that fails, wait for the stream instead and set *out to NULL: then the item is free at once.
 * Returns 0, or the stream's failure.
 */
int deferred_mark(struct weir_runtime *rt, struct weir_stream *stream, struct weir_event **out);

/* Append. Pre: the list has room. */
void deferred_push(struct deferred_list *list, struct deferred entry);

/* Take the oldest entry, with its event. Pre: there is one. */
struct deferred deferred_pop(struct deferred_list *list);

/* Take the oldest entry if the device has passed it, and release its event. NULL: none has passed. */
void *deferred_pop_passed(struct deferred_list *list);

#endif
