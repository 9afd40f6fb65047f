/* SPDX-License-Identifier: Apache-2.0 */
/* top_schema.h - the text by which a live page describes itself (weir/page.h) */
#ifndef WEIR_TOOL_TOP_SCHEMA_H
#define WEIR_TOOL_TOP_SCHEMA_H

#include "top_page.h"

/* Parse page->schema, which is changed and must outlive the page's sections. False: it makes no sense, or no memory. */
bool top_schema_parse(struct top_page *page);

#endif
