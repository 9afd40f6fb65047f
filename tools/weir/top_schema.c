/* SPDX-License-Identifier: Apache-2.0 */
/* top_schema.c - see top_schema.h; and looking up what a sample says */
#include "top_schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The next word of a line; NULL: there is none. */
static char *next_word(char **at)
{
    char *word = *at + strspn(*at, " ");

    if (!*word) return NULL;
    *at = word + strcspn(word, " ");
    if (**at) *(*at)++ = '\0';
    return word;
}

static bool next_size(char **at, size_t *out)
{
    char *word = next_word(at);
    char *end;

    if (!word || *word < '0' || *word > '9') return false;
    *out = strtoull(word, &end, 10);
    return !*end;
}

static bool parse_section(struct top_page *page, char *at)
{
    struct top_section *section = &page->sections[page->sections_count];
    size_t              slot_bytes = page->head.slot_bytes, rows_bytes, end;

    if (page->sections_count == TOP_SECTIONS_MAX) return false;
    section->name = next_word(&at);
    section->shape = next_word(&at);
    if (!section->name || !section->shape || !next_size(&at, &section->offset) ||
        !next_size(&at, &section->row_bytes) || !next_size(&at, &section->rows_max))
        return false;
    if (section->offset % 8 || section->row_bytes % 8) return false;
    if (__builtin_mul_overflow(section->row_bytes, section->rows_max, &rows_bytes) ||
        __builtin_add_overflow(rows_bytes, section->offset + 2 * sizeof(uint64_t), &end))
        return false;
    page->sections_count++;
    return section->offset <= slot_bytes && end <= slot_bytes;
}

static bool parse_field(struct top_page *page, struct top_field *field, char *at)
{
    struct top_section *section;
    const char         *type;

    if (page->sections_count == 0) return false;
    section = &page->sections[page->sections_count - 1];
    field->name = next_word(&at);
    type = next_word(&at);
    if (!field->name || !type || !next_size(&at, &field->offset) || !next_size(&at, &field->bytes)) return false;
    field->kind = next_word(&at);
    if (!field->kind) return false;
    if (strcmp(type, "u64") == 0) {
        field->type = TOP_U64;
    } else if (strcmp(type, "u32") == 0) {
        field->type = TOP_U32;
    } else if (strcmp(type, "text") == 0) {
        field->type = TOP_TEXT;
    } else {
        return true; /* of a later release: passed over */
    }
    if (field->type != TOP_TEXT && field->bytes != (field->type == TOP_U64 ? 8 : 4)) return false;
    if (field->bytes == 0 || field->bytes > section->row_bytes || field->offset > section->row_bytes - field->bytes)
        return false;
    if (!section->fields) section->fields = field;
    section->fields_count++;
    return true;
}

static size_t count_lines(const char *text)
{
    size_t lines = 1;

    for (; *text; text++) lines += *text == '\n';
    return lines;
}

bool top_schema_parse(struct top_page *page)
{
    size_t used = 0;
    char  *rest = page->schema;
    char  *line;

    page->fields = calloc(count_lines(page->schema), sizeof(*page->fields));
    if (!page->fields) return false;
    while ((line = strsep(&rest, "\n")) != NULL) {
        char *word = next_word(&line);
        if (!word) continue;
        if (strcmp(word, "section") == 0) {
            if (!parse_section(page, line)) return false;
        } else if (strcmp(word, "field") == 0) {
            size_t before = page->sections_count ? page->sections[page->sections_count - 1].fields_count : 0;
            if (!parse_field(page, &page->fields[used], line)) return false;
            used += page->sections[page->sections_count - 1].fields_count - before;
        }
    }
    return true;
}

/* ---- looking up ---- */

const struct top_section *top_section(const struct top_page *page, const char *name)
{
    for (size_t i = 0; i < page->sections_count; i++)
        if (strcmp(page->sections[i].name, name) == 0) return &page->sections[i];
    return NULL;
}

size_t top_rows(const struct top_section *section, const struct top_sample *sample, size_t *all)
{
    uint64_t counts[2] = {0};

    if (section && sample->slot) memcpy(counts, sample->slot + section->offset, sizeof(counts));
    if (section && counts[0] > section->rows_max) counts[0] = section->rows_max;
    if (all) *all = counts[1];
    return counts[0];
}

const void *top_row(const struct top_section *section, const struct top_sample *sample, size_t at)
{
    if (!section || !sample->slot || at >= top_rows(section, sample, NULL)) return NULL;
    return sample->slot + section->offset + 2 * sizeof(uint64_t) + at * section->row_bytes;
}

const struct top_field *top_field(const struct top_section *section, const char *name)
{
    for (size_t i = 0; section && i < section->fields_count; i++)
        if (strcmp(section->fields[i].name, name) == 0) return &section->fields[i];
    return NULL;
}

uint64_t top_value(const struct top_field *field, const void *row)
{
    uint64_t wide = 0;
    uint32_t narrow = 0;

    if (!field || !row || field->type == TOP_TEXT) return 0;
    if (field->type == TOP_U64) {
        memcpy(&wide, (const char *)row + field->offset, sizeof(wide));
        return wide;
    }
    memcpy(&narrow, (const char *)row + field->offset, sizeof(narrow));
    return narrow;
}

uint64_t top_number(const struct top_section *section, const void *row, const char *name)
{
    return top_value(top_field(section, name), row);
}

const char *top_clean(const char *from, size_t bytes, char *text, size_t capacity)
{
    size_t length = strnlen(from, bytes);

    if (length >= capacity) length = capacity - 1;
    for (size_t i = 0; i < length; i++) {
        unsigned char letter = (unsigned char)from[i];
        text[i] = letter < 0x20 || letter >= 0x7f ? '?' : (char)letter;
    }
    text[length] = '\0';
    return text;
}

const char *top_text(const struct top_section *section, const void *row, const char *name, char *text, size_t capacity)
{
    const struct top_field *field = top_field(section, name);

    if (!field || !row || field->type != TOP_TEXT) {
        text[0] = '\0';
        return text;
    }
    return top_clean((const char *)row + field->offset, field->bytes, text, capacity);
}
