/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz/fuzz.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void (*fuzz_clean_up)(void);

_Noreturn void fuzz_fail(const char *file, int line, const char *format, ...)
{
    va_list arguments;
    (void)fprintf(stderr, "fuzz: %s:%d: ", file, line);
    va_start(arguments, format);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    (void)fputc('\n', stderr);
    if (fuzz_clean_up) fuzz_clean_up();
    abort();
}

bool fuzz_planted(void)
{
    static int planted = -1;
    if (planted < 0) planted = getenv("FUZZ_PLANT") != NULL;
    return planted == 1;
}

void *fuzz_copy(const uint8_t *data, size_t bytes)
{
    void *copy = malloc(bytes ? bytes : 1);
    fuzz_require(copy, "no memory");
    if (bytes) memcpy(copy, data, bytes);
    return copy;
}

char *fuzz_text(const uint8_t *data, size_t bytes)
{
    char *text = malloc(bytes + 1);
    fuzz_require(text, "no memory");
    if (bytes) memcpy(text, data, bytes);
    text[bytes] = '\0';
    return text;
}

const char *fuzz_file(const void *data, size_t bytes)
{
    static int  fd = -1;
    static char path[64];
    if (fd < 0) {
        fd = memfd_create("fuzz", MFD_CLOEXEC);
        fuzz_require(fd >= 0, "memfd_create");
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    fuzz_require(ftruncate(fd, 0) == 0, "ftruncate");
    fuzz_require(pwrite(fd, data, bytes, 0) == (ssize_t)bytes, "pwrite");
    return path;
}
