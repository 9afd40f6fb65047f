/* SPDX-License-Identifier: Apache-2.0 */
#include "slab_fixture.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <weir/log.h>

static char     lines[64][256];
static unsigned lines_count;

static void collect(void *ctx, uint32_t level, const char *component, const char *message)
{
    (void)ctx;
    if (level <= WEIR_LOG_WARN && lines_count < 64)
        (void)snprintf(lines[lines_count++], sizeof lines[0], "%s: %s", component, message);
}

void slab_fixture_init(struct slab_fixture *fixture, uint64_t bytes_max)
{
    fake_device_init(&fixture->fake);
    wi_budget_init(&fixture->budget, "pinned_bytes_max", "WEIR_PINNED_BYTES_MAX", bytes_max);
    lines_count = 0;
    weir_log_set(collect, NULL);
}

uint64_t slab_fixture_charged(const struct slab_fixture *fixture)
{
    return wi_load(&fixture->budget.bytes, relaxed);
}

size_t slab_fixture_rss_bytes(void)
{
    unsigned long long size = 0, resident = 0;
    FILE              *file = fopen("/proc/self/statm", "re");
    wi_require(file && fscanf(file, "%llu %llu", &size, &resident) == 2);
    (void)fclose(file);
    return (size_t)resident * (size_t)sysconf(_SC_PAGESIZE);
}

unsigned slab_fixture_logged(const char *text)
{
    unsigned count = 0;
    for (unsigned at = 0; at < lines_count; at++) count += strstr(lines[at], text) != NULL;
    return count;
}

void slab_fixture_file(const char *folder, const char *name, const char *text)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    if (!text) {
        wi_require(mkdir(path, 0700) == 0);
        return;
    }
    FILE *file = fopen(path, "we");
    wi_require(file && fputs(text, file) >= 0 && fclose(file) == 0);
}
