/* SPDX-License-Identifier: Apache-2.0 */
/* mix_array.c - the operations of mix.c on tensors, and on tiered buffers */
#include "mix.h"

#include "tier/dlpack.h"

#include <string.h>
#include <weir/scope.h>

#define ROWS    16
#define COLUMNS 32
#define BYTES   (ROWS * COLUMNS * sizeof(float))

static struct weir_stream *take_stream(struct stress_thread *self)
{
    struct weir_stream *stream;
    return mix_got(self, weir_stream_acquire(mix.rt, WEIR_STREAM_COMM, mix_soon(self), &stream)) ? stream : NULL;
}

/* A tensor whose elements are all `value`, or NULL. */
static struct weir_tensor *take_tensor(struct stress_thread *self, float value)
{
    float               values[ROWS][COLUMNS];
    struct weir_tensor *tensor;
    for (unsigned i = 0; i < ROWS * COLUMNS; i++) values[i / COLUMNS][i % COLUMNS] = value;
    if (!mix_got(self, weir_tensor_create(mix.tensors,
                                          WEIR_OPTS(tensor, .dtype = WEIR_DTYPE_F32, .rank = 2, .shape = {ROWS, COLUMNS}),
                                          mix_soon(self), &tensor)))
        return NULL;
    stress_ok(weir_tensor_fill(tensor, values, BYTES, mix_far()));
    return tensor;
}

static void use_tensor(struct stress_thread *self)
{
    float  values[ROWS * COLUMNS];
    float  value = (float)(1 + stress_below(self, 1000));
    weir_auto(tensor) tensor = take_tensor(self, value);
    weir_auto(stream) stream = tensor ? take_stream(self) : NULL;
    if (!stream) return;
    stress_ok(weir_tensor_to_device(tensor, stream));
    if (stress_below(self, 2)) return; /* it ends in flight */
    memset(values, 0, sizeof values);
    stress_ok(weir_tensor_fill(tensor, values, BYTES, mix_far()));
    stress_ok(weir_tensor_to_host(tensor, stream));
    stress_ok(weir_tensor_read(tensor, values, BYTES, mix_far()));
    for (unsigned i = 0; i < ROWS * COLUMNS; i++) stress_require(values[i] == value, "%f", (double)values[i]);
}

/* An export outlives its tensor. */
static void use_export(struct stress_thread *self)
{
    struct DLManagedTensor *export;
    float                   value = (float)(1 + stress_below(self, 1000));
    struct weir_tensor     *tensor = take_tensor(self, value);
    if (!tensor) return;
    stress_ok(weir_tensor_dlpack(tensor, 0, &export));
    weir_tensor_destroy(tensor);
    const float *elements = export->tensor.data;
    for (unsigned i = 0; i < ROWS * COLUMNS; i++) stress_require(elements[i] == value, "%f", (double)elements[i]);
    export->deleter(export);
}

static void use_stepped(struct stress_thread *self)
{
    weir_auto(stream) stream = take_stream(self);
    weir_auto(stepped) stepped = NULL;
    if (!stream) return;
    stress_ok(weir_stepped_create(mix.tensors, WEIR_OPTS(stepped, .dtype = WEIR_DTYPE_U64, .rank = 1, .shape = {64}),
                                  &stepped));
    uint64_t *host = weir_stepped_host(stepped);
    for (unsigned step = 0; step < 4; step++) {
        uint64_t device;
        for (unsigned i = 0; i < 64; i++) host[i] = step;
        if (!mix_got(self, weir_stepped_publish(stepped, stream, mix_soon(self), &device))) return;
        stress_ok(weir_stream_delay(stream, stress_below(self, MIX_MS / 8)));
        stress_ok(weir_stepped_used(stepped, stream));
    }
}

static void use_rows(struct stress_thread *self)
{
    float values[ROWS][COLUMNS], row[COLUMNS];
    float value = (float)(1 + stress_below(self, 1000));
    weir_auto(tensor) tensor = take_tensor(self, value);
    weir_auto(stream) stream = tensor ? take_stream(self) : NULL;
    weir_auto(rows) rows = NULL;
    size_t at = stress_below(self, ROWS - 1);
    if (!stream) return;
    stress_ok(weir_tensor_to_device(tensor, stream));
    stress_ok(weir_rows_create(mix.tensors, WEIR_OPTS(rows, .tensor = tensor), &rows));
    for (unsigned i = 0; i < COLUMNS; i++) row[i] = -value;
    for (size_t i = 0; i < 2; i++) {
        if (!mix_got(self, weir_rows_stage(rows, at + i, row, sizeof row, mix_soon(self)))) return;
    }
    stress_ok(weir_rows_apply(rows, stream));
    stress_ok(weir_tensor_to_host(tensor, stream));
    stress_ok(weir_tensor_read(tensor, values, BYTES, mix_far()));
    for (size_t i = 0; i < ROWS; i++) {
        float wanted = i == at || i == at + 1 ? -value : value;
        stress_require(values[i][0] == wanted && values[i][COLUMNS - 1] == wanted, "row %zu", i);
    }
}

/* ---- tiers ---- */

static bool borrow(struct stress_thread *self, struct weir_buffer *buffer, enum weir_where where,
                   enum weir_access access, struct weir_view *view)
{
    int err = weir_buffer_borrow(buffer, where, access, NULL, mix_far(), view);
    if (err == WEIR_EEXCEEDS) return false; /* the tier has no room now */
    return mix_got(self, err);
}

static void use_tiers(struct stress_thread *self)
{
    struct weir_buffer    *buffer;
    struct weir_view       view;
    struct weir_place_info place = {.struct_size = sizeof place};
    uint64_t               value = stress_random(self);
    if (!mix_got(self, weir_buffer_acquire(mix.tiers, mix_soon(self), &buffer))) return;
    if (borrow(self, buffer, WEIR_WHERE_HOST, WEIR_WRITE, &view)) {
        uint64_t *words = view.host;
        for (size_t i = 0; i < MIX_BUFFER_BYTES / 8; i++) words[i] = value;
        stress_ok(weir_view_return(&view));
        for (unsigned round = 0; round < 3; round++) {
            if (stress_below(self, 4) == 0) {
                int err = weir_buffer_prefetch(buffer, 1 + stress_below(self, WEIR_TIERS - 1), WEIR_NOW);
                if (err != WEIR_EEXCEEDS) (void)!mix_got(self, err);
            }
            stress_pause(self);
            if (!borrow(self, buffer, WEIR_WHERE_HOST, WEIR_READ, &view)) continue;
            words = view.host;
            for (size_t i = 0; i < MIX_BUFFER_BYTES / 8; i += 16)
                stress_require(words[i] == value, "word %zu of a tiered buffer in tier %u", i, view.tier);
            stress_ok(weir_view_return(&view));
        }
        stress_ok(weir_buffer_place_read(buffer, &place));
    }
    stress_ok(weir_buffer_release(buffer));
}

static void change_tiers(struct stress_thread *self)
{
    struct weir_tier_budget budget = {.device_buffers = stress_below(self, 9), .pinned_buffers = stress_below(self, 9)};
    stress_ok(weir_tier_set_budget(mix.tiers, budget));
}

const struct mix_op mix_array_ops[] = {
    {"tensor", use_tensor, 40}, {"export", use_export, 20},          {"stepped", use_stepped, 20},
    {"rows", use_rows, 20},     {"tiers", use_tiers, 40},            {"tier_budget", change_tiers, 4},
    {NULL, NULL, 0},
};
