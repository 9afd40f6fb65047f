/* SPDX-License-Identifier: Apache-2.0 */
/* DLPack exports: what they say, and that a deleter may come late, from any thread, or last of all. */
#include "base/alloc.h"
#include "pool/fixture.h"
#include "tier/dlpack.h"

#include <pthread.h>
#include <string.h>
#include <weir/scope.h>

#define MS UINT64_C(1000000)

static struct weir_runtime *rt;
static struct weir_pool    *pool;
static struct weir_stream  *stream;
static struct weir_tensor  *tensor;
static float                values[3][5];

static void begin(uint32_t memory)
{
    rt = make_runtime();
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 1, .memory = memory), &pool));
    ok(weir_stream_acquire(rt, WEIR_STREAM_COMM, WEIR_NOW, &stream));
    ok(weir_tensor_create(pool, WEIR_OPTS(tensor, .dtype = WEIR_DTYPE_F32, .rank = 2, .shape = {3, 5}), WEIR_NOW,
                          &tensor));
    for (int i = 0; i < 15; i++) values[i / 5][i % 5] = (float)i;
    ok(weir_tensor_fill(tensor, values, sizeof values, WEIR_NOW));
}

static void end_runtime(void)
{
    ok(weir_stream_release(stream));
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

static struct weir_tensor_info info_of(void)
{
    struct weir_tensor_info info = {.struct_size = sizeof info};
    ok(weir_tensor_info_read(tensor, &info));
    return info;
}

Test(dlpack, says_what_the_tensor_is)
{
    struct DLManagedTensor *export;
    begin(0);
    ok(weir_tensor_dlpack(tensor, 0, &export));
    const struct wi_dlpack_tensor *view = &export->tensor;
    cr_assert_eq(view->data, info_of().host, "no copy");
    cr_assert_eq(view->byte_offset, 0);
    cr_assert_eq(view->place.type, WI_DLPACK_CPU);
    cr_assert_eq(view->place.ordinal, 0);
    cr_assert_eq(view->dtype.code, WI_DLPACK_FLOAT);
    cr_assert_eq(view->dtype.bits, 32);
    cr_assert_eq(view->dtype.lanes, 1);
    cr_assert_eq(view->rank, 2);
    cr_assert(view->shape[0] == 3 && view->shape[1] == 5);
    cr_assert(view->strides[0] == 5 && view->strides[1] == 1);
    export->deleter(export);
    ok(weir_tensor_dlpack(tensor, WEIR_DLPACK_PINNED, &export));
    cr_assert_eq(export->tensor.place.type, WI_DLPACK_CUDA_HOST);
    export->deleter(export);
    cr_assert_eq(pool_stats(pool).leased, 1, "the tensor still holds its buffer");
    weir_tensor_destroy(tensor);
    cr_assert_eq(pool_stats(pool).leased, 0);
    end_runtime();
}

Test(dlpack, versioned_exports_say_more)
{
    struct DLManagedTensorVersioned *export;
    begin(0);
    ok(weir_tensor_dlpack_versioned(tensor, WEIR_DLPACK_READ_ONLY, &export));
    cr_assert_eq(export->version.major, 1);
    cr_assert_eq(export->flags, WI_DLPACK_FLAG_READ_ONLY);
    cr_assert_eq(export->tensor.data, info_of().host);
    weir_tensor_destroy(tensor);
    cr_assert_eq(pool_stats(pool).leased, 1);
    export->deleter(export);
    cr_assert_eq(pool_stats(pool).leased, 0);
    end_runtime();
}

Test(dlpack, device_view)
{
    struct DLManagedTensor  *export;
    struct weir_runtime_info info = {.struct_size = sizeof info};
    begin(0);
    answers(weir_tensor_dlpack(tensor, WEIR_DLPACK_DEVICE, &export), NOENT);
    ok(weir_tensor_to_device(tensor, stream));
    ok(weir_tensor_sync(tensor, WEIR_FOREVER));
    ok(weir_tensor_dlpack(tensor, WEIR_DLPACK_DEVICE, &export));
    cr_assert_eq((uint64_t)(uintptr_t)export->tensor.data, info_of().device);
    ok(weir_runtime_info_read(rt, &info));
    if (info.flags & WEIR_INFO_DEVICE_IS_HOST) {
        cr_assert_eq(export->tensor.place.type, WI_DLPACK_CPU, "an emulated device's memory is the host's");
        cr_assert_arr_eq((float *)export->tensor.data, (float *)values, sizeof values);
    } else {
        cr_assert_eq(export->tensor.place.type, WI_DLPACK_CUDA);
    }
    weir_tensor_destroy(tensor);
    export->deleter(export);
    end_runtime();
}

Test(dlpack, pending_work_must_be_over_or_known_to_be_ordered)
{
    struct DLManagedTensor *export;
    begin(0);
    ok(weir_stream_delay(stream, 250 * MS));
    ok(weir_tensor_to_device(tensor, stream));
    answers(weir_tensor_dlpack(tensor, 0, &export), BUSY);
    ok(weir_tensor_dlpack(tensor, WEIR_DLPACK_UNORDERED | WEIR_DLPACK_DEVICE, &export));
    export->deleter(export);
    ok(weir_tensor_sync(tensor, WEIR_FOREVER));
    ok(weir_tensor_dlpack(tensor, 0, &export));
    export->deleter(export);
    weir_tensor_destroy(tensor);
    end_runtime();
}

static void *delete_it(void *export)
{
    ((struct DLManagedTensor *)export)->deleter(export);
    return NULL;
}

static void delete_on_a_thread(struct DLManagedTensor *export)
{
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, delete_it, export), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
}

