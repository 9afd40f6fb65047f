/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels.h - the parameters of the suite's kernels, for kernels.cu and for the C side
 *
 * Each kernel takes one struct by value. Addresses are those that the device uses.
 */
#ifndef GPU_KERNELS_H
#define GPU_KERNELS_H

#include <stdint.h>

/* gpu_check: words[i] should be stamp + i; each that is not is counted at `errors`, a uint32_t. */
struct gpu_check_parameter {
    uint64_t words;
    uint64_t count;
    uint64_t stamp;
    uint64_t errors;
};

/* gpu_sum: adds the words up into *out, a uint64_t. Reads every byte once. */
struct gpu_sum_parameter {
    uint64_t words;
    uint64_t count;
    uint64_t out;
};

/* gpu_spin: keeps the device busy for a time. */
struct gpu_spin_parameter {
    uint64_t ns;
};

/* gpu_crash: writes where nothing is. */
struct gpu_crash_parameter {
    uint64_t address;
};

#endif
