/* SPDX-License-Identifier: Apache-2.0 */
/* driver.c - what there is of a CUDA driver, for people and tools */
#include "base/text.h"
#include "device/cuda.h"

#include <weir/stats.h>

int weir_driver_format(char *at, size_t capacity)
{
    struct wi_text text;
    WI_ENSURE(at || capacity == 0, INVAL, .detail = "text is NULL");
    wi_text_init(&text, at, capacity);
#ifdef WI_CUDA
    wi_cuda_report(&text);
#else
    wi_json_open(&text, NULL, '{');
    wi_json_string(&text, "library", "");
    wi_json_string(&text, "version", "");
    wi_json_string(&text, "problem", "this weir was built without the cuda backend");
    wi_json_close(&text, '}');
#endif
    return (int)text.length;
}
