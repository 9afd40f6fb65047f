/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings.c - reading WEIR_* once
 *
 * The first caller reads under a mutex and publishes a pointer; later callers load it and take no
 * lock. Warnings come after publishing and outside the mutex, because the log itself asks for settings,
 * and its lines may go to the caller's own function.
 */
#include "base/settings.h"

#include "base/atomic.h"
#include "base/log.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Room for all texts together. They are copied, because the environment may change later. */
#define TEXT_BYTES 4096

/* Variables further apart than this are not taken for misspellings of each other. */
#define DISTANCE_MAX 3
#define NAME_BYTES   64

enum kind { KIND_COUNT, KIND_BYTES, KIND_MS, KIND_TEXT };

struct row {
    const char *variable;
    const char *fallback;
    enum kind   kind;
    size_t      offset; /* of the field in struct wi_settings */
};

static const struct row rows[WI_SETTINGS_COUNT] = {
#define X(field, variable, kind, fallback, help)                                                   \
    {variable, fallback, KIND_##kind, offsetof(struct wi_settings, field)},
    WI_SETTINGS(X)
#undef X
};

_Static_assert(WI_SETTINGS_COUNT <= 64, "`given` has a bit for each row");

/* Written under the mutex, before `published`; fixed afterwards. */
static pthread_mutex_t    reading = PTHREAD_MUTEX_INITIALIZER;
static struct wi_settings storage;
static char               texts[TEXT_BYTES];
static size_t             texts_used;

static _Atomic(const struct wi_settings *) published;

static bool parse_number(const char *text, uint64_t *out)
{
    uint64_t number = 0;

    if (!*text) return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9') return false;
        if (__builtin_mul_overflow(number, 10, &number)) return false;
        if (__builtin_add_overflow(number, (uint64_t)(*text - '0'), &number)) return false;
    }
    *out = number;
    return true;
}

/* The unit after a number: its factor, or 0 where it is none. */
static uint64_t unit_of(const char *text)
{
    static const char letters[] = "KMGT";
    const char       *letter;

    if (!*text) return 1;
    letter = strchr(letters, *text >= 'a' ? *text - 'a' + 'A' : *text);
    if (!letter || text[1]) return 0;
    return UINT64_C(1) << (10 * (letter - letters + 1));
}

static bool parse_bytes(const char *text, uint64_t whole, uint64_t *out)
{
    /* The number is digits / scale. Both fit with room for the unit. */
    unsigned __int128 digits = 0;
    unsigned __int128 result;
    uint64_t          scale = 1;
    uint64_t          unit;
    bool              point = false;
    size_t            count = 0;

    for (; (*text >= '0' && *text <= '9') || (*text == '.' && !point); text++) {
        if (*text == '.') {
            point = true;
            continue;
        }
        if (++count > 20) return false;
        digits = digits * 10 + (unsigned)(*text - '0');
        if (point) {
            if (scale >= UINT64_C(1000000000)) return false;
            scale *= 10;
        }
    }
    if (count == 0) return false;
    if (strcmp(text, "%") == 0) {
        if (whole == 0 || digits > (unsigned __int128)scale * 100) return false;
        *out = (uint64_t)(digits * whole / scale / 100);
        return true;
    }
    unit = unit_of(text);
    if (unit == 0 || digits > UINT64_MAX) return false;
    result = digits * unit / scale;
    if (result > UINT64_MAX) return false;
    *out = (uint64_t)result;
    return true;
}

int wi_parse_bytes(const char *text, uint64_t whole, uint64_t *out)
{
    if (!parse_bytes(text, whole, out)) {
        return WI_FAIL_TEXT(INVAL, "\"%.64s\" is not a number of bytes, such as 512M or 1.5G",
                            text);
    }
    return 0;
}

/* A copy in `texts`, or NULL where it does not fit. */
static const char *keep_text(const char *text)
{
    size_t bytes = strlen(text) + 1;
    char  *copy = texts + texts_used;

    if (bytes > TEXT_BYTES - texts_used) return NULL;
    memcpy(copy, text, bytes);
    texts_used += bytes;
    return copy;
}

/* A default needs no copy, so that there is room for it whatever the environment holds. */
static bool parse_row(const struct row *row, const char *text, struct wi_settings *into)
{
    char       *field = (char *)into + row->offset;
    uint64_t    number = 0;
    const char *kept = text;

    switch (row->kind) {
    case KIND_COUNT:
    case KIND_MS:
        if (*text && !parse_number(text, &number)) return false;
        memcpy(field, &number, sizeof(number));
        return true;
    case KIND_BYTES:
        if (*text && !parse_bytes(text, 0, &number)) return false;
        memcpy(field, &number, sizeof(number));
        return true;
    case KIND_TEXT:
        if (text != row->fallback) kept = keep_text(text);
        if (!kept) return false;
        memcpy(field, &kept, sizeof(kept));
        return true;
    }
    return false;
}

