/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tensor.c - arrays of a shape and a type: on the device, with a view for every step, and written row by row
 *
 *     a tensor               weir_tensor_create, _fill, _to_device, _to_host, _sync
 *     a view for each step   weir_stepped_publish, weir_stepped_used
 *     rows in one batch      weir_rows_stage, weir_rows_apply
 *
 * What is declared with weir_auto() ends with its block, also while the device works on it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <weir/scope.h>
#include <weir/weir.h>

#define ROWS    32
#define COLUMNS 64
#define STEPS   100

static void check(int answer)
{
    char text[512];
    if (answer >= 0) return;
    (void)weir_error_text(text, sizeof text);
    fprintf(stderr, "tensor: %s\n", text);
    exit(1);
}

/* A table on the device, of which three rows are replaced in one batch. Returns how many elements differ from that. */
static unsigned replace_rows(struct weir_pool *pool, struct weir_stream *stream)
{
    static float values[ROWS][COLUMNS], back[ROWS][COLUMNS];
    static const size_t changed[] = {3, 4, 30};
    for (int i = 0; i < ROWS * COLUMNS; i++) values[i / COLUMNS][i % COLUMNS] = (float)i;

    weir_auto(tensor) table = NULL;
    check(weir_tensor_create(pool, WEIR_OPTS(tensor, .dtype = WEIR_DTYPE_F32, .rank = 2, .shape = {ROWS, COLUMNS}),
                             WEIR_FOREVER, &table));
    check(weir_tensor_fill(table, values, sizeof values, WEIR_NOW));
    check(weir_tensor_to_device(table, stream));

    weir_auto(rows) rows = NULL;
    check(weir_rows_create(pool, WEIR_OPTS(rows, .tensor = table), &rows));
    for (size_t i = 0; i < sizeof changed / sizeof changed[0]; i++) {
        for (int column = 0; column < COLUMNS; column++) values[changed[i]][column] = -1;
        check(weir_rows_stage(rows, changed[i], values[changed[i]], sizeof values[0], WEIR_FOREVER));
    }
    check(weir_rows_apply(rows, stream)); /* rows 3 and 4 travel together */

    check(weir_tensor_to_host(table, stream));
    check(weir_tensor_read(table, back, sizeof back, WEIR_FOREVER));
    unsigned differ = 0;
    for (int i = 0; i < ROWS * COLUMNS; i++) differ += back[i / COLUMNS][i % COLUMNS] != values[i / COLUMNS][i % COLUMNS];
    return differ;
}

/* The host array changes at every step; the device still works on earlier ones. */
static void run_steps(struct weir_pool *pool, struct weir_stream *stream)
{
    struct weir_stepped_info info = {.struct_size = sizeof info};
    weir_auto(stepped) positions = NULL;
    check(weir_stepped_create(pool, WEIR_OPTS(stepped, .dtype = WEIR_DTYPE_I64, .rank = 1, .shape = {512}), &positions));
    int64_t *host = weir_stepped_host(positions);
    for (int step = 0; step < STEPS; step++) {
        uint64_t device;
        for (int i = 0; i < 512; i++) host[i] = step * 512 + i;
        check(weir_stepped_publish(positions, stream, WEIR_FOREVER, &device));
        check(weir_stream_delay(stream, 100000)); /* in place of a kernel that reads `device` */
        check(weir_stepped_used(positions, stream));
    }
    check(weir_stepped_info_read(positions, &info));
    printf("%llu steps, at most %llu views at one time\n", (unsigned long long)info.steps,
           (unsigned long long)info.depth_peak);
}

int main(void)
{
    weir_auto(runtime) rt = NULL;
    weir_auto(pool) pool = NULL;
    weir_auto(stream) stream = NULL;
    check(weir_runtime_create(NULL, &rt));
    check(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = ROWS * COLUMNS * sizeof(float), .buffers_min = 4,
                                         .buffers_max = 32), &pool));
    check(weir_stream_acquire(rt, WEIR_STREAM_COMM, WEIR_FOREVER, &stream));
    run_steps(pool, stream);
    unsigned differ = replace_rows(pool, stream);
    printf("%u elements differ\n", differ);
    return differ == 0 ? 0 : 1;
}
