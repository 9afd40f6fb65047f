/* SPDX-License-Identifier: Apache-2.0 */
/* Stamped messages: a good one passes, and every change of a byte is seen. */
#include "stamp.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define GUARD_BYTES 64
#define GUARD       0x5a

static unsigned char *make_message(uint64_t key, uint32_t tokens)
{
    size_t         bytes = stamp_message_bytes(tokens);
    unsigned char *message = malloc(bytes + GUARD_BYTES);

    cr_assert(message);
    memset(message, GUARD, bytes + GUARD_BYTES);
    stamp_write(message, key, tokens);
    return message;
}

static const uint32_t lengths[] = {0, 1, 2, 3, 12, 1019, 1020, 1021, 1022, 2040, 2041, 14050};

Test(stamp, accepts_what_was_written_and_writes_no_further)
{
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        size_t         bytes = stamp_message_bytes(lengths[i]);
        unsigned char *message = make_message(7, lengths[i]);
        cr_assert_eq(bytes % 8, 0);
        cr_assert(bytes >= lengths[i] * 4);
        cr_assert(stamp_check(message, 7, lengths[i]), "%u tokens", lengths[i]);
        for (size_t at = 0; at < GUARD_BYTES; at++) cr_assert_eq(message[bytes + at], GUARD);
        free(message);
    }
}

Test(stamp, has_a_stamp_at_the_start_at_the_end_and_every_4_kib)
{
    cr_assert_eq(stamp_message_bytes(1020), 4096 + 16);
    cr_assert_eq(stamp_message_bytes(1021), 4096 + 16 + 8 + 16);
    cr_assert_eq(stamp_message_bytes(12), 16 + 48 + 16);
}

Test(stamp, sees_every_changed_byte)
{
    for (size_t i = 1; i < sizeof(lengths) / sizeof(lengths[0]) - 1; i++) {
        size_t         bytes = stamp_message_bytes(lengths[i]);
        unsigned char *message = make_message(7, lengths[i]);
        for (size_t at = 0; at < bytes; at++) {
            message[at] ^= 0x10;
            cr_assert(!stamp_check(message, 7, lengths[i]), "byte %zu of %zu", at, bytes);
            message[at] ^= 0x10;
        }
        free(message);
    }
}

Test(stamp, sees_another_message_and_another_length)
{
    unsigned char *message = make_message(7, 3000);

    cr_assert(!stamp_check(message, 8, 3000));
    cr_assert(!stamp_check(message, 7, 2040));
    cr_assert(!stamp_check(message, 7, 2041));
    free(message);
}

/* What early reuse looks like: the device has read a part of the old message and a part of the new one. */
Test(stamp, sees_a_message_torn_at_any_block)
{
    unsigned char *old = make_message(7, 5000);
    unsigned char *new = make_message(8, 5000);
    size_t bytes = stamp_message_bytes(5000);

    for (size_t cut = 8; cut < bytes; cut += 8) {
        unsigned char *torn = malloc(bytes);
        memcpy(torn, new, cut);
        memcpy(torn + cut, old + cut, bytes - cut);
        cr_assert(!stamp_check(torn, 7, 5000), "cut at %zu passes for the old one", cut);
        cr_assert(!stamp_check(torn, 8, 5000), "cut at %zu passes for the new one", cut);
        free(torn);
    }
    free(old);
    free(new);
}

Test(stamp, holds_the_token_that_a_step_brings_back)
{
    unsigned char *message = make_message(99, 12);
    uint32_t       token;

    memcpy(&token, message + STAMP_BYTES, sizeof(token));
    cr_assert_eq(token, stamp_token(99, 0));
    cr_assert(token < 1u << 17);
    cr_assert_neq(stamp_token(99, 0), stamp_token(100, 0));
    free(message);
}
