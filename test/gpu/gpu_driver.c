/* SPDX-License-Identifier: Apache-2.0 */
/* gpu_driver.c - opening the device, raw calls of the driver, kernels; and those kernels in C, for the driver double */
#include "gpu.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct gpu_driver gpu;

static struct CUmod_st  *module;
static struct CUfunc_st *functions[GPU_KERNELS_COUNT];

/* ---- opening ---- */

/* weir has opened the library already, so that this finds the same one. */
static void find_symbols(void)
{
    void          *library = dlopen(wi_cu_facts()->library, RTLD_NOW | RTLD_LOCAL);
    wi_cu_find_fn *find = NULL;
    unsigned       status;
    if (library == NULL) gpu_fatal("%s: %s", wi_cu_facts()->library, dlerror());
    *(void **)&find = dlsym(library, "cuGetProcAddress_v2");
    if (find == NULL) gpu_fatal("%s lacks cuGetProcAddress_v2", wi_cu_facts()->library);
#define X(field, symbol, version, arguments)                                                       \
    (void)find(#symbol, (void **)&gpu.field, version, WI_CU_PROC_LEGACY_STREAM, &status);
    GPU_SYMBOLS(X)
#undef X
    *(void **)&gpu.lose = dlsym(library, "fakecuda_lose");
    gpu.is_double = gpu.lose != NULL;
}

void gpu_load_eagerly(void)
{
    (void)setenv("CUDA_MODULE_LOADING", "EAGER", 0);
}

void gpu_find(void)
{
    if (gpu.cu != NULL) return;
    GPU_OK(wi_cu_load(&gpu.cu));
    find_symbols();
}

struct weir_runtime *gpu_open(const struct weir_runtime_opts *opts)
{
    struct weir_runtime_opts filled;
    struct weir_runtime     *rt = NULL;
    char                     text[512];
    weir_opts_init(&filled, sizeof(filled));
    if (opts) filled = *opts;
    filled.backend = "cuda";
    int err = weir_runtime_create(&filled, &rt);
    if (err == WEIR_ENODRIVER) {
        (void)weir_error_text(text, sizeof(text));
        fprintf(stderr, "skipped: %s\n", text);
        exit(GPU_EXIT_SKIP);
    }
    if (err < 0) gpu_fatal_weir("weir_runtime_create");
    gpu_find();
    GPU_OK(weir_runtime_cuda(rt, &gpu.context));
    return rt;
}

void gpu_attach(void)
{
    struct CUctx_st *current = NULL;
    GPU_CU(gpu.cu->context_current(&current));
    if (current != gpu.context) GPU_CU(gpu.cu->context_push(gpu.context));
}

/* ---- the kernels for the double ---- */

static uint32_t run_check(const void *parameter, unsigned blocks, unsigned threads)
{
    const struct gpu_check_parameter *check = parameter;
    const volatile uint64_t          *words = (const volatile uint64_t *)(uintptr_t)check->words;
    (void)blocks, (void)threads;
    for (uint64_t i = 0; i < check->count; i++)
        if (words[i] != check->stamp + i) wi_add((_Atomic uint32_t *)(uintptr_t)check->errors, 1, relaxed);
    return 0;
}

static uint32_t run_sum(const void *parameter, unsigned blocks, unsigned threads)
{
    const struct gpu_sum_parameter *sum = parameter;
    const volatile uint64_t        *words = (const volatile uint64_t *)(uintptr_t)sum->words;
    uint64_t                        total = 0;
    (void)blocks, (void)threads;
    for (uint64_t i = 0; i < sum->count; i++) total += words[i];
    wi_add((_Atomic uint64_t *)(uintptr_t)sum->out, total, relaxed);
    return 0;
}

static uint32_t run_spin(const void *parameter, unsigned blocks, unsigned threads)
{
    const struct gpu_spin_parameter *spin = parameter;
    uint64_t                         until_ns = weir_deadline_after_ns(spin->ns);
    (void)blocks, (void)threads;
    while (weir_clock_ns() < until_ns) continue;
    return 0;
}

static uint32_t run_crash(const void *parameter, unsigned blocks, unsigned threads)
{
    (void)parameter, (void)blocks, (void)threads;
    return WI_CU_ILLEGAL_ADDRESS;
}

static void give_kernels_to_double(void)
{
    typedef uint32_t run_fn(const void *parameter, unsigned blocks, unsigned threads);
    void (*give)(const char *name, size_t parameter_bytes, run_fn *run) = NULL;
    void *library = dlopen(wi_cu_facts()->library, RTLD_NOW | RTLD_LOCAL);
    *(void **)&give = dlsym(library, "fakecuda_kernel");
    if (give == NULL) gpu_fatal("the double has no kernels");
#define X(name) give("gpu_" #name, sizeof(struct gpu_##name##_parameter), run_##name);
    GPU_KERNELS(X)
#undef X
}

/* ---- kernels ---- */

/* A file beside the program, and a zero behind its end; NULL: there is none. */
static char *read_image(const char *name)
{
    char    path[4096];
    char   *image = NULL;
    long    bytes = 0;
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 64);
    if (length < 0) return NULL;
    path[length] = '\0';
    snprintf(strrchr(path, '/') + 1, 64, "%s", name);
    FILE *file = fopen(path, "re");
    if (file == NULL) return NULL;
    if (fseek(file, 0, SEEK_END) == 0) bytes = ftell(file);
    rewind(file);
    if (bytes > 0) image = calloc(1, (size_t)bytes + 1);
    if (image != NULL && fread(image, 1, (size_t)bytes, file) != (size_t)bytes) {
        free(image);
        image = NULL;
    }
    fclose(file);
    return image;
}

