/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_describe.c - the driver's library, version and optional features in words */
#include "device/cuda.h"
#include "device/cuda_load.h"

/* A feature that weir uses where it is found: any one of up to two symbols serves it. */
struct feature {
    const char *name;
    const char *otherwise; /* what happens without it */
    uint32_t    rows[2];
};

static const struct feature features[] = {
    {"many copies in one driver call",
     "one driver call for each copy",
     {WI_CU_ROW_copy_batch, WI_CU_ROW_copy_batch_12080}},
    {"reclaim beside a graph capture",
     "queries may fail while another thread captures a graph",
     {WI_CU_ROW_capture_mode, WI_CU_ROW_capture_mode}},
    {"placement next to the device",
     "memory is not bound to the device's NUMA node",
     {WI_CU_ROW_device_bus_id, WI_CU_ROW_device_bus_id}},
};

static void add_version(struct wi_text *text, int version)
{
    wi_text_add(text, "%d.%d", version / 1000, version % 1000 / 10);
}

static void describe_missing(struct wi_text *text, const struct wi_cu_symbol *symbol,
                             int driver_version)
{
    wi_text_add(text, "missing: %s of CUDA ", symbol->name);
    add_version(text, symbol->version);
    if (driver_version < symbol->version) {
        wi_text_add(text, " is newer than the driver");
    } else if (symbol->result != WI_CU_SUCCESS) {
        wi_text_add(text, " was refused with result %u", symbol->result);
    } else {
        wi_text_add(text, " is not in the driver");
    }
}

static void describe_feature(struct wi_text *text, const struct wi_cu_facts *facts,
                             const struct feature *feature)
{
    wi_text_add(text, "%s: ", feature->name);
    for (size_t i = 0; i < WI_ARRAY_COUNT(feature->rows); i++) {
        const struct wi_cu_symbol *symbol = &facts->symbols[feature->rows[i]];
        if (!symbol->found) continue;
        wi_text_add(text, "yes, by %s of CUDA ", symbol->name);
        add_version(text, symbol->version);
        wi_text_add(text, "\n");
        return;
    }
    /* The oldest form is the one whose absence has to be explained. */
    describe_missing(text, &facts->symbols[feature->rows[1]], facts->version);
    wi_text_add(text, "; %s\n", feature->otherwise);
}

void wi_cuda_describe(struct wi_text *text)
{
    const struct wi_cu_facts *facts = wi_cu_facts();
    wi_text_add(text, "library: %s\n", facts->library);
    if (facts->version > 0) {
        wi_text_add(text, "driver: CUDA ");
        add_version(text, facts->version);
        wi_text_add(text, "\n");
    }
    if (facts->problem != NULL) {
        wi_text_add(text, "not usable: %s\n", facts->problem);
        return;
    }
    for (size_t i = 0; i < WI_ARRAY_COUNT(features); i++)
        describe_feature(text, facts, &features[i]);
}
