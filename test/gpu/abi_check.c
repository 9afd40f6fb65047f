/* SPDX-License-Identifier: Apache-2.0 */
/* abi_check.c - the suite's own declarations of driver calls against the toolkit's headers: that this compiles is the test */
#ifdef WEIR_HAS_TOOLKIT
#include <cuda.h>
#include <cudaTypedefs.h>

#include "gpu.h"

#define SAME(type, field)                                                                          \
    _Static_assert(__builtin_types_compatible_p(type, __typeof__(((struct gpu_driver *)0)->field)), #type)

SAME(PFN_cuModuleLoadData_v2000, module_load);
SAME(PFN_cuModuleUnload_v2000, module_unload);
SAME(PFN_cuModuleGetFunction_v2000, module_function);
SAME(PFN_cuLaunchKernel_v4000, launch);
SAME(PFN_cuStreamWriteValue32_v11070, write_word);
SAME(PFN_cuStreamSynchronize_v2000, stream_sync);
SAME(PFN_cuStreamBeginCapture_v10010, begin_capture);
SAME(PFN_cuStreamEndCapture_v10000, end_capture);
SAME(PFN_cuGraphDestroy_v10000, graph_destroy);

#endif

int gpu_abi_check(void);

/* So that the file is never empty. */
int gpu_abi_check(void)
{
    return 0;
}
