/* SPDX-License-Identifier: Apache-2.0 */
/* fake_config.c - what the double was told to be, before the first cuInit */
#include "fake_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void defaults_locked(void)
{
    fake.devices_count = 1;
    fake.version = 13000;
    fake.init_result = WI_CU_SUCCESS;
    fake.clock = WI_EMU_REAL;
    fake.seed = 1;
    fake.same_address = true;
    fake.unified = true;
    fake.edges_refused = false;
    snprintf(fake.bus_id, sizeof(fake.bus_id), "0000:65:00.0");
    wi_emu_model_init(&fake.model);
    fake.hidden_count = 0;
}

static bool hide_locked(const char *value)
{
    if (fake.hidden_count == FAKE_HIDDEN_MAX) return false;
    struct fake_hidden *hidden = &fake.hidden[fake.hidden_count];
    const char         *at = strchr(value, '@');
    size_t              length = at != NULL ? (size_t)(at - value) : strlen(value);
    if (length == 0 || length >= sizeof(hidden->symbol)) return false;
    memcpy(hidden->symbol, value, length);
    hidden->symbol[length] = '\0';
    hidden->version = at != NULL ? atoi(at + 1) : 0;
    /* A hidden name that never existed would make a test pass for the wrong reason. */
    if (fake_symbol_newest(hidden->symbol) == NULL) return false;
    fake.hidden_count++;
    return true;
}

static bool number_of(const char *value, unsigned long *out)
{
    char *end = NULL;
    *out = strtoul(value, &end, 10);
    return end != value && *end == '\0';
}

static bool set_locked(char *pair)
{
    char *value = strchr(pair, '=');
    if (value == NULL) return false;
    if (strncmp(pair, "hide=", 5) == 0) return hide_locked(value + 1);
    if (strcmp(pair, "clock=virtual") == 0) {
        fake.clock = WI_EMU_VIRTUAL;
        return true;
    }
    if (strcmp(pair, "edges=refuse") == 0) {
        fake.edges_refused = true;
        return true;
    }
    if (strncmp(pair, "pci=", 4) == 0) {
        snprintf(fake.bus_id, sizeof(fake.bus_id), "%s", value + 1);
        return true;
    }
    unsigned long number = 0;
    bool          is_number = number_of(value + 1, &number);
    if (is_number && strncmp(pair, "devices=", 8) == 0 && number <= FAKE_DEVICES_MAX) {
        fake.devices_count = (uint32_t)number;
    } else if (is_number && strncmp(pair, "version=", 8) == 0) {
        fake.version = (int)number;
    } else if (is_number && strncmp(pair, "init=", 5) == 0) {
        fake.init_result = (uint32_t)number;
    } else if (is_number && strncmp(pair, "seed=", 5) == 0) {
        fake.seed = number;
    } else if (is_number && strncmp(pair, "host_pointer=", 13) == 0) {
        fake.same_address = number != 0;
    } else if (is_number && strncmp(pair, "unified=", 8) == 0) {
        fake.unified = number != 0;
    } else {
        return wi_emu_model_parse(pair, &fake.model) == 0;
    }
    return true;
}

static bool parse_locked(const char *text)
{
    char copy[1024];
    if (snprintf(copy, sizeof(copy), "%s", text) >= (int)sizeof(copy)) return false;
    defaults_locked();
    fake.configured = true;
    char *rest = NULL;
    for (char *pair = strtok_r(copy, ",", &rest); pair != NULL; pair = strtok_r(NULL, ",", &rest))
        if (!set_locked(pair)) return false;
    return true;
}

void fake_configure_locked(void)
{
    if (fake.configured) return;
    const char *text = getenv("FAKECUDA");
    if (!parse_locked(text != NULL ? text : "")) fake_misuse("FAKECUDA=%s is not understood", text);
}

bool fake_is_hidden(const char *symbol, int version)
{
    for (uint32_t i = 0; i < fake.hidden_count; i++)
        if (strcmp(fake.hidden[i].symbol, symbol) == 0 && version >= fake.hidden[i].version)
            return true;
    return false;
}

FAKE_API int fakecuda_configure(const char *text)
{
    pthread_mutex_lock(&fake.lock);
    bool good = wi_load(&fake.process, relaxed) == 0 && parse_locked(text);
    pthread_mutex_unlock(&fake.lock);
    return good ? 0 : -1;
}