/* Machine code first; the text is for the driver's own compiler. */
static bool load_module(void)
{
    static const char *const names[] = {"kernels.fatbin", "kernels.ptx"};
    bool                     found = false;
    for (size_t i = 0; i < WI_ARRAY_COUNT(names); i++) {
        char *image = gpu.is_double ? calloc(1, 1) : read_image(names[i]);
        if (image == NULL) continue;
        found = true;
        wi_cu_result result = gpu.module_load(&module, image);
        free(image);
        if (result == WI_CU_SUCCESS) return true;
        module = NULL;
        gpu_skip(names[i], "the driver refuses it with %u, %s", result, wi_cu_meaning_of(result)->name);
    }
    if (!found) gpu_skip("kernels", "no kernels.fatbin beside the program: it was built without nvcc");
    return false;
}

bool gpu_load_kernels(void)
{
    static const char *const names[] = {
#define X(name) "gpu_" #name,
        GPU_KERNELS(X)
#undef X
    };
    gpu_attach();
    if (module) return true;
    if (gpu.module_load == NULL || gpu.module_function == NULL || gpu.launch == NULL) {
        gpu_skip("kernels", "the driver lacks cuModuleLoadData, cuModuleGetFunction or cuLaunchKernel");
        return false;
    }
    if (gpu.is_double) give_kernels_to_double();
    if (!load_module()) return false;
    for (size_t i = 0; i < GPU_KERNELS_COUNT; i++) GPU_CU(gpu.module_function(&functions[i], module, names[i]));
    return true;
}

wi_cu_result gpu_launch(enum gpu_kernel kernel, unsigned blocks, unsigned threads, struct CUstream_st *stream,
                        void *parameter)
{
    void *parameters[] = {parameter};
    return gpu.launch(functions[kernel], blocks, 1, 1, threads, 1, 1, 0, stream, parameters, NULL);
}

/* ---- memory ---- */

void gpu_read(uint64_t address, void *into, size_t bytes)
{
    struct CUstream_st *stream = NULL;
    gpu_attach();
    GPU_CU(gpu.cu->stream_create(&stream, WI_CU_STREAM_NON_BLOCKING, 0));
    GPU_CU(gpu.cu->copy_down(into, address, bytes, stream));
    GPU_CU(gpu.stream_sync(stream));
    GPU_CU(gpu.cu->stream_destroy(stream));
}

void gpu_write(uint64_t address, const void *from, size_t bytes)
{
    struct CUstream_st *stream = NULL;
    gpu_attach();
    GPU_CU(gpu.cu->stream_create(&stream, WI_CU_STREAM_NON_BLOCKING, 0));
    GPU_CU(gpu.cu->copy_up(address, from, bytes, stream));
    GPU_CU(gpu.stream_sync(stream));
    GPU_CU(gpu.cu->stream_destroy(stream));
}
