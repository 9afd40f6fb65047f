/* SPDX-License-Identifier: Apache-2.0 */
/* text.c - text that knows how long it would be */
#include "base/text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void wi_text_init(struct wi_text *text, char *at, size_t capacity)
{
    wi_assert(at || capacity == 0);
    *text = (struct wi_text){.at = at, .capacity = capacity};
    if (capacity > 0) at[0] = '\0';
}

void wi_text_add(struct wi_text *text, const char *format, ...)
{
    size_t  room = text->length < text->capacity ? text->capacity - text->length : 0;
    va_list arguments;
    int     added;

    va_start(arguments, format);
    added = vsnprintf(room ? text->at + text->length : NULL, room, format, arguments);
    va_end(arguments);
    /* Negative only for a bad format or conversion, and the formats are ours. */
    wi_assert(added >= 0);
    if (added > 0) text->length += (size_t)added;
}

/*
 * Bytes of the UTF-8 character at `at`, or 0 if there is none. Overlong forms, surrogates and numbers
 * above U+10FFFF are none. Stops at a terminating zero.
 */
static size_t utf8_bytes(const unsigned char *at)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t                bytes;
    uint32_t              number;

    if (at[0] < 0x80) return 1;
    if (at[0] < 0xc0 || at[0] > 0xf7) return 0;
    bytes = at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    number = at[0] & (0x7f >> bytes);
    for (size_t i = 1; i < bytes; i++) {
        if ((at[i] & 0xc0) != 0x80) return 0;
        number = number << 6 | (at[i] & 0x3f);
    }
    if (number < least[bytes] || number > 0x10ffff) return 0;
    if (number >= 0xd800 && number <= 0xdfff) return 0;
    return bytes;
}

static void json_quote(struct wi_text *text, const char *value)
{
    const unsigned char *at = (const unsigned char *)value;

    wi_text_add(text, "\"");
    while (*at) {
        size_t bytes = utf8_bytes(at);

        if (bytes == 0) {
            /* A name may have been cut inside a character: JSON must stay valid. */
            wi_text_add(text, "\\ufffd");
            bytes = 1;
        } else if (*at == '"' || *at == '\\') {
            wi_text_add(text, "\\%c", *at);
        } else if (*at < 0x20) {
            wi_text_add(text, "\\u%04x", *at);
        } else {
            wi_text_add(text, "%.*s", (int)bytes, (const char *)at);
        }
        at += bytes;
    }
    wi_text_add(text, "\"");
}

/* The comma before a member, and its key. */
static void json_member(struct wi_text *text, const char *key)
{
    if (text->comma) wi_text_add(text, ",");
    text->comma = true;
    if (key) {
        json_quote(text, key);
        wi_text_add(text, ":");
    }
}

void wi_json_open(struct wi_text *text, const char *key, char bracket)
{
    wi_assert(bracket == '{' || bracket == '[');
    json_member(text, key);
    wi_text_add(text, "%c", bracket);
    text->comma = false;
}

void wi_json_close(struct wi_text *text, char bracket)
{
    wi_assert(bracket == '}' || bracket == ']');
    wi_text_add(text, "%c", bracket);
    text->comma = true;
}

void wi_json_u64(struct wi_text *text, const char *key, uint64_t value)
{
    json_member(text, key);
    wi_text_add(text, "%" PRIu64, value);
}

void wi_json_string(struct wi_text *text, const char *key, const char *value)
{
    json_member(text, key);
    json_quote(text, value);
}
