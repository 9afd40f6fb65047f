/* SPDX-License-Identifier: Apache-2.0 */
/* fakecuda_open.c - linked into tests: finds the double's controls in its library */
#include "fakecuda.h"

#include <dlfcn.h>

bool fakecuda_open(const char *path, struct fakecuda *out)
{
    struct fakecuda found = {.library = dlopen(path, RTLD_NOW | RTLD_LOCAL)};
    if (found.library == NULL) return false;
#define X(name, type, arguments)                                                                   \
    *(void **)&found.name = dlsym(found.library, "fakecuda_" #name);                               \
    if (found.name == NULL) return false;
    FAKECUDA_CONTROLS(X)
#undef X
    *out = found;
    return true;
}
