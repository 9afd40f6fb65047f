/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_fixture.c - see cuda_fixture.h */
#include "cuda_fixture.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

void cuda_fixture_library(const char *path)
{
    cr_assert_eq(setenv("WEIR_CUDA_LIBRARY", path, 1), 0);
}

void cuda_fixture_init(struct cuda_fixture *fixture, const char *config)
{
    memset(fixture, 0, sizeof(*fixture));
    cuda_fixture_library(FAKECUDA_LIBRARY);
    cr_assert(fakecuda_open(FAKECUDA_LIBRARY, &fixture->fake));
    cr_assert_eq(fixture->fake.configure(config), 0, "the double refuses \"%s\"", config);
#define X(field, symbol, version, need, arguments)                                                 \
    *(void **)&fixture->app.field = fixture->fake.exports(#symbol);
    WI_CU_SYMBOLS(X)
#undef X
    *(void **)&fixture->begin_capture = fixture->fake.exports("cuStreamBeginCapture");
    *(void **)&fixture->end_capture = fixture->fake.exports("cuStreamEndCapture");
    *(void **)&fixture->destroy_graph = fixture->fake.exports("cuGraphDestroy");
    *(void **)&fixture->stream_priority = fixture->fake.exports("cuStreamGetPriority");
}

void cuda_fixture_open(struct cuda_fixture *fixture, const char *config)
{
    cuda_fixture_init(fixture, config);
    cr_assert_eq(wi_device_open("cuda", 0, &fixture->device), 0);
    fixture->ops = fixture->device->ops;
}

void cuda_fixture_close(struct cuda_fixture *fixture)
{
    struct fakecuda_live live;
    fixture->ops->close(fixture->device);
    fixture->fake.live(&live);
    cr_assert_eq(live.contexts, 0);
    cr_assert_eq(live.streams + live.events, 0);
    cr_assert_eq(live.device_allocations + live.host_allocations + live.registrations, 0);
}

bool cuda_fixture_said(const char *text)
{
    char line[1024];
    weir_error_text(line, sizeof(line));
    return strstr(line, text) != NULL;
}

struct weir_error cuda_fixture_error(void)
{
    struct weir_error error = {.struct_size = sizeof(error)};
    cr_assert_eq(weir_last_error(&error), 0);
    return error;
}

int cuda_fixture_child(int (*fn)(void *ctx), void *ctx)
{
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) _exit(fn(ctx));
    int status = 0;
    cr_assert_eq(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}
