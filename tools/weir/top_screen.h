/* SPDX-License-Identifier: Apache-2.0 */
/* top_screen.h - a terminal that is drawn over again: other screen, no echo, and as it was before at the end */
#ifndef WEIR_TOOL_TOP_SCREEN_H
#define WEIR_TOOL_TOP_SCREEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Take over the terminal of standard input and output; SIGINT and SIGTERM end top_screen_wait(). False: it is none. */
bool top_screen_begin(void);
void top_screen_end(void);
/* Show a frame: as many of its lines as fit. */
void top_screen_draw(const char *frame, size_t bytes);
/* Wait for a key or for so long. False: the user wants to leave. */
bool top_screen_wait(uint64_t ns);

#endif
