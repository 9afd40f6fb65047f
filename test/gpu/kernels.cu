/* SPDX-License-Identifier: Apache-2.0 */
/* kernels.cu - what the suite runs on the device; see kernels.h */
#include "kernels.h"

extern "C" __global__ void gpu_check(struct gpu_check_parameter parameter)
{
    const volatile uint64_t *words = (const volatile uint64_t *)parameter.words;
    uint64_t                 step = (uint64_t)gridDim.x * blockDim.x;
    for (uint64_t i = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x; i < parameter.count; i += step)
        if (words[i] != parameter.stamp + i) atomicAdd((unsigned *)parameter.errors, 1u);
}

extern "C" __global__ void gpu_sum(struct gpu_sum_parameter parameter)
{
    const ulonglong2 *pairs = (const ulonglong2 *)parameter.words;
    uint64_t          step = (uint64_t)gridDim.x * blockDim.x;
    uint64_t          sum = 0;
    for (uint64_t i = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x; i < parameter.count / 2; i += step) {
        ulonglong2 pair = pairs[i];
        sum += pair.x + pair.y;
    }
    atomicAdd((unsigned long long *)parameter.out, (unsigned long long)sum);
}

extern "C" __global__ void gpu_spin(struct gpu_spin_parameter parameter)
{
    unsigned long long begin, now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(begin));
    do asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    while (now - begin < parameter.ns);
}

extern "C" __global__ void gpu_crash(struct gpu_crash_parameter parameter)
{
    *(volatile uint32_t *)parameter.address = 1;
}
