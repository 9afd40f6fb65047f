/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz.h - what the fuzz targets share
 *
 * A target is one file with LLVMFuzzerTestOneInput(), for which any bytes are an input; whatever it finds wrong ends the
 * process. It is linked with clang's libFuzzer by tools/dev/fuzz, and everywhere else with driver.c, which runs the
 * committed seeds and mutations of them.
 *
 * FUZZ_PLANT=1 in the environment: the target changes one answer of the library in a case of its own, as a bug would. A
 * target that does not find that can find nothing.
 */
#ifndef TEST_FUZZ_H
#define TEST_FUZZ_H

#include "base/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerInitialize(int *count, char ***words);

/* Texts that mutations put in; ends with NULL. libFuzzer takes them from the seeds. */
extern const char *const fuzz_words[];

/* ---- decisions out of an input; what is missing reads as 0 ---- */

struct fuzz_input {
    const uint8_t *at;
    size_t         left;
};

static inline uint8_t fuzz_u8(struct fuzz_input *input)
{
    if (input->left == 0) return 0;
    input->left--;
    return *input->at++;
}

static inline uint16_t fuzz_u16(struct fuzz_input *input)
{
    uint16_t low = fuzz_u8(input);
    return (uint16_t)(low | fuzz_u8(input) << 8);
}

static inline uint32_t fuzz_below(struct fuzz_input *input, uint32_t limit)
{
    return fuzz_u8(input) % limit;
}

/* ---- judging ---- */

_Noreturn void fuzz_fail(const char *file, int line, const char *format, ...) WI_PRINTF(3, 4);

/* Called when the process ends, also by fuzz_fail(). NULL: nothing is to be done. */
extern void (*fuzz_clean_up)(void);

#define fuzz_require(cond, ...)                                                                    \
    do {                                                                                           \
        if (WI_UNLIKELY(!(cond))) fuzz_fail(__FILE__, __LINE__, #cond ": " __VA_ARGS__);           \
    } while (0)

bool fuzz_planted(void);

/* ---- inputs as texts and files ---- */

/* A copy that ends where the input ends, so that a sanitizer sees who reads further; with a zero behind it. free() it. */
char *fuzz_text(const uint8_t *data, size_t bytes);
/* A copy without a zero. */
void *fuzz_copy(const uint8_t *data, size_t bytes);
/* One file for the whole process, overwritten by each call. Returns its path. */
const char *fuzz_file(const void *data, size_t bytes);

#endif
