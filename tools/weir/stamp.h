/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stamp.h - messages of token ids that prove who wrote them, and that all of it arrived
 *
 *     block 0                        block 1                     last block        end
 *     [mark checksum | 1020 tokens]  [mark checksum | tokens ..] [.. | tokens] pad [mark checksum]
 *
 * A block is 4 KiB. The mark holds the message's key and the block's number; the checksum covers the
 * mark and every token of the block. So a block of another message, a torn block and a single flipped
 * bit are all seen. The end stamp covers the number of tokens.
 */
#ifndef WEIR_TOOL_STAMP_H
#define WEIR_TOOL_STAMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STAMP_BLOCK_BYTES  4096
#define STAMP_BYTES        16
#define STAMP_BLOCK_TOKENS ((STAMP_BLOCK_BYTES - STAMP_BYTES) / 4)

/* Bytes of a message of that many tokens, a multiple of 8. */
size_t stamp_message_bytes(uint32_t tokens);

/* The token id at a place of the message with that key: what a model's vocabulary might hold (17 bits). */
uint32_t stamp_token(uint64_t key, uint32_t index);

/* Write the message. `message` is 8-byte aligned and holds stamp_message_bytes(tokens). */
void stamp_write(void *message, uint64_t key, uint32_t tokens);

/* True when every byte is that of the message with this key. */
bool stamp_check(const void *message, uint64_t key, uint32_t tokens);

#endif
