/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors: a shape and a type on a leased buffer, to the device and back, and what is refused with which words. */
#include "base/alloc.h"
#include "pool/fixture.h"

#include <string.h>
#include <weir/scope.h>

#define KIB ((size_t)1024)
#define MS  UINT64_C(1000000)

static struct weir_runtime *rt;
static struct weir_pool    *pool;
static struct weir_stream  *stream;

static void open_pool(const struct weir_pool_opts *opts)
{
    rt = make_runtime();
    ok(weir_pool_create(rt, opts, &pool));
    ok(weir_stream_acquire(rt, WEIR_STREAM_COMM, WEIR_NOW, &stream));
}

static void close_pool(void)
{
    ok(weir_stream_release(stream));
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

/* The latest failure's text has these words. */
static void assert_says(const char *words)
{
    char text[512];
    (void)weir_error_text(text, sizeof text);
    cr_assert(strstr(text, words), "\"%s\" lacks \"%s\"", text, words);
}

static struct weir_tensor_info info_of(const struct weir_tensor *tensor)
{
    struct weir_tensor_info info = {.struct_size = sizeof info};
    ok(weir_tensor_info_read(tensor, &info));
    return info;
}

Test(tensor, goes_to_the_device_and_comes_back)
{
    float values[4][8], back[4][8];
    open_pool(WEIR_OPTS(pool, .buffer_bytes = 4 * KIB, .buffers_min = 2));
    struct weir_tensor *tensor;
    ok(weir_tensor_create(pool, WEIR_OPTS(tensor, .dtype = WEIR_DTYPE_F32, .rank = 2, .shape = {4, 8}), WEIR_NOW,
                          &tensor));
    for (int i = 0; i < 32; i++) values[i / 8][i % 8] = (float)i * 0.5f;
    answers(weir_tensor_to_host(tensor, stream), NOENT);
    ok(weir_tensor_fill(tensor, values, sizeof values, WEIR_NOW));
    ok(weir_tensor_to_device(tensor, stream));
    ok(weir_tensor_sync(tensor, WEIR_FOREVER));
    struct weir_tensor_info info = info_of(tensor);
    cr_assert(info.device != 0 && info.host != NULL);
    cr_assert_eq(info.bytes, sizeof values);
    cr_assert_eq(info.shape[1], 8);
    memset(info.host, 0xee, info.bytes);
    ok(weir_tensor_to_host(tensor, stream));
    ok(weir_tensor_read(tensor, back, sizeof back, WEIR_FOREVER));
    cr_assert_arr_eq(back, values, sizeof values);
    ok(weir_tensor_to_device(tensor, stream));
    cr_assert_eq(info_of(tensor).device, info.device, "the device view is made once");
    weir_tensor_destroy(tensor);
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    eventually(pool_stats(pool).free == 2);
    close_pool();
}

Test(tensor, only_its_own_bytes_travel)
{
    unsigned char bytes[96] = {0};
    open_pool(WEIR_OPTS(pool, .buffer_bytes = 4 * KIB, .buffers_min = 1));
    struct weir_tensor *tensor;
    ok(weir_tensor_create(pool, WEIR_OPTS(tensor, .dtype = WEIR_DTYPE_U8, .rank = 1, .shape = {96}), WEIR_NOW,
                          &tensor));
    struct weir_buffer_info info = {.struct_size = sizeof info};
    ok(weir_tensor_fill(tensor, bytes, sizeof bytes, WEIR_NOW));
    ok(weir_tensor_to_device(tensor, stream));
    ok(weir_tensor_sync(tensor, WEIR_FOREVER));
    ok(weir_buffer_info_read(info_of(tensor).buffer, &info));
    cr_assert_eq(info.bytes_up, 96);
    weir_tensor_destroy(tensor);
    close_pool();
}

Test(tensor, what_is_wrong_is_named_with_what_was_expected)
{
    struct weir_tensor *tensor = NULL;
    float               values[64] = {0};
    open_pool(WEIR_OPTS(pool, .name = "small", .buffer_bytes = 256, .buffers_min = 1));
#define create(...) weir_tensor_create(pool, WEIR_OPTS(tensor, __VA_ARGS__), WEIR_NOW, &tensor)
    answers(create(.dtype = 0, .rank = 1, .shape = {4}), INVAL);
    assert_says("dtype 0: expected");
    answers(create(.dtype = 99, .rank = 1, .shape = {4}), INVAL);
    assert_says("dtype 99: expected");
    answers(create(.dtype = WEIR_DTYPE_F32, .rank = 9, .shape = {4}), INVAL);
    assert_says("rank 9: expected at most 8");
    answers(create(.dtype = WEIR_DTYPE_F32, .rank = 2, .shape = {4, 0}), INVAL);
    assert_says("float32[4, 0]: expected every dimension to be at least 1");
    answers(create(.dtype = WEIR_DTYPE_F32, .rank = 1, .shape = {-3}), INVAL);
    answers(create(.dtype = WEIR_DTYPE_F64, .rank = 2, .shape = {INT64_MAX, 16}), INVAL);
    assert_says("expected fewer bytes");
    answers(create(.dtype = WEIR_DTYPE_F32, .rank = 2, .shape = {5, 13}), EXCEEDS);
    assert_says("float32[5, 13] takes 260 bytes: expected at most 256, the buffer_bytes of the pool small");
    cr_assert_null(tensor, "an output is written only on success");
    cr_assert_eq(pool_stats(pool).leased, 0);

    ok(create(.dtype = WEIR_DTYPE_F32, .rank = 2, .shape = {4, 8}));
    answers(weir_tensor_fill(tensor, values, 64, WEIR_NOW), INVAL);
    assert_says("64 bytes: expected 128, those of float32[4, 8]");
    answers(weir_tensor_read(tensor, values, 256, WEIR_NOW), INVAL);
    answers(weir_tensor_fill(tensor, NULL, 128, WEIR_NOW), INVAL);
#define array(...) weir_tensor_fill_array(tensor, &(struct weir_array){.data = values, __VA_ARGS__}, WEIR_NOW)
    answers(array(.dtype = WEIR_DTYPE_F32, .rank = 2, .shape = {8, 4}), INVAL);
    assert_says("the array is float32[8, 4]: expected float32[4, 8]");
    answers(array(.dtype = WEIR_DTYPE_I32, .rank = 2, .shape = {4, 8}), INVAL);
    assert_says("the array is int32[4, 8]: expected float32[4, 8]");
    answers(array(.dtype = WEIR_DTYPE_F32, .rank = 1, .shape = {32}), INVAL);
    answers(array(.dtype = WEIR_DTYPE_F32, .rank = 4000000000u, .shape = {32}), INVAL);
    values[31] = 7;
    ok(array(.dtype = WEIR_DTYPE_F32, .rank = 2, .shape = {4, 8}));
    cr_assert_eq(((float *)info_of(tensor).host)[31], 7);
    weir_tensor_destroy(tensor);
    weir_tensor_destroy(NULL);
    close_pool();
}

Test(tensor, has_the_dtype_of_its_pool)
{
    struct weir_tensor *tensor;
    open_pool(WEIR_OPTS(pool, .name = "halves", .buffer_bytes = 256, .buffers_min = 1, .dtype = WEIR_DTYPE_F16));
    answers(create(.dtype = WEIR_DTYPE_I16, .rank = 1, .shape = {4}), KIND);
    assert_says("dtype int16: expected float16, which the pool halves is of");
    ok(create(.rank = 0));
    cr_assert_eq(info_of(tensor).dtype, WEIR_DTYPE_F16);
    cr_assert_eq(info_of(tensor).bytes, 2, "of rank 0 there is one element");
    answers(create(.rank = 0), AGAIN);
    weir_tensor_destroy(tensor);
    close_pool();
}

Test(tensor, a_fill_waits_for_the_device)
{
    uint32_t values[4] = {1, 2, 3, 4};
    open_pool(WEIR_OPTS(pool, .buffer_bytes = 256, .buffers_min = 1));
    struct weir_tensor *tensor;
    ok(create(.dtype = WEIR_DTYPE_U32, .rank = 1, .shape = {4}));
    ok(weir_tensor_fill(tensor, values, sizeof values, WEIR_NOW));
    ok(weir_stream_delay(stream, 250 * MS));
    ok(weir_tensor_to_device(tensor, stream));
    answers(weir_tensor_fill(tensor, values, sizeof values, WEIR_NOW), BUSY);
    answers(weir_tensor_sync(tensor, WEIR_NOW), TIMEDOUT);
    ok(weir_tensor_fill(tensor, values, sizeof values, WEIR_FOREVER));
    cr_assert_eq(weir_stream_query(stream), 0);
    weir_tensor_destroy(tensor);
    close_pool();
}

Test(tensor, its_scope_ends_it_and_its_memory_waits_for_the_device)
{
    open_pool(WEIR_OPTS(pool, .buffer_bytes = 256, .buffers_min = 1));
    {
        weir_auto(tensor) tensor = NULL;
        ok(create(.dtype = WEIR_DTYPE_U32, .rank = 1, .shape = {4}));
        ok(weir_stream_delay(stream, 250 * MS));
        ok(weir_tensor_guard(tensor, stream));
    }
    struct weir_pool_stats stats = pool_stats(pool);
    cr_assert_eq(stats.leased, 0);
    cr_assert_eq(stats.retiring, 1, "nobody gets the buffer while the stream may use it");
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    eventually(pool_stats(pool).free == 1);
    close_pool();
}

Test(tensor, without_memory_nothing_is_left_behind)
{
    struct weir_tensor *tensor = NULL;
    open_pool(WEIR_OPTS(pool, .buffer_bytes = 256, .buffers_min = 1));
    wi_alloc_fail_at(1);
    answers(create(.dtype = WEIR_DTYPE_U32, .rank = 1, .shape = {4}), NOMEM);
    wi_alloc_fail_at(0);
    cr_assert_null(tensor);
    cr_assert_eq(pool_stats(pool).leased, 0);
    close_pool();
}