Test(dlpack, memory_waits_for_the_streams_that_were_named)
{
    struct DLManagedTensor *export;
    begin(0);
    ok(weir_tensor_dlpack(tensor, 0, &export));
    struct weir_buffer *buffer = info_of().buffer;
    weir_tensor_destroy(tensor);
    ok(weir_stream_delay(stream, 250 * MS));
    ok(weir_buffer_guard(buffer, stream));
    delete_on_a_thread(export);
    struct weir_pool_stats stats = pool_stats(pool);
    cr_assert(stats.leased == 0 && stats.retiring == 1);
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    eventually(pool_stats(pool).free == 1);
    end_runtime();
}

Test(dlpack, deleter_after_the_pool)
{
    struct DLManagedTensor *export;
    begin(0);
    ok(weir_tensor_dlpack(tensor, 0, &export));
    weir_tensor_destroy(tensor);
    weir_pool_destroy(pool);
    pool = NULL;
    cr_assert_arr_eq((float *)export->tensor.data, (float *)values, sizeof values);
    delete_on_a_thread(export);
    end_runtime();
}

Test(dlpack, deleters_after_the_runtime)
{
    struct DLManagedTensor          *export;
    struct DLManagedTensorVersioned *device;
    begin(0);
    ok(weir_tensor_to_device(tensor, stream));
    ok(weir_tensor_sync(tensor, WEIR_FOREVER));
    ok(weir_tensor_dlpack(tensor, 0, &export));
    ok(weir_tensor_dlpack_versioned(tensor, WEIR_DLPACK_DEVICE, &device));
    end_runtime();
    weir_tensor_destroy(tensor);
    float *data = export->tensor.data;
    cr_assert_arr_eq(data, (float *)values, sizeof values, "what is leased stays mapped");
    data[0] = 8;
    delete_on_a_thread(export);
    if (device->tensor.place.type == WI_DLPACK_CPU)
        cr_assert_arr_eq((float *)device->tensor.data, (float *)values, sizeof values);
    device->deleter(device);
}

#define DELETERS 8

Test(dlpack, the_last_of_many_deleters_gives_the_lease_back)
{
    struct DLManagedTensor *export[DELETERS];
    pthread_t               thread[DELETERS];
    begin(0);
    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < DELETERS; i++) ok(weir_tensor_dlpack(tensor, 0, &export[i]));
        weir_tensor_destroy(tensor);
        for (int i = 0; i < DELETERS; i++) {
            cr_assert_eq(pool_stats(pool).leased, 1);
            cr_assert_eq(pthread_create(&thread[i], NULL, delete_it, export[i]), 0);
            if (i == 0) cr_assert_eq(pthread_join(thread[0], NULL), 0);
            if (i == 0) continue;
            if (i < DELETERS - 2) cr_assert_eq(pthread_join(thread[i], NULL), 0);
            if (i == DELETERS - 2) { /* the last two race */
                cr_assert_eq(pthread_create(&thread[i + 1], NULL, delete_it, export[i + 1]), 0);
                cr_assert_eq(pthread_join(thread[i], NULL), 0);
                cr_assert_eq(pthread_join(thread[i + 1], NULL), 0);
                break;
            }
        }
        cr_assert_eq(pool_stats(pool).leased, 0);
        ok(weir_tensor_create(pool, WEIR_OPTS(tensor, .dtype = WEIR_DTYPE_I8, .rank = 1, .shape = {7}), WEIR_NOW,
                              &tensor));
    }
    weir_tensor_destroy(tensor);
    end_runtime();
}