/* What the environment says for a row; NULL if nothing. Not asked in set-user-id programs. */
static const char *environment_of(const struct row *row)
{
    const char *text = secure_getenv(row->variable);

    return text && *text ? text : NULL;
}

/* Fills `storage`. Bit i of the result: the environment's value for row i was bad. */
static uint64_t read_rows_locked(void)
{
    uint64_t bad = 0;

    texts_used = 0;
    storage.given = 0;
    for (size_t i = 0; i < WI_SETTINGS_COUNT; i++) {
        const char *text = environment_of(&rows[i]);
        bool        fallback_good = parse_row(&rows[i], rows[i].fallback, &storage);

        wi_require(fallback_good);
        if (!text) continue;
        if (parse_row(&rows[i], text, &storage)) {
            storage.given |= UINT64_C(1) << i;
        } else {
            bad |= UINT64_C(1) << i;
        }
    }
    return bad;
}

/* Edits (insert, delete, replace a letter) that turn one name into the other; DISTANCE_MAX + 1 if more. */
static size_t name_distance(const char *name, const char *other)
{
    size_t previous[NAME_BYTES + 1];
    size_t length = strlen(other);

    if (length > NAME_BYTES || strlen(name) > NAME_BYTES) return DISTANCE_MAX + 1;
    for (size_t j = 0; j <= length; j++) previous[j] = j;
    for (size_t i = 0; name[i]; i++) {
        size_t diagonal = previous[0]; /* distance of the prefixes without this letter of each */

        previous[0] = i + 1;
        for (size_t j = 0; j < length; j++) {
            size_t replaced = diagonal + (name[i] != other[j]);
            size_t best = previous[j] < previous[j + 1] ? previous[j] + 1 : previous[j + 1] + 1;

            diagonal = previous[j + 1];
            previous[j + 1] = replaced < best ? replaced : best;
        }
    }
    return previous[length];
}

static void report_unknown(const char *name)
{
    const char *nearest = NULL;
    size_t      nearest_distance = DISTANCE_MAX + 1;

    for (size_t i = 0; i < WI_SETTINGS_COUNT; i++) {
        size_t distance = name_distance(name, rows[i].variable);

        if (distance == 0) return;
        if (distance < nearest_distance) {
            nearest_distance = distance;
            nearest = rows[i].variable;
        }
    }
    if (nearest) {
        wi_log(WARN, "settings", "%s is not a setting; did you mean %s?", name, nearest);
    } else {
        wi_log(WARN, "settings", "%s is not a setting", name);
    }
}

static void report(uint64_t bad)
{
    size_t      length;
    const char *entry = wi_log_find_bad(storage.log, &length);

    if (entry) {
        wi_log(WARN, "settings", "WEIR_LOG: \"%.*s\" is not a level or component:level",
               (int)length, entry);
    }
    for (size_t i = 0; i < WI_SETTINGS_COUNT; i++) {
        const char *text = environment_of(&rows[i]);

        if (!(bad >> i & 1) || !text) continue;
        wi_log(WARN, "settings", "%s: \"%.64s\" is not usable; the default holds: \"%s\"",
               rows[i].variable, text, rows[i].fallback);
    }
    for (char **entries = environ; entries && *entries; entries++) {
        char   name[NAME_BYTES + 1];
        size_t bytes = strcspn(*entries, "=");

        if (strncmp(*entries, "WEIR_", 5) != 0) continue;
        if (bytes > NAME_BYTES) bytes = NAME_BYTES;
        memcpy(name, *entries, bytes);
        name[bytes] = '\0';
        report_unknown(name);
    }
}

static WI_COLD const struct wi_settings *settings_read_cold(void)
{
    bool     first = false;
    uint64_t bad = 0;

    pthread_mutex_lock(&reading);
    if (!wi_load(&published, relaxed)) {
        first = true;
        bad = read_rows_locked();
        /* order(settings-publish): release; pairs with acquire in wi_settings(). Makes the values and
         * texts visible before the pointer. */
        wi_store(&published, &storage, release);
    }
    pthread_mutex_unlock(&reading);
    if (first) report(bad);
    return &storage;
}

const struct wi_settings *wi_settings(void)
{
    /* order(settings-publish): acquire; pairs with release in settings_read_cold(). */
    const struct wi_settings *settings = wi_load(&published, acquire);

    return WI_LIKELY(settings) ? settings : settings_read_cold();
}

void wi_settings_reload_for_test(void)
{
    wi_store(&published, NULL, relaxed);
    settings_read_cold();
}
