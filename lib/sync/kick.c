/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/kick.h"

#include "sync/futex.h"

void wi_kick(struct wi_kick *kick)
{
    wi_add(&kick->word, 1, seq_cst);
    /*
     * order(kick): word before asleep here, asleep before word in wi_kick_sleep(): one of the two sees the other.
     * Only the sleeper lowers asleep. A kicker that was preempted after it raised the word would lower it for a sleeper
     * who has seen that word and is about to sleep: nobody would wake him for a later one.
     */
    if (wi_load(&kick->asleep, seq_cst)) wi_futex_wake(&kick->word, INT32_MAX); /* a trim may be listening too */
}

uint32_t wi_kick_begin(struct wi_kick *kick)
{
    return wi_load(&kick->word, acquire);
}

void wi_kick_sleep(struct wi_kick *kick, uint32_t seen, uint64_t deadline_ns)
{
    wi_store(&kick->asleep, 1, seq_cst); /* order(kick) */
    if (wi_load(&kick->word, seq_cst) == seen) (void)wi_futex_wait(&kick->word, seen, deadline_ns);
    wi_store(&kick->asleep, 0, relaxed);
}