Test(dlpack, every_dtype_has_its_code)
{
    static const struct {
        uint32_t dtype;
        uint8_t  code, bits;
        bool     versioned_only;
    } rows[] = {
        {WEIR_DTYPE_BOOL, 6, 8, false},     {WEIR_DTYPE_U8, 1, 8, false},       {WEIR_DTYPE_I8, 0, 8, false},
        {WEIR_DTYPE_U16, 1, 16, false},     {WEIR_DTYPE_I16, 0, 16, false},     {WEIR_DTYPE_U32, 1, 32, false},
        {WEIR_DTYPE_I32, 0, 32, false},     {WEIR_DTYPE_U64, 1, 64, false},     {WEIR_DTYPE_I64, 0, 64, false},
        {WEIR_DTYPE_F16, 2, 16, false},     {WEIR_DTYPE_BF16, 4, 16, false},    {WEIR_DTYPE_F32, 2, 32, false},
        {WEIR_DTYPE_F64, 2, 64, false},     {WEIR_DTYPE_F8_E4M3, 10, 8, true},  {WEIR_DTYPE_F8_E5M2, 12, 8, true},
        {WEIR_DTYPE_C64, 5, 64, false},
    };
    begin(0);
    weir_tensor_destroy(tensor);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct DLManagedTensor          *plain;
        struct DLManagedTensorVersioned *versioned;
        ok(weir_tensor_create(pool, WEIR_OPTS(tensor, .dtype = rows[i].dtype), WEIR_NOW, &tensor));
        ok(weir_tensor_dlpack_versioned(tensor, 0, &versioned));
        cr_assert_eq(versioned->tensor.dtype.code, rows[i].code, "dtype %u", rows[i].dtype);
        cr_assert_eq(versioned->tensor.dtype.bits, rows[i].bits, "dtype %u", rows[i].dtype);
        versioned->deleter(versioned);
        if (rows[i].versioned_only) {
            answers(weir_tensor_dlpack(tensor, 0, &plain), NOSYS);
        } else {
            ok(weir_tensor_dlpack(tensor, 0, &plain));
            cr_assert_eq(plain->tensor.dtype.code, rows[i].code);
            plain->deleter(plain);
        }
        weir_tensor_destroy(tensor);
    }
    end_runtime();
}

Test(dlpack, what_cannot_be_is_refused)
{
    struct DLManagedTensor *export = NULL;
    begin(WEIR_MEMORY_PAGEABLE);
    answers(weir_tensor_dlpack(tensor, WEIR_DLPACK_PINNED, &export), KIND);
    answers(weir_tensor_dlpack(tensor, WEIR_DLPACK_PINNED | WEIR_DLPACK_DEVICE, &export), INVAL);
    answers(weir_tensor_dlpack(tensor, WEIR_DLPACK_READ_ONLY, &export), INVAL);
    answers(weir_tensor_dlpack(tensor, 1024, &export), OPTS);
    answers(weir_tensor_dlpack(NULL, 0, &export), INVAL);
    wi_alloc_fail_at(1);
    answers(weir_tensor_dlpack(tensor, 0, &export), NOMEM);
    wi_alloc_fail_at(0);
    cr_assert_null(export);
    weir_tensor_destroy(tensor);
    cr_assert_eq(pool_stats(pool).leased, 0, "a refused export holds nothing");
    end_runtime();
}

Test(dlpack, an_export_keeps_the_lease)
{
    struct weir_runtime    *runtime = make_runtime();
    struct weir_pool       *small;
    struct weir_tensor     *tensor;
    struct DLManagedTensor *export;
    ok(weir_pool_create(runtime, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 1), &small));
    ok(weir_tensor_create(small, WEIR_OPTS(tensor, .dtype = WEIR_DTYPE_U8, .rank = 1, .shape = {16}), WEIR_NOW, &tensor));
    ok(weir_tensor_dlpack(tensor, 0, &export));
    weir_tensor_destroy(tensor);
    cr_assert_eq(pool_stats(small).leased, 1);
    export->deleter(export);
    cr_assert_eq(pool_stats(small).leased, 0);
    weir_pool_destroy(small);
    weir_runtime_destroy(runtime);
}
