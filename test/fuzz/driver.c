/* SPDX-License-Identifier: Apache-2.0 */
/*
 * driver.c - a main() for the fuzz targets where there is no libFuzzer: all seeds, then mutations of them
 *
 *     fuzz_<target> [--seeds folder] [--runs n] [--seed n] [--keep file] [input...]
 *
 * The same seed gives the same inputs. An input that ends the process, or that does not come to an end, is kept in the
 * file, and the command that repeats it is printed. With inputs named it runs those alone. With FUZZ_PLANT the exit status
 * says whether the planted bug was found.
 */
#include "fuzz/fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INPUT_MAX 8192
#define SEEDS_MAX 256
#define HANGS_S   100 /* far above what any input takes, also on a busy machine under a sanitizer */

struct seed {
    uint8_t *at;
    size_t   bytes;
};

static struct {
    const char *program;
    char        keep[256];
    struct seed seed[SEEDS_MAX];
    size_t      seeds;
    uint64_t    random;
    uint8_t     input[INPUT_MAX];
    size_t      bytes;
    size_t      words;
} driver;

/* Of the sanitizers, where the program has one. */
extern void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

/* Async-signal-safe, but for the printing of what is over anyway. */
static void keep_input(void)
{
    int fd = open(driver.keep, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, driver.input, driver.bytes) != (ssize_t)driver.bytes) return;
    (void)close(fd);
    (void)fprintf(stderr, "fuzz: the input is kept; again: %s %s\n", driver.program, driver.keep);
}

static void on_signal(int number)
{
    static volatile sig_atomic_t once;
    if (number == SIGALRM) (void)fprintf(stderr, "fuzz: no end after %d s\n", HANGS_S);
    if (!once++) keep_input();
    if (number == SIGABRT && fuzz_planted()) {
        (void)fprintf(stderr, "fuzz: the planted bug is found\n");
        _exit(0);
    }
    (void)signal(number, SIG_DFL);
    (void)raise(number);
}

static void watch_signals(void)
{
    static const int own[] = {SIGABRT, SIGALRM}, others[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    for (size_t i = 0; i < WI_ARRAY_COUNT(own); i++) (void)signal(own[i], on_signal);
    if (__sanitizer_set_death_callback) {
        __sanitizer_set_death_callback(keep_input);
        return;
    }
    for (size_t i = 0; i < WI_ARRAY_COUNT(others); i++) (void)signal(others[i], on_signal);
}

static void run_input(void)
{
    uint8_t *copy = fuzz_copy(driver.input, driver.bytes);
    (void)alarm(HANGS_S);
    (void)LLVMFuzzerTestOneInput(copy, driver.bytes);
    (void)alarm(0);
    free(copy);
}

/* ---- seeds ---- */

static void read_input(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        (void)fprintf(stderr, "fuzz: %s: %s\n", path, strerror(errno));
        exit(2);
    }
    ssize_t bytes = read(fd, driver.input, sizeof driver.input);
    driver.bytes = bytes > 0 ? (size_t)bytes : 0;
    (void)close(fd);
}

