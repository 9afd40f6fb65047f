/* SPDX-License-Identifier: Apache-2.0 */
/* A whole slot of this process's own page. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <weir/page.h>
#include "world.h"

int main(void)
{
    char                 path[64];
    struct stat          file;
    struct timespec      pause = {.tv_nsec = 1000000};
    struct weir_runtime *rt;
    CHECK(weir_runtime_create(WEIR_OPTS(runtime, .backend = "host", .stats = WEIR_STATS_SHM, .stats_period_ms = 1), &rt) == 0);
    struct weir_pool *pool = world_pool(rt);
    snprintf(path, sizeof path, WEIR_PAGE_FOLDER "/" WEIR_PAGE_PREFIX "%d.0", getpid());
    int fd = open(path, O_RDONLY);
    CHECK(fd >= 0 && fstat(fd, &file) == 0);
    void *at = mmap(NULL, (size_t)file.st_size, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(at != MAP_FAILED);
    page = at;
    CHECK(memcmp(page->magic, WEIR_PAGE_MAGIC, sizeof page->magic) == 0 && page->version == WEIR_PAGE_VERSION);
    CHECK((copy = malloc(page->slot_bytes)) != NULL);
    while (__atomic_load_n(&page->done, __ATOMIC_ACQUIRE) == 0) nanosleep(&pause, NULL);
    CHECK(fragment() == 0);
    CHECK(done > 0 && ((const struct weir_page_slot *)copy)->written_ns >= page->created_ns);
    free(copy);
    close(fd);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    return 0;
}
