/* SPDX-License-Identifier: Apache-2.0 */
/* proof.c - random numbers and HMAC-SHA-256, by libcrypto */
#include "ucx/engine.h"

#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <string.h>

#define PARTS_BYTES_MAX (2 * WU_FRAME_MAX)

bool wu_random(void *into, size_t bytes)
{
    return RAND_bytes(into, (int)bytes) == 1;
}

bool wu_prove(const void *key, size_t key_bytes, const struct wu_bytes *parts, size_t count,
              uint8_t out[WU_PROOF_BYTES])
{
    uint8_t  text[PARTS_BYTES_MAX];
    size_t   used = 0;
    unsigned proof_bytes = WU_PROOF_BYTES;
    for (size_t i = 0; i < count; i++) {
        /* Each part with its length before it: no two lists of parts have the same text. */
        uint64_t bytes = parts[i].bytes;
        if (bytes > sizeof text || used + sizeof bytes + bytes > sizeof text) return false;
        memcpy(text + used, &bytes, sizeof bytes);
        memcpy(text + used + sizeof bytes, parts[i].at, bytes);
        used += sizeof bytes + bytes;
    }
    return HMAC(EVP_sha256(), key_bytes ? key : "", (int)key_bytes, text, used, out,
                &proof_bytes) &&
           proof_bytes == WU_PROOF_BYTES;
}

bool wu_same_proof(const uint8_t *one, const uint8_t *other, size_t bytes)
{
    return CRYPTO_memcmp(one, other, bytes) == 0;
}

void wu_wipe(void *memory, size_t bytes)
{
    OPENSSL_cleanse(memory, bytes);
}