static int is_seed(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static void read_seeds(const char *folder)
{
    struct dirent **entry;
    int             count = scandir(folder, &entry, is_seed, alphasort);
    if (count <= 0) {
        (void)fprintf(stderr, "fuzz: %s: no seeds\n", folder);
        exit(2);
    }
    for (int i = 0; i < count; i++) {
        char path[1024];
        (void)snprintf(path, sizeof path, "%s/%s", folder, entry[i]->d_name);
        free(entry[i]);
        if (driver.seeds == SEEDS_MAX) continue;
        read_input(path);
        driver.seed[driver.seeds].at = fuzz_copy(driver.input, driver.bytes);
        driver.seed[driver.seeds++].bytes = driver.bytes;
    }
    free(entry);
}

/* ---- mutations ---- */

static uint64_t next_random(void)
{
    uint64_t z = driver.random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static size_t below(size_t limit)
{
    return limit == 0 ? 0 : (size_t)(next_random() % limit);
}

/* Puts bytes in at a place; what does not fit falls off the end. */
static void insert(size_t at, const void *from, size_t bytes)
{
    if (bytes > INPUT_MAX - at) bytes = INPUT_MAX - at;
    size_t behind = driver.bytes - at;
    if (behind > INPUT_MAX - at - bytes) behind = INPUT_MAX - at - bytes;
    memmove(driver.input + at + bytes, driver.input + at, behind);
    memcpy(driver.input + at, from, bytes);
    driver.bytes = at + bytes + behind;
}

static void insert_own_part(void)
{
    uint8_t part[64];
    size_t  at = below(driver.bytes), bytes = 1 + below(sizeof part);
    if (bytes > driver.bytes - at) bytes = driver.bytes - at;
    memcpy(part, driver.input + at, bytes);
    insert(below(driver.bytes + 1), part, bytes);
}

static void erase_part(void)
{
    size_t at = below(driver.bytes), bytes = 1 + below(32);
    if (bytes > driver.bytes - at) bytes = driver.bytes - at;
    memmove(driver.input + at, driver.input + at + bytes, driver.bytes - at - bytes);
    driver.bytes -= bytes;
}

static void insert_random(void)
{
    uint8_t part[16];
    size_t  bytes = 1 + below(sizeof part);
    for (size_t i = 0; i < bytes; i++) part[i] = (uint8_t)next_random();
    insert(below(driver.bytes + 1), part, bytes);
}

/* The rest of another seed behind a part of this one. */
static void append_other(void)
{
    const struct seed *other = &driver.seed[below(driver.seeds)];
    size_t             from = below(other->bytes);
    driver.bytes = below(driver.bytes + 1);
    insert(driver.bytes, other->at + from, other->bytes - from);
}

static void mutate_once(void)
{
    static const uint8_t telling[] = {0,   1,   2,   0x7f, 0x80, 0xff, '0',
                                      '9', '-', '.', ',',  ':',  '\n', ' '};
    uint8_t             *byte = &driver.input[below(driver.bytes)];
    switch (below(driver.bytes ? 9 : 3)) {
    case 0:
        insert_random();
        break;
    case 1:
        if (driver.words > 0) {
            const char *word = fuzz_words[below(driver.words)];
            insert(below(driver.bytes + 1), word, strlen(word));
        }
        break;
    case 2:
        append_other();
        break;
    case 3:
        *byte ^= (uint8_t)(1u << below(8));
        break;
    case 4:
        *byte = (uint8_t)next_random();
        break;
    case 5:
        *byte = telling[below(sizeof telling)];
        break;
    case 6:
        *byte = (uint8_t)(*byte + 1 - 2 * (int)below(2));
        break;
    case 7:
        erase_part();
        break;
    default:
        insert_own_part();
        break;
    }
}

static void mutate(void)
{
    const struct seed *seed = &driver.seed[below(driver.seeds)];
    memcpy(driver.input, seed->at, seed->bytes);
    driver.bytes = seed->bytes;
    for (size_t left = 1 + below(8); left > 0; left--) mutate_once();
}

int main(int count, char **words)
{
    uint64_t    runs = 1000, seed = 1;
    const char *slash = strrchr(words[0], '/');
    int         given = 0;
    driver.program = words[0];
    (void)snprintf(driver.keep, sizeof driver.keep, "%s.failed", slash ? slash + 1 : words[0]);
    while (fuzz_words[driver.words]) driver.words++;
    (void)LLVMFuzzerInitialize(&count, &words);
    watch_signals();
    for (int i = 1; i < count; i++) {
        const char *value = i + 1 < count ? words[i + 1] : "";
        if (!strcmp(words[i], "--seeds"))
            read_seeds(value), i++;
        else if (!strcmp(words[i], "--runs"))
            runs = strtoull(value, NULL, 10), i++;
        else if (!strcmp(words[i], "--seed"))
            seed = strtoull(value, NULL, 10), i++;
        else if (!strcmp(words[i], "--keep"))
            (void)snprintf(driver.keep, sizeof driver.keep, "%s", value), i++;
        else
            read_input(words[i]), run_input(), given++;
    }
    if (given > 0) return 0;
    if (driver.seeds == 0) {
        (void)fprintf(stderr,
                      "usage: %s --seeds folder [--runs n] [--seed n] [--keep file] | input...\n",
                      words[0]);
        return 2;
    }
    (void)printf("fuzz: %zu seeds, %llu mutations, --seed %llu\n", driver.seeds,
                 (unsigned long long)runs, (unsigned long long)seed);
    (void)fflush(stdout);
    driver.random = seed;
    for (size_t i = 0; i < driver.seeds; i++) {
        memcpy(driver.input, driver.seed[i].at, driver.seed[i].bytes);
        driver.bytes = driver.seed[i].bytes;
        run_input();
    }
    for (uint64_t i = 0; i < runs; i++) {
        mutate();
        run_input();
    }
    for (size_t i = 0; i < driver.seeds; i++) free(driver.seed[i].at);
    (void)printf("fuzz: nothing found\n");
    return fuzz_planted();
}
