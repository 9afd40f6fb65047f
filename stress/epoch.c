/* SPDX-License-Identifier: Apache-2.0 */
/*
 * epoch - memory that readers walk while others replace it
 *
 * Imitates what the library does with the table from addresses to buffers: readers look at shared objects inside
 * epoch sections, writers replace them and give the old ones to be freed once no section that could see them is
 * open, and a reclaimer frees them. Readers come and go (a thread is detached at random), pause inside their
 * sections, and nest them. A freed object is scribbled on first, so a reader that still sees it fails.
 *
 *     --early 1   old objects are freed at once: the run has to fail
 *
 * Run for 3 s as a smoke test, 1 h under ThreadSanitizer before a release.
 */
#include "harness.h"

#include "base/base.h"
#include "sync/thread.h"

#include <stdlib.h>
#include <weir/runtime.h>

#define OBJECTS 32
#define ALIVE   UINT64_C(0x6f626a6563742121)
#define DEAD    UINT64_C(0xdeaddeaddeaddead)

static uint64_t early, writers = 2;

static const struct stress_option options[] = {
    {"early", &early, "1: free without waiting; the run must fail"},
    {"writers", &writers, "threads that replace objects"},
    {NULL, NULL, NULL},
};

static const struct stress_spec spec = {
    .name = "epoch",
    .imitates = "readers that walk shared objects while writers replace and free them",
    .seconds = 3,
    .threads = 6,
    .options = options,
};

struct object {
    struct wi_deferred deferred;
    uint64_t           alive;
    uint64_t           same[4];
};

static _Atomic(struct object *) shared[OBJECTS];
static _Atomic uint64_t         made, freed, seen;
static _Atomic uint32_t         writers_left;

static struct object *new_object(uint64_t value)
{
    struct object *object = calloc(1, sizeof(*object));
    stress_require(object != NULL);
    object->alive = ALIVE;
    for (unsigned at = 0; at < 4; at++) object->same[at] = value;
    wi_add(&made, 1, relaxed);
    return object;
}

static void free_object(struct object *object)
{
    stress_require(object->alive == ALIVE, "freed twice");
    object->alive = DEAD;
    for (unsigned at = 0; at < 4; at++) object->same[at] = DEAD + at;
    free(object);
    wi_add(&freed, 1, relaxed);
}

static void free_deferred(struct wi_deferred *deferred)
{
    free_object(WI_CONTAINER(deferred, struct object, deferred));
}

static void look(const struct object *object)
{
    stress_require(object->alive == ALIVE, "%llx", (unsigned long long)object->alive);
    for (unsigned at = 1; at < 4; at++)
        stress_require(object->same[at] == object->same[0], "%u: %llx", at,
                       (unsigned long long)object->same[at]);
}

static void read_objects(struct stress_thread *self)
{
    while (stress_going(self)) {
        wi_epoch_begin(wi_thread_self());
        bool nested = stress_below(self, 4) == 0;
        if (nested) wi_epoch_begin(wi_thread_self());
        for (uint64_t left = 1 + stress_below(self, 8); left > 0; left--) {
            const struct object *object = wi_load(&shared[stress_below(self, OBJECTS)], acquire);
            look(object);
            stress_pause(self);
            look(object);
        }
        if (nested) wi_epoch_end(wi_thread_self());
        wi_epoch_end(wi_thread_self());
        wi_add(&seen, 1, relaxed);
        if (stress_below(self, 64) == 0) weir_thread_detach();
        stress_step(self);
    }
}

static void replace_objects(struct stress_thread *self)
{
    while (stress_going(self)) {
        struct object *fresh = new_object(stress_random(self));
        struct object *old = wi_exchange(&shared[stress_below(self, OBJECTS)], fresh, acq_rel);
        if (early) {
            free_object(old);
        } else {
            old->deferred.fn = free_deferred;
            wi_epoch_defer(&old->deferred);
        }
        stress_step(self);
        stress_pause(self);
    }
    wi_sub(&writers_left, 1, acq_rel);
}

static void reclaim(struct stress_thread *self)
{
    while (wi_load(&writers_left, acquire) > 0 || wi_epoch_reclaim()) {
        (void)wi_epoch_reclaim();
        stress_step(self);
        stress_sleep_ns(stress_below(self, 1000000));
    }
}

int main(int count, char **words)
{
    stress_begin(&spec, count, words);
    for (unsigned at = 0; at < OBJECTS; at++) wi_store(&shared[at], new_object(at), release);
    wi_store(&writers_left, (uint32_t)writers, relaxed);
    stress_start(read_objects, NULL, stress_threads());
    stress_start(replace_objects, NULL, writers);
    stress_start(reclaim, NULL, 2); /* weir's keeper and monitor both do */
    stress_join();
    while (wi_epoch_reclaim()) {
    }
    for (unsigned at = 0; at < OBJECTS; at++) free_object(wi_exchange(&shared[at], NULL, acquire));
    stress_require(wi_load(&made, relaxed) == wi_load(&freed, relaxed), "%llu made, %llu freed",
                   (unsigned long long)wi_load(&made, relaxed),
                   (unsigned long long)wi_load(&freed, relaxed));
    stress_note("sections", (double)wi_load(&seen, relaxed));
    stress_note("objects", (double)wi_load(&made, relaxed));
    return stress_end();
}
