/* SPDX-License-Identifier: Apache-2.0 */
/* text.h - text into a caller's buffer with the length that the whole would need, as snprintf does; and JSON on it */
#ifndef WI_TEXT_H
#define WI_TEXT_H

#include "base/base.h"

struct wi_text {
    char  *at;       /* may be NULL when capacity is 0 */
    size_t capacity;
    size_t length;   /* of the whole text, also beyond capacity */
    bool   comma;    /* JSON: a comma is due before the next member */
};

void wi_text_init(struct wi_text *text, char *at, size_t capacity);
void wi_text_add(struct wi_text *text, const char *format, ...) WI_PRINTF(2, 3);

/* JSON: key may be NULL (array element, or the top). Strings are escaped. */
void wi_json_open(struct wi_text *text, const char *key, char bracket);
void wi_json_close(struct wi_text *text, char bracket);
void wi_json_u64(struct wi_text *text, const char *key, uint64_t value);
void wi_json_string(struct wi_text *text, const char *key, const char *value);

#endif
