/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/cpu.h"

#include <unistd.h>

unsigned wi_cpu_count(void)
{
    long count = sysconf(_SC_NPROCESSORS_CONF);
    return count < 1 ? 1 : (unsigned)count;
}
