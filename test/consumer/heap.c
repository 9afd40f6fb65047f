/* SPDX-License-Identifier: Apache-2.0 */
/* heap.c - a user's program of the pinned heap */
#include <stdio.h>
#include <string.h>
#include <weir/heap.h>
#include <weir/weir.h>

int main(void)
{
    struct weir_runtime *rt;
    struct weir_heap    *heap;

    if (weir_runtime_create(WEIR_OPTS(runtime, .backend = "host"), &rt) < 0) return 1;
    if (weir_heap_create(rt, WEIR_OPTS(heap, .bytes_max = 8 << 20), &heap) < 0) return 1;
    char *bytes = weir_heap_malloc(heap, 1000);
    if (!bytes) return 1;
    memset(bytes, 1, 1000);
    printf("%zu bytes usable\n", weir_heap_usable_bytes(heap, bytes));
    if (weir_heap_free(heap, bytes) < 0) return 1;
    weir_heap_destroy(heap);
    weir_runtime_destroy(rt);
    return 0;
}
