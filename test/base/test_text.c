/* SPDX-License-Identifier: Apache-2.0 */
/* test_text.c - text with a known length; JSON as another reader sees it */
#include "base/text.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

Test(text, counts_beyond_its_capacity)
{
    struct wi_text text;
    char           at[8];

    wi_text_init(&text, at, sizeof(at));
    cr_assert_str_eq(at, "");
    wi_text_add(&text, "%d-", 12);
    wi_text_add(&text, "%s", "abcdefgh");
    wi_text_add(&text, "%s", "ij");
    cr_assert_eq(text.length, 13);
    cr_assert_str_eq(at, "12-abcd");
}

Test(text, every_capacity_agrees_with_the_whole)
{
    char whole[64];
    char part[65];

    for (size_t capacity = 0; capacity <= sizeof(whole); capacity++) {
        struct wi_text text;

        memset(part, '#', sizeof(part));
        wi_text_init(&text, capacity ? part : NULL, capacity);
        for (int i = 0; i < 8; i++) wi_text_add(&text, "%d,", i * 1111);
        cr_assert_eq(text.length, 2 + 7 * 5);
        snprintf(whole, sizeof(whole), "0,1111,2222,3333,4444,5555,6666,7777,");
        if (capacity > 0) {
            size_t kept = capacity - 1 < text.length ? capacity - 1 : text.length;

            cr_assert_eq(strlen(part), kept);
            cr_assert_eq(memcmp(part, whole, kept), 0);
        }
        cr_assert_eq(part[capacity], '#', "nothing is written beyond the capacity");
    }
}

Test(text, measures_without_a_buffer)
{
    struct wi_text text;

    wi_text_init(&text, NULL, 0);
    wi_json_open(&text, NULL, '{');
    wi_json_string(&text, "name", "pool");
    wi_json_close(&text, '}');
    cr_assert_eq(text.length, strlen("{\"name\":\"pool\"}"));
}

Test(json, members_and_commas)
{
    struct wi_text text;
    char           at[256];

    wi_text_init(&text, at, sizeof(at));
    wi_json_open(&text, NULL, '{');
    wi_json_u64(&text, "total", UINT64_MAX);
    wi_json_open(&text, "empty", '[');
    wi_json_close(&text, ']');
    wi_json_open(&text, "pools", '[');
    wi_json_open(&text, NULL, '{');
    wi_json_close(&text, '}');
    wi_json_open(&text, NULL, '{');
    wi_json_string(&text, "name", "a");
    wi_json_u64(&text, "n", 0);
    wi_json_close(&text, '}');
    wi_json_u64(&text, NULL, 7);
    wi_json_close(&text, ']');
    wi_json_string(&text, "last", "");
    wi_json_close(&text, '}');
    cr_assert_str_eq(at, "{\"total\":18446744073709551615,\"empty\":[],\"pools\":[{},"
                         "{\"name\":\"a\",\"n\":0},7],\"last\":\"\"}");
}

/* What jansson reads back from a string of weir's JSON, as key and as value. */
static void check_string(const char *value, const char *expected)
{
    struct wi_text text;
    char           at[4096];
    json_error_t   error;
    json_t        *root;
    json_t        *read;

    wi_text_init(&text, at, sizeof(at));
    wi_json_open(&text, NULL, '{');
    wi_json_string(&text, value, value);
    wi_json_close(&text, '}');
    cr_assert_lt(text.length, sizeof(at));
    root = json_loads(at, JSON_REJECT_DUPLICATES, &error);
    cr_assert(root, "%s: %s", at, error.text);
    read = json_object_get(root, expected);
    cr_assert(read, "the key is missing: %s", at);
    cr_assert_str_eq(json_string_value(read), expected);
    json_decref(root);
}

Test(json, plain_and_escaped_strings)
{
    check_string("", "");
    check_string("staging", "staging");
    check_string("a \"quoted\" \\path\\ /slash", "a \"quoted\" \\path\\ /slash");
    check_string("line\nbreak\ttab\r\b\f\x01\x1f\x7f", "line\nbreak\ttab\r\b\f\x01\x1f\x7f");
    check_string("\xc3\xa4 \xe2\x82\xac \xf0\x9f\x8c\x8a",
                 "\xc3\xa4 \xe2\x82\xac \xf0\x9f\x8c\x8a");
}

Test(json, bytes_that_are_not_text_are_replaced)
{
    static const char bad[][8] = {
        "\x80",             /* a continuation byte alone */
        "\xff",             /* never in UTF-8            */
        "\xc0\xaf",         /* an overlong slash         */
        "\xe0\x80\xaf",     /* overlong, three bytes     */
        "\xf0\x80\x80\xaf", /* overlong, four bytes      */
        "\xed\xa0\x80",     /* half of a surrogate pair  */
        "\xf4\x90\x80\x80", /* above U+10FFFF            */
        "\xf8\x88\x80\x80", /* five bytes were dropped   */
    };
    char text[128];
    char expected[128];

    for (size_t i = 0; i < WI_ARRAY_COUNT(bad); i++) {
        snprintf(text, sizeof(text), "a%sz", bad[i]);
        strcpy(expected, "a");
        for (size_t j = 0; j < strlen(bad[i]); j++) strcat(expected, "\xef\xbf\xbd");
        strcat(expected, "z");
        check_string(text, expected);
    }
    check_string("cut\xe2\x82", "cut\xef\xbf\xbd\xef\xbf\xbd");
}

Test(json, every_byte_gives_valid_json)
{
    char text[3] = "";

    for (int byte = 1; byte < 256; byte++) {
        struct wi_text out;
        char           at[64];
        json_error_t   error;
        json_t        *root;

        text[0] = (char)byte;
        text[1] = 'q';
        wi_text_init(&out, at, sizeof(at));
        wi_json_open(&out, NULL, '[');
        wi_json_string(&out, NULL, text);
        wi_json_close(&out, ']');
        root = json_loads(at, 0, &error);
        cr_assert(root, "byte %d: %s", byte, error.text);
        cr_assert_eq(json_array_size(root), 1);
        json_decref(root);
    }
}
