/* SPDX-License-Identifier: Apache-2.0 */
/* settings_format.c - the table of settings as JSON, with what this process uses and where it comes from */
#include "base/settings.h"
#include "base/text.h"

#include <weir/stats.h>

/* A row without a default reads 0 when it is not given: then there is no number to show. */
static void add_number(struct wi_text *text, uint64_t value, bool given, const char *fallback)
{
    if (given || *fallback)
        wi_json_u64(text, "value", value);
    else
        wi_json_string(text, "value", "");
}

static void add_value_COUNT(struct wi_text *text, uint64_t value, bool given, const char *fallback)
{
    add_number(text, value, given, fallback);
}

static void add_value_BYTES(struct wi_text *text, uint64_t value, bool given, const char *fallback)
{
    add_number(text, value, given, fallback);
}

static void add_value_MS(struct wi_text *text, uint64_t value, bool given, const char *fallback)
{
    add_number(text, value, given, fallback);
}

static void add_value_TEXT(struct wi_text *text, const char *value, bool given,
                           const char *fallback)
{
    (void)given;
    wi_json_string(text, "value", value ? value : fallback);
}

int weir_settings_format(char *at, size_t capacity)
{
    const struct wi_settings *settings = wi_settings();
    struct wi_text            text;

    wi_text_init(&text, at, capacity);
    wi_json_open(&text, NULL, '[');
#define X(field, variable, kind, fallback, help)                                                   \
    wi_json_open(&text, NULL, '{');                                                                \
    wi_json_string(&text, "variable", variable);                                                   \
    add_value_##kind(&text, settings->field, wi_setting_given(WI_SETTING_##field), fallback);      \
    wi_json_string(&text, "source",                                                                \
                   wi_setting_given(WI_SETTING_##field) ? "environment" : "default");              \
    wi_json_string(&text, "help", help);                                                           \
    wi_json_close(&text, '}');
    WI_SETTINGS(X)
#undef X
    wi_json_close(&text, ']');
    return (int)text.length;
}
