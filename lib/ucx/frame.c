/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frame.c - what control frames look like
 *
 *      magic u32 | type u32 | bytes u32, all of it | 0 u32 | payload | proof, 16 bytes, once there is a session
 *
 * Numbers are little-endian.
 */
#include "ucx/frame.h"

#include <endian.h>
#include <string.h>

uint32_t wu_read_u32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return le32toh(value);
}

uint64_t wu_read_u64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return le64toh(value);
}

static void put_u32(uint8_t *at, uint32_t value)
{
    value = htole32(value);
    memcpy(at, &value, sizeof value);
}

void wu_frame_begin(struct wu_frame *frame, uint32_t type)
{
    memset(frame->bytes, 0, WU_FRAME_HEAD);
    put_u32(frame->bytes, WU_FRAME_MAGIC);
    put_u32(frame->bytes + 4, type);
    frame->used = WU_FRAME_HEAD;
}

void wu_frame_add(struct wu_frame *frame, const void *bytes, size_t count)
{
    wu_require(count <= WU_FRAME_MAX - WU_FRAME_PROOF - frame->used);
    memcpy(frame->bytes + frame->used, bytes, count);
    frame->used += count;
}

void wu_frame_add_u32(struct wu_frame *frame, uint32_t value)
{
    value = htole32(value);
    wu_frame_add(frame, &value, sizeof value);
}

void wu_frame_add_u64(struct wu_frame *frame, uint64_t value)
{
    value = htole64(value);
    wu_frame_add(frame, &value, sizeof value);
}

static bool prove(const uint8_t key[WU_PROOF_BYTES], bool by_connector, uint64_t number,
                  const uint8_t *bytes, size_t count, uint8_t out[WU_PROOF_BYTES])
{
    uint8_t               who = by_connector ? 'c' : 'l';
    uint64_t              wire = htole64(number);
    const struct wu_bytes parts[] = {{&who, 1}, {&wire, sizeof wire}, {bytes, count}};
    return wu_prove(key, WU_PROOF_BYTES, parts, WI_ARRAY_COUNT(parts), out);
}

bool wu_frame_finish(struct wu_frame *frame, const uint8_t *key, bool by_connector, uint64_t number)
{
    uint8_t proof[WU_PROOF_BYTES];
    put_u32(frame->bytes + 8, (uint32_t)(frame->used + (key ? WU_FRAME_PROOF : 0)));
    if (!key) return true;
    if (!prove(key, by_connector, number, frame->bytes, frame->used, proof)) return false;
    memcpy(frame->bytes + frame->used, proof, WU_FRAME_PROOF);
    frame->used += WU_FRAME_PROOF;
    return true;
}

size_t wu_frame_length(const uint8_t *bytes, size_t count, bool proved)
{
    if (count < WU_FRAME_HEAD) return 0;
    uint32_t length = wu_read_u32(bytes + 8);
    bool     good = wu_read_u32(bytes) == WU_FRAME_MAGIC && wu_read_u32(bytes + 12) == 0 &&
                length >= WU_FRAME_HEAD + (proved ? WU_FRAME_PROOF : 0u) && length <= WU_FRAME_MAX;
    return good ? length : SIZE_MAX;
}

bool wu_frame_holds(const uint8_t *bytes, size_t length, const uint8_t *key, bool by_connector,
                    uint64_t number)
{
    uint8_t proof[WU_PROOF_BYTES];
    return prove(key, by_connector, number, bytes, length - WU_FRAME_PROOF, proof) &&
           wu_same_proof(proof, bytes + length - WU_FRAME_PROOF, WU_FRAME_PROOF);
}
