/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load.c - opens libweir.so at run time, as a language binding or plug-in does
 *
 * usage: load <path of libweir.so>
 *
 * Opening fails where the library asks for more thread-local room than the process has left. The second
 * thread sees that the room of threads that ran before is there too.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <weir/error.h>

static int (*error_text)(char *text, size_t capacity);
static void *library;

static void *use(void *ok)
{
    const char *(*text_of)(int code) = (const char *(*)(int))dlsym(library, "weir_strerror");
    char line[64] = "unset";

    if (!text_of || strcmp(text_of(WEIR_ECLOSED), "object was closed") != 0) return NULL;
    if (error_text(line, sizeof(line)) != 0 || line[0] != '\0') return NULL;
    return ok;
}

static void *open_and_use(void *path)
{
    void *ok = path;

    library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return NULL;
    }
    error_text = (int (*)(char *, size_t))dlsym(library, "weir_error_text");
    return error_text ? use(ok) : NULL;
}

int main(int count, char **arguments)
{
    pthread_t opener;
    void     *result = NULL;

    if (count != 2) return 2;
    if (pthread_create(&opener, NULL, open_and_use, arguments[1]) != 0) return 1;
    pthread_join(opener, &result);
    if (!result || !use(arguments[1])) return 1;
    /* weir stays mapped after this (-z nodelete), so its thread destructors stay callable. */
    if (dlclose(library) != 0) return 1;
    return use(arguments[1]) ? 0 : 1;
}
