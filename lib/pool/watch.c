/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/watch.h"

#include "base/settings.h"

#include <pthread.h>

uint32_t         wi_watching;
_Atomic uint32_t wi_forked;

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void start(void)
{
    uint32_t watch = 0;
    if (wi_settings()->check >= 2) watch |= WI_WATCH_FACES;
    if (wi_settings()->leaks) watch |= WI_WATCH_SITES;
    wi_watching = watch;
}

void wi_watch_start(void)
{
    pthread_once(&once, start);
}

static unsigned face_of(uint64_t word)
{
    return (unsigned)(word >> WI_GENERATION_SHIFT) % WI_RECORD_FACES;
}

void *wi_watch_lease(struct wi_record *record, const void *site)
{
    if (WI_LIKELY(!wi_watching)) return record;
    if (wi_watching & WI_WATCH_SITES) record->lease_site = site;
    if (!(wi_watching & WI_WATCH_FACES)) return record;
    return wi_record_face(record, face_of(wi_load(&record->word, relaxed)));
}

int wi_watch_release(const void *lease, struct wi_record **out)
{
    unsigned          face = 0;
    struct wi_record *record = wi_record_plain(lease, &face);
    if (wi_watching & WI_WATCH_FACES) {
        uint64_t word = wi_load(&record->word, acquire);
        WI_ENSURE(wi_word_state(word) != WI_LEASED || face == face_of(word), STALE,
                  .detail = "this lease had ended; its object has another owner now");
    }
    *out = record;
    return 0;
}

int wi_process_check(void)
{
    WI_ENSURE(!wi_load(&wi_forked, relaxed), FORKED, .detail = "a forked child may only exec");
    return 0;
}

void wi_process_forked(void)
{
    wi_store(&wi_forked, 1, relaxed);
}
