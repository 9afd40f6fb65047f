/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_describe.c - the driver's library, version, optional features and devices, in words and as JSON */
#include "device/cuda.h"
#include "device/cuda_device.h"

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

/* Returns whether the feature is there. */
static bool describe_feature(struct wi_text *text, const struct wi_cu_facts *facts,
                             const struct feature *feature)
{
    for (size_t i = 0; i < WI_ARRAY_COUNT(feature->rows); i++) {
        const struct wi_cu_symbol *symbol = &facts->symbols[feature->rows[i]];
        if (!symbol->found) continue;
        wi_text_add(text, "yes, by %s of CUDA ", symbol->name);
        add_version(text, symbol->version);
        return true;
    }
    /* The oldest form is the one whose absence has to be explained. */
    describe_missing(text, &facts->symbols[feature->rows[1]], facts->version);
    wi_text_add(text, "; %s", feature->otherwise);
    return false;
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
    for (size_t i = 0; i < WI_ARRAY_COUNT(features); i++) {
        wi_text_add(text, "%s: ", features[i].name);
        (void)describe_feature(text, facts, &features[i]);
        wi_text_add(text, "\n");
    }
}

/* ---- JSON ---- */

static void report_features(struct wi_text *text, const struct wi_cu_facts *facts)
{
    wi_json_open(text, "features", '[');
    for (size_t i = 0; i < WI_ARRAY_COUNT(features); i++) {
        char           words[256];
        struct wi_text sentence;
        wi_text_init(&sentence, words, sizeof(words));
        bool found = describe_feature(&sentence, facts, &features[i]);
        wi_json_open(text, NULL, '{');
        wi_json_string(text, "name", features[i].name);
        wi_json_u64(text, "found", found);
        wi_json_string(text, "text", words);
        wi_json_close(text, '}');
    }
    wi_json_close(text, ']');
}

static void report_link(struct wi_text *text, const char *bus_id)
{
    struct wi_cuda_link link = wi_cuda_link_read(WI_PCI_DEVICES, bus_id);
    int32_t             node = wi_cuda_numa_node(WI_PCI_DEVICES, bus_id);
    wi_json_string(text, "pci_bus_id", bus_id);
    if (link.speed[0]) wi_json_string(text, "link_speed", link.speed);
    if (link.speed_max[0]) wi_json_string(text, "link_speed_max", link.speed_max);
    if (link.width) wi_json_u64(text, "link_width", link.width);
    if (link.width_max) wi_json_u64(text, "link_width_max", link.width_max);
    if (node >= 0) wi_json_u64(text, "numa_node", (uint64_t)node);
}

/* None of these calls needs or makes a context. */
static void report_device(struct wi_text *text, const struct wi_cu *cu, int ordinal)
{
    wi_cu_device device;
    char         name[96] = "";
    char         bus_id[32] = "";
    size_t       bytes = 0;
    if (cu->device(&device, ordinal) != WI_CU_SUCCESS) return;
    wi_json_open(text, NULL, '{');
    wi_json_u64(text, "ordinal", (uint64_t)ordinal);
    if (cu->device_name(name, (int)sizeof(name), device) == WI_CU_SUCCESS) {
        name[sizeof(name) - 1] = '\0';
        wi_json_string(text, "name", name);
    }
    if (cu->device_bytes(&bytes, device) == WI_CU_SUCCESS) wi_json_u64(text, "bytes", bytes);
    if (cu->device_bus_id != NULL &&
        cu->device_bus_id(bus_id, (int)sizeof(bus_id), device) == WI_CU_SUCCESS)
        report_link(text, bus_id);
    wi_json_close(text, '}');
}

static void report_devices(struct wi_text *text, const struct wi_cu *cu)
{
    int count = 0;
    wi_json_open(text, "devices", '[');
    if (cu->device_count(&count) == WI_CU_SUCCESS)
        for (int i = 0; i < count; i++) report_device(text, cu, i);
    wi_json_close(text, ']');
}

void wi_cuda_report(struct wi_text *text)
{
    const struct wi_cu_facts *facts = wi_cu_facts();
    const struct wi_cu       *cu = NULL;
    char                      words[16] = "";
    struct wi_text            version;
    wi_text_init(&version, words, sizeof(words));
    if (facts->version > 0) add_version(&version, facts->version);
    bool forked = wi_cu_forked();
    wi_json_open(text, NULL, '{');
    wi_json_string(text, "library", facts->library);
    wi_json_string(text, "version", words);
    wi_json_string(text, "problem",
                   facts->problem ? facts->problem
                   : forked       ? "the driver was loaded before this process was forked"
                                  : "");
    if (!facts->problem && !forked && wi_cu_load(&cu) == 0) {
        report_devices(text, cu);
        report_features(text, facts);
    }
    wi_json_close(text, '}');
}
