/* SPDX-License-Identifier: Apache-2.0 */
/* scenario_sync.c - kicks, hazard slots, epochs and the table of slabs, threads that come and go */
#include "base/alloc.h"
#include "memory/memory.h"
#include "pool/directory.h"
#include "pool/pool.h"
#include "schedule/store_world.h"
#include "sync/reader.h"

/* ---- kicks ---- */

static struct wi_kick   bell;
static _Atomic uint32_t work;

static void ring(void)
{
    for (int i = 0; i < 2; i++) {
        (void)wi_add(&work, 1, relaxed);
        wi_kick(&bell);
    }
}

static void ring_once(void)
{
    (void)wi_add(&work, 1, relaxed);
    wi_kick(&bell);
}

static void listen(void)
{
    uint32_t done = 0;
    while (done < 3) {
        uint32_t seen = wi_kick_begin(&bell);
        uint32_t told = wi_exchange(&work, 0, relaxed);
        done += told;
        if (!told) wi_kick_sleep(&bell, seen, WEIR_FOREVER);
    }
}

SCENARIO(kick, .about = "two threads tell of work, one sleeps when there is none",
         .fibers = {{"listener", listen}, {"b", ring}, {"c", ring_once}}, .bound = 3, .full_bound = 4, .weak = 1);

/* ---- hazard slots ---- */

static _Atomic uint64_t current_name;
static uint32_t         freed_names;
static bool             still_read;

static void read_named(void)
{
    struct wi_thread *self = wi_thread_self();
    for (int round = 0; round < 2; round++) {
        _Atomic uint64_t *slot = wi_reader_slot(self);
        uint64_t          name;
        while (true) {
            name = wi_load(&current_name, acquire);
            wi_store(slot, name, relaxed);
            wi_reader_fence();
            if (wi_load(&current_name, acquire) == name) break;
            wi_store(slot, 0, relaxed);
        }
        schedule_point("(reads)");
        schedule_require(!(freed_names & 1u << name), "name %llu was freed while it is read", (unsigned long long)name);
        wi_store(slot, 0, release);
    }
}

static void saw(void *ctx, uint64_t name)
{
    if (name == *(uint64_t *)ctx) still_read = true;
}

static void replace_named(void)
{
    for (uint64_t name = 1; name <= 2; name++) {
        wi_store(&current_name, name + 1, seq_cst);
        wi_membarrier();
        while (true) {
            still_read = false;
            wi_reader_scan(saw, &name);
            if (!still_read) break;
            schedule_yield();
        }
        freed_names |= 1u << name;
    }
}

static void hazards_set_up(void)
{
    wi_store(&current_name, 1, relaxed);
    for (struct wi_thread *thread = wi_thread_first(); thread; thread = thread->next)
        (void)wi_reader_slot_cold(thread); /* their first chunks */
}

SCENARIO(hazards, .about = "a reader names what it reads, a mover frees what nobody names",
         .fibers = {{"reader", read_named}, {"mover", replace_named}}, .set_up = hazards_set_up, .bound = 3, .full_bound = 4,
         .weak = 1);

/* ---- epochs and the table of slabs ---- */

#define SLABS 3

static char              memory[SLABS][64];
static struct wi_slab    slab[SLABS];
static struct wi_stretch stretch[SLABS];
static struct wi_record  slab_record[SLABS], *slab_records[SLABS][1];
static bool              unmapped[SLABS];

/* In place of lib/memory/slab.c: whoever looks into a slab must find it mapped. */
size_t wi_slab_find(const struct wi_slab *found, const void *host)
{
    schedule_point("(in the slab)");
    schedule_require(!unmapped[found - slab], "a slab is read after it was unmapped");
    return (const char *)host >= found->base && (const char *)host < found->base + found->map_bytes ? 0 : SIZE_MAX;
}

static void look_up(void)
{
    for (int i = 0; i < 2; i++) {
        struct wi_record *record = wi_directory_find(&memory[1][8]);
        schedule_require(!record || record == &slab_record[1], "the wrong record");
        schedule_require(wi_directory_find(&memory[2][8]) == &slab_record[2], "a slab that stays is not found");
    }
}

static void retire_slab(void)
{
    wi_directory_remove(&stretch[1]);
    wi_epoch_synchronize();
    /* As end_stretch_locked() does: from here on nobody may follow what he has found. */
    unmapped[1] = true;
    stretch[1].record = NULL;
    (void)wi_epoch_reclaim();
}

static void slabs_set_up(void)
{
    for (int i = 0; i < SLABS; i++) {
        slab_records[i][0] = &slab_record[i];
        slab[i].base = memory[i];
        slab[i].map_bytes = sizeof memory[i];
        slab[i].block_bytes = sizeof memory[i];
        slab[i].blocks = 1;
        stretch[i].slab = &slab[i];
        stretch[i].record = slab_records[i];
        schedule_require(wi_directory_add(&stretch[i]) == 0);
    }
    (void)wi_epoch_reclaim();
}

static void slabs_judge(void)
{
    schedule_require(!wi_directory_find(&memory[1][8]), "a slab that is gone is found");
    schedule_require(!wi_epoch_reclaim());
}

SCENARIO(slabs, .about = "a slab leaves the table and is unmapped while others look addresses up",
         .fibers = {{"walker", look_up}, {"retirer", retire_slab}, {"other", look_up}}, .set_up = slabs_set_up,
         .judge = slabs_judge, .bound = 2, .full_bound = 3, .weak = 1);

/* ---- threads ---- */

static uint32_t attached;

static void come_and_go(void)
{
    for (int i = 0; i < 2; i++) {
        weir_thread_detach();
        struct wi_thread *self = wi_thread_self();
        schedule_require(wi_load(&self->waiter.word, relaxed) != 99, "another thread has this record");
        wi_store(&self->waiter.word, 99, relaxed);
        schedule_point("(attached)");
        wi_store(&self->waiter.word, WI_LEFT, relaxed);
        attached++;
    }
}

static void threads_judge(void)
{
    schedule_require(attached == 6, "%u", attached);
}

SCENARIO(threads, .about = "threads exit and start: a record belongs to one at a time",
         .fibers = {{"a", come_and_go}, {"b", come_and_go}, {"c", come_and_go}}, .judge = threads_judge, .bound = 2,
         .full_bound = 3, .weak = 1);
