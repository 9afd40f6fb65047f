/* SPDX-License-Identifier: Apache-2.0 */
/* top_json.c - a sample of a live page as JSON, by what its schema says */
#include <string.h>
#include <weir/weir.h>

#include "top_view.h"

#define TEXT_BYTES 256

/* A name with a point is a field of an object within the row. */
static void set_field(json_t *object, const struct top_field *field, json_t *value)
{
    const char *point = strchr(field->name, '.');

    if (!point) {
        json_object_set_new(object, field->name, value);
        return;
    }
    char key[TEXT_BYTES];
    snprintf(key, sizeof(key), "%.*s", (int)(point - field->name), field->name);
    json_t *inner = json_object_get(object, key);
    if (!inner) {
        inner = json_object();
        json_object_set_new(object, key, inner);
    }
    json_object_set_new(inner, point + 1, value);
}

static void add_row(json_t *object, const struct top_section *section, const void *row)
{
    char text[TEXT_BYTES];

    for (size_t i = 0; i < section->fields_count; i++) {
        const struct top_field *field = &section->fields[i];
        if (field->type == TOP_TEXT) {
            top_clean((const char *)row + field->offset, field->bytes, text, sizeof(text));
            set_field(object, field, json_string(text));
        } else {
            set_field(object, field, json_integer((json_int_t)top_value(field, row)));
        }
    }
}

static json_t *stats_json(const struct top_page *page, const struct top_sample *now)
{
    json_t *stats = json_object();

    for (size_t i = 0; stats && i < page->sections_count; i++) {
        const struct top_section *section = &page->sections[i];
        bool                      array = strcmp(section->shape, "array") == 0;
        json_t                   *list = array ? json_array() : NULL;
        size_t                    count = top_rows(section, now, NULL);
        for (size_t at = 0; at < count; at++) {
            json_t *object = strcmp(section->shape, "inline") == 0 ? stats : json_object();
            add_row(object, section, top_row(section, now, at));
            if (array) {
                json_array_append_new(list, object);
            } else if (object != stats) {
                json_object_set_new(stats, section->name, object);
            }
        }
        if (array) json_object_set_new(stats, section->name, list);
    }
    return stats;
}

json_t *top_json(const struct top_page *page, const struct top_sample *now, bool whole)
{
    char     program[TEXT_BYTES];
    uint64_t now_ns = weir_clock_ns();
    json_t  *object = json_object();

    if (!object) return NULL;
    json_object_set_new(object, "pid", json_integer(page->head.pid));
    json_object_set_new(object, "number", json_integer(page->head.number));
    top_clean(page->head.program, sizeof(page->head.program), program, sizeof(program));
    json_object_set_new(object, "program", json_string(program));
    json_object_set_new(object, "path", json_string(page->path));
    json_object_set_new(object, "state", json_string(top_state(page, now)));
    json_object_set_new(object, "created_ns", json_integer((json_int_t)page->head.created_ns));
    json_object_set_new(object, "period_ns", json_integer((json_int_t)page->head.period_ns));
    json_object_set_new(object, "written_ns", json_integer((json_int_t)now->written_ns));
    json_object_set_new(object, "age_ns",
                        json_integer(now_ns > now->written_ns ? (json_int_t)(now_ns - now->written_ns) : 0));
    if (whole) json_object_set_new(object, "stats", stats_json(page, now));
    return object;
}
