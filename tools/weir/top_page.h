/* SPDX-License-Identifier: Apache-2.0 */
/*
 * top_page.h - reading live pages (weir/page.h): finding them, copying a slot that is whole, looking fields up by name
 *
 * Nothing in a file is believed: it may be of another version, cut short, or not weir's at all. It is read with pread(), so
 * that a file that shrinks meanwhile ends a read and not the program.
 */
#ifndef WEIR_TOOL_TOP_PAGE_H
#define WEIR_TOOL_TOP_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <weir/page.h>

#define TOP_PATH_BYTES   288
#define TOP_REASON_BYTES 160
#define TOP_SECTIONS_MAX 32

enum top_type { TOP_U64, TOP_U32, TOP_TEXT };

struct top_field {
    const char   *name; /* in the schema's text */
    const char   *kind;
    enum top_type type;
    size_t        offset, bytes;
};

struct top_section {
    const char             *name;
    const char             *shape; /* inline, object or array */
    size_t                  offset, row_bytes, rows_max;
    const struct top_field *fields;
    size_t                  fields_count;
};

struct top_page {
    char               path[TOP_PATH_BYTES];
    int                fd;
    bool               dead; /* as of the last look */
    struct weir_page   head;
    char              *schema;
    struct top_field  *fields;
    struct top_section sections[TOP_SECTIONS_MAX];
    size_t             sections_count;
};

/* A copy of a slot. */
struct top_sample {
    char    *slot; /* NULL: none yet */
    uint64_t number;
    uint64_t written_ns;
};

/* Open and understand a page. On failure -1, and why. Close it also if it is dead. */
int  top_page_open(struct top_page *page, const char *path, char reason[TOP_REASON_BYTES]);
void top_page_close(struct top_page *page);
/* Is the process alive that writes it? Sets page->dead. */
bool top_page_alive(struct top_page *page);
/* Copy the latest whole slot. -1: there is none, or what is there makes no sense. */
int  top_page_read(struct top_page *page, struct top_sample *sample);
void top_sample_free(struct top_sample *sample);
/* Remove the page of a dead process. 0: it is gone; -1: somebody lives there, or it may not be removed: why. */
int  top_page_remove(const char *path, char reason[TOP_REASON_BYTES]);

/* Paths of all pages, sorted by process and number; the caller frees each and the array. Returns how many. */
size_t top_page_list(char ***paths);
/* <pid> and <number> of a page's name. */
bool top_page_parse(const char *path, uint64_t *pid, uint64_t *number);

/* ---- what a sample says; a section or field that is not there reads as nothing ---- */

const struct top_section *top_section(const struct top_page *page, const char *name);
size_t                    top_rows(const struct top_section *section, const struct top_sample *sample, size_t *all);
const void               *top_row(const struct top_section *section, const struct top_sample *sample, size_t at);
const struct top_field   *top_field(const struct top_section *section, const char *name);
uint64_t                  top_value(const struct top_field *field, const void *row);
/* Of the field of that name in a row. */
uint64_t top_number(const struct top_section *section, const void *row, const char *name);
/* The text of a field, with everything replaced that a terminal might obey. */
const char *top_text(const struct top_section *section, const void *row, const char *name, char *text, size_t capacity);
/* As top_text(), of a text of `bytes` that may lack its end. */
const char *top_clean(const char *from, size_t bytes, char *text, size_t capacity);

#endif
