/* SPDX-License-Identifier: Apache-2.0 */
/* stamp.c - see stamp.h */
#include "stamp.h"

#include <string.h>

#include "random.h"

#define FOLD_PRIME UINT64_C(0x100000001b3)
#define END_BLOCK  UINT64_C(0xffffffff)
#define TOKEN_BITS 17

struct stamp {
    uint64_t mark;
    uint64_t checksum;
};

_Static_assert(sizeof(struct stamp) == STAMP_BYTES, "the layout counts on 16 bytes a stamp");
_Static_assert(STAMP_BLOCK_TOKENS % 2 == 0, "a full block keeps the next stamp 8-byte aligned");

static uint64_t mark_of(uint64_t key, uint64_t block)
{
    return random_mix(key * RANDOM_STRIDE + block + 1);
}

static uint64_t fold(uint64_t checksum, uint64_t word)
{
    return (checksum ^ word) * FOLD_PRIME;
}

/* Tokens in a block that starts at token `first` of `tokens`. */
static uint32_t block_tokens(uint32_t tokens, uint32_t first)
{
    uint32_t left = tokens - first;

    return left < STAMP_BLOCK_TOKENS ? left : STAMP_BLOCK_TOKENS;
}

static uint64_t checksum_of(uint64_t mark, const uint32_t *token, uint32_t count)
{
    uint64_t checksum = fold(FOLD_PRIME, mark);

    for (uint32_t i = 0; i < count; i++) checksum = fold(checksum, token[i]);
    return checksum;
}

static uint64_t end_checksum(uint64_t mark, uint32_t tokens)
{
    return fold(fold(FOLD_PRIME, mark), tokens);
}

/* Bytes of all blocks, without the end stamp. */
static size_t blocks_bytes(uint32_t tokens)
{
    size_t full = tokens / STAMP_BLOCK_TOKENS;
    size_t rest = tokens % STAMP_BLOCK_TOKENS;
    size_t bytes = full * STAMP_BLOCK_BYTES;

    if (rest) bytes += STAMP_BYTES + (rest * 4 + 7) / 8 * 8;
    return bytes;
}

size_t stamp_message_bytes(uint32_t tokens)
{
    return blocks_bytes(tokens) + STAMP_BYTES;
}

uint32_t stamp_token(uint64_t key, uint32_t index)
{
    return (uint32_t)(random_mix(key + (index + 1) * RANDOM_STRIDE) >> (64 - TOKEN_BITS));
}

void stamp_write(void *message, uint64_t key, uint32_t tokens)
{
    char    *at = message;
    uint64_t block = 0;

    for (uint32_t first = 0; first < tokens; first += STAMP_BLOCK_TOKENS, block++) {
        uint32_t  count = block_tokens(tokens, first);
        uint32_t *token = (uint32_t *)(void *)(at + STAMP_BYTES);
        for (uint32_t i = 0; i < count; i++) token[i] = stamp_token(key, first + i);
        if (count % 2) token[count] = 0; /* the pad, so that no old byte travels */
        struct stamp stamp = {.mark = mark_of(key, block)};
        stamp.checksum = checksum_of(stamp.mark, token, count);
        memcpy(at, &stamp, sizeof(stamp));
        at += STAMP_BLOCK_BYTES;
    }
    struct stamp end = {.mark = mark_of(key, END_BLOCK)};
    end.checksum = end_checksum(end.mark, tokens);
    memcpy((char *)message + blocks_bytes(tokens), &end, sizeof(end));
}

bool stamp_check(const void *message, uint64_t key, uint32_t tokens)
{
    const char  *at = message;
    uint64_t     block = 0;
    struct stamp stamp;

    for (uint32_t first = 0; first < tokens; first += STAMP_BLOCK_TOKENS, block++) {
        uint32_t        count = block_tokens(tokens, first);
        const uint32_t *token = (const uint32_t *)(const void *)(at + STAMP_BYTES);
        memcpy(&stamp, at, sizeof(stamp));
        if (stamp.mark != mark_of(key, block)) return false;
        if (stamp.checksum != checksum_of(stamp.mark, token, count)) return false;
        if (count % 2 && token[count] != 0) return false;
        at += STAMP_BLOCK_BYTES;
    }
    memcpy(&stamp, (const char *)message + blocks_bytes(tokens), sizeof(stamp));
    return stamp.mark == mark_of(key, END_BLOCK) &&
           stamp.checksum == end_checksum(stamp.mark, tokens);
}
