/* SPDX-License-Identifier: Apache-2.0 */
/*
 * r0_facts.c - R0: what the machine, the driver and the device are
 *
 * Measures nothing. The conformance suite (stress/conformance.c) runs beside it in the same run.
 */
#include "gpu.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

static const struct {
    const char *name;
    unsigned    number;
} attributes[] = {
    {"multiprocessors", 16},
    {"compute capability, major", 75},
    {"compute capability, minor", 76},
    {"copy engines", 40},
    {"unified addressing", 41},
    {"host native atomics", 86},
    {"pageable memory access", 88},
    {"host pointer of registered memory", 91},
    {"host registration", 99},
    {"pageable memory by the host's page tables", 100},
    {"64-bit stream memory operations", 122},
    {"host NUMA node", 134},
    {"L2 cache, bytes", 38},
};

static void attributes_of_device(void)
{
    wi_cu_device device = 0;
    gpu_table("attributes", "what cuDeviceGetAttribute answers for device 0");
    GPU_CU(gpu.cu->device(&device, 0));
    for (size_t i = 0; i < WI_ARRAY_COUNT(attributes); i++) {
        int          value = 0;
        wi_cu_result result = gpu.cu->device_attribute(&value, attributes[i].number, device);
        gpu_row();
        gpu_text("attribute", attributes[i].name);
        if (result == WI_CU_SUCCESS)
            gpu_number("value", value);
        else
            gpu_text("value", wi_cu_meaning_of(result)->name);
    }
}

static void symbols_of_driver(void)
{
    const struct wi_cu_facts *facts = wi_cu_facts();
    gpu_table("symbols", "what cuGetProcAddress answers, each asked for at its own version");
    for (size_t i = 0; i < WI_CU_SYMBOLS_COUNT; i++) {
        const struct wi_cu_symbol *symbol = &facts->symbols[i];
        gpu_row();
        gpu_text("symbol", symbol->name);
        gpu_number("version", symbol->version);
        gpu_text("answer", symbol->found ? "found" : symbol->required ? "MISSING" : "missing, optional");
        gpu_check(symbol->name, symbol->found || !symbol->required, "at version %d: result %u, status %u", symbol->version,
                  symbol->result, symbol->status);
    }
}

static void line_of(const char *name, const char *path)
{
    char  line[256] = "";
    FILE *file = fopen(path, "re");
    if (file == NULL || fgets(line, (int)sizeof(line), file) == NULL) snprintf(line, sizeof(line), "(not there)");
    if (file) fclose(file);
    line[strcspn(line, "\n")] = '\0';
    gpu_row();
    gpu_text("what", name);
    gpu_text("value", line);
}

static void output_of(const char *name, const char *command)
{
    char  line[512] = "";
    FILE *pipe = popen(command, "re");
    if (pipe == NULL || fgets(line, (int)sizeof(line), pipe) == NULL) snprintf(line, sizeof(line), "(not there)");
    if (pipe) (void)pclose(pipe);
    line[strcspn(line, "\n")] = '\0';
    gpu_row();
    gpu_text("what", name);
    gpu_text("value", line);
}

static void limits_of_machine(void)
{
    struct rlimit memlock = {0};
    char          text[64] = "no limit";
    gpu_table("machine", "what decides about pinning and placement");
    (void)getrlimit(RLIMIT_MEMLOCK, &memlock);
    if (memlock.rlim_cur != RLIM_INFINITY) snprintf(text, sizeof(text), "%lu bytes", (unsigned long)memlock.rlim_cur);
    gpu_row();
    gpu_text("what", "memlock limit");
    gpu_text("value", text);
    line_of("transparent huge pages", "/sys/kernel/mm/transparent_hugepage/enabled");
    line_of("their defragmentation", "/sys/kernel/mm/transparent_hugepage/defrag");
    line_of("NUMA nodes online", "/sys/devices/system/node/online");
    line_of("cgroup v2 memory limit", "/sys/fs/cgroup/memory.max");
    line_of("cgroup v1 memory limit", "/sys/fs/cgroup/memory/memory.limit_in_bytes");
    line_of("memory mappings at most", "/proc/sys/vm/max_map_count");
    line_of("kernel module", "/proc/driver/nvidia/version");
    output_of("nvidia-smi", "nvidia-smi --query-gpu=name,driver_version,pcie.link.gen.current,pcie.link.width.current,"
                            "pcie.link.gen.max,pcie.link.width.max,memory.total --format=csv,noheader 2>&1");
}

int main(int argc, char **argv)
{
    gpu_begin("R0", "facts about the machine, the driver and the device", argc, argv);
    struct weir_runtime     *rt = gpu_open(NULL);
    struct weir_runtime_info info = {.struct_size = sizeof(info)};
    gpu_attach();
    GPU_OK(weir_runtime_info_read(rt, &info));
    gpu_fact("device", "%s, %lu MiB", info.device_name, (unsigned long)(info.device_bytes_total >> 20));
    attributes_of_device();
    symbols_of_driver();
    limits_of_machine();
    gpu_check("kernels load", gpu_load_kernels() || !gpu.is_double, "kernels.fatbin by cuModuleLoadData");
    weir_runtime_destroy(rt);
    return gpu_end();
}
