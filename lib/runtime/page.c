/* SPDX-License-Identifier: Apache-2.0 */
/* page.c - see page.h */
#include "runtime/page.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/settings.h"
#include "runtime/stats_fields.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <weir/page.h>

#define POOLS_SHOWN  64
#define NUMBERS_MAX  64
#define SCHEMA_BYTES ((size_t)32 << 10)
#define PATH_BYTES   64
#define COST_FACTOR  20 /* the monitor spends at most this part of its time on the page */

_Static_assert(sizeof(struct weir_page) % 8 == 0 && sizeof(struct weir_page_slot) % 8 == 0, "words, and no padding");
_Static_assert(sizeof(struct wi_stats_runtime) % 8 == 0 && sizeof(struct wi_stats_pressure) % 8 == 0 &&
                   sizeof(struct wi_stats_pool) % 8 == 0 && sizeof(struct wi_stats_stream) % 8 == 0 &&
                   sizeof(struct wi_stats_tier) % 8 == 0 && sizeof(struct wi_stats_hot) % 8 == 0,
               "rows are copied by words");

struct wi_page {
    struct weir_page *head; /* the mapping */
    size_t            bytes;
    int               fd;   /* open as long as the page lives: it holds the lock */
    char              path[PATH_BYTES];
    struct wi_stats   stats;
    uint64_t          number; /* of the last slot written */
    uint64_t          due_ns;
    uint64_t          cost_ns;
};

/* ---- layout ---- */

static size_t section_bytes(const struct wi_stats *stats, size_t section)
{
    return 2 * sizeof(uint64_t) + stats->rows[section].max * wi_stats_sections[section].row_bytes;
}

static size_t slot_bytes(const struct wi_stats *stats)
{
    size_t bytes = sizeof(struct weir_page_slot);
    for (size_t i = 0; i < WI_STATS_SECTIONS; i++) bytes += section_bytes(stats, i);
    return bytes;
}

static void describe_latency(struct wi_text *text, const struct wi_stats_field *field)
{
#define X(part)                                                                                    \
    wi_text_add(text, "field %s.%s u64 %zu 8 gauge %s\n", field->name, #part,                      \
                field->offset + offsetof(struct weir_latency, part), field->help);
    WEIR_LATENCY_FIELDS(X)
#undef X
}

/* The schema into text. */
static void describe(struct wi_text *text, const struct wi_stats *stats)
{
    static const char *const shape[] = {"inline", "object", "array"};
    static const char *const type[] = {"u64", "u32", "text"};
    size_t                   offset = sizeof(struct weir_page_slot);
    for (size_t i = 0; i < WI_STATS_SECTIONS; i++) {
        const struct wi_stats_section *section = &wi_stats_sections[i];
        wi_text_add(text, "section %s %s %zu %zu %zu\n", section->name, shape[section->shape], offset, section->row_bytes,
                    stats->rows[i].max);
        offset += section_bytes(stats, i);
        for (size_t j = 0; j < section->fields_count; j++) {
            const struct wi_stats_field *field = &section->fields[j];
            if (field->type == WI_STATS_LATENCY) {
                describe_latency(text, field);
            } else {
                wi_text_add(text, "field %s %s %u %u %s %s\n", field->name, type[field->type], field->offset, field->bytes,
                            field->kind, field->help);
            }
        }
    }
}

/* ---- writing ---- */

static void copy_words(void *to, const void *from, size_t bytes)
{
    _Atomic uint64_t *words = to;
    for (size_t i = 0; i < bytes / sizeof(uint64_t); i++) {
        uint64_t word;
        memcpy(&word, (const char *)from + i * sizeof word, sizeof word);
        wi_store(&words[i], word, relaxed);
    }
}

static void write_slot(struct wi_page *page, char *slot)
{
    struct weir_page_slot head = {.written_ns = weir_clock_ns(), .cost_ns = page->cost_ns};
    copy_words(slot, &head, sizeof head);
    char *at = slot + sizeof head;
    for (size_t i = 0; i < WI_STATS_SECTIONS; i++) {
        const struct wi_stats_rows *rows = &page->stats.rows[i];
        const uint64_t              counts[2] = {rows->count, rows->all};
        copy_words(at, counts, sizeof counts);
        copy_words(at + sizeof counts, rows->row, rows->count * wi_stats_sections[i].row_bytes);
        at += section_bytes(&page->stats, i);
    }
}

/* Readers are other processes: tools/weir/top_page.c. */
static void publish(struct wi_page *page)
{
    _Atomic uint64_t *begun = (_Atomic uint64_t *)&page->head->begun;
    _Atomic uint64_t *done = (_Atomic uint64_t *)&page->head->done;
    uint64_t          number = ++page->number;
    wi_store(begun, number, relaxed);
    wi_fence(release); /* who sees a word of the slot sees `begun`, when a fence is between his loads, too */
    write_slot(page, (char *)page->head + page->head->slot_offset[number % 2]);
    wi_store(done, number, release); /* who sees it sees the whole slot */
}

uint64_t wi_page_tend(struct weir_runtime *rt, uint64_t now_ns)
{
    struct wi_page *page = rt->page;
    if (!page) return WEIR_FOREVER;
    if (now_ns < page->due_ns) return page->due_ns;
    wi_stats_gather(rt, &page->stats);
    publish(page);
    page->cost_ns = weir_clock_ns() - now_ns;
    uint64_t pause_ns = page->cost_ns * COST_FACTOR;
    page->due_ns = now_ns + (pause_ns > page->head->period_ns ? pause_ns : page->head->period_ns);
    return page->due_ns;
}

/* ---- beginning and end ---- */

static void fill_head(struct wi_page *page, const struct weir_runtime *rt, const struct wi_text *schema)
{
    struct weir_page *head = page->head;
    size_t            slot = slot_bytes(&page->stats);
    *head = (struct weir_page){
        .version = WEIR_PAGE_VERSION,
        .head_bytes = sizeof *head,
        .page_bytes = page->bytes,
        .schema_offset = sizeof *head,
        .schema_bytes = schema->length + 1,
        .slot_offset = {sizeof *head + SCHEMA_BYTES, sizeof *head + SCHEMA_BYTES + slot},
        .slot_bytes = slot,
        .created_ns = weir_clock_ns(),
        .period_ns = rt->opts.stats_period_ms * WI_NS_PER_MS,
        .pid = (uint32_t)getpid(),
    };
    memcpy(head->magic, WEIR_PAGE_MAGIC, sizeof head->magic);
    snprintf(head->program, sizeof head->program, "%s", program_invocation_short_name);
    memcpy((char *)head + head->schema_offset, schema->at, schema->length + 1);
}

/* The file without a name, locked and with all of its memory: a full /dev/shm must not end the program later. */
static int make_file(struct wi_page *page)
{
    page->fd = open(WEIR_PAGE_FOLDER, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    WI_ENSURE(page->fd >= 0, NOENT, .call = "open", .sys_errno = errno, .detail = WEIR_PAGE_FOLDER);
    WI_ENSURE(flock(page->fd, LOCK_EX | LOCK_NB) == 0, BUSY, .call = "flock", .sys_errno = errno, .detail = WEIR_PAGE_FOLDER);
    int err = posix_fallocate(page->fd, 0, (off_t)page->bytes);
    WI_ENSURE(err == 0, NOMEM, .call = "posix_fallocate", .sys_errno = err, .limit = "room in " WEIR_PAGE_FOLDER,
              .wanted = page->bytes, .setting = "its size, or WEIR_STATS");
    void *at = mmap(NULL, page->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, page->fd, 0);
    WI_ENSURE(at != MAP_FAILED, NOMEM, .call = "mmap", .sys_errno = errno, .wanted = page->bytes, .detail = "the live page");
    page->head = at;
    /* A mapping keeps the open file, and so the lock: a forked child must have neither. */
    WI_ENSURE(madvise(at, page->bytes, MADV_DONTFORK) == 0, NOMEM, .call = "madvise", .sys_errno = errno, .detail = "the live page");
    return 0;
}

/* The page gets its name when it is complete, so that no reader finds half of one. Pages of dead processes stay as they are. */
static int name_file(struct wi_page *page)
{
    char self[PATH_BYTES];
    snprintf(self, sizeof self, "/proc/self/fd/%d", page->fd);
    for (uint32_t number = 0; number < NUMBERS_MAX; number++) {
        snprintf(page->path, sizeof page->path, WEIR_PAGE_FOLDER "/" WEIR_PAGE_PREFIX "%d.%u", getpid(), number);
        page->head->number = number;
        if (linkat(AT_FDCWD, self, AT_FDCWD, page->path, AT_SYMLINK_FOLLOW) == 0) return 0;
        if (errno != EEXIST) break;
    }
    int err = errno;
    page->path[0] = '\0';
    WI_ENSURE(err != EEXIST, EXCEEDS, .limit = "pages of one process number", .limit_value = NUMBERS_MAX,
              .wanted = NUMBERS_MAX + 1, .setting = "`weir top --remove`, which removes those of dead processes");
    return WI_FAIL(NOENT, .call = "linkat", .sys_errno = err, .detail = "the live page in " WEIR_PAGE_FOLDER);
}

static void free_page(struct wi_page *page)
{
    if (page->head) munmap(page->head, page->bytes);
    if (page->fd >= 0) close(page->fd);
    wi_stats_free(&page->stats);
    wi_free(page);
}

static int make_page(struct weir_runtime *rt, struct wi_page *page)
{
    static const size_t word = sizeof(uint64_t);
    WI_TRY(wi_stats_make(&page->stats, POOLS_SHOWN));
    page->bytes = wi_round_up(sizeof *page->head + SCHEMA_BYTES + 2 * slot_bytes(&page->stats), word);
    char *schema = wi_alloc(SCHEMA_BYTES);
    if (!schema) return WI_FAIL(NOMEM, .call = "malloc", .detail = "the live page's schema", .wanted = SCHEMA_BYTES);
    struct wi_text text;
    wi_text_init(&text, schema, SCHEMA_BYTES);
    describe(&text, &page->stats);
    wi_require(text.length < SCHEMA_BYTES);
    int err = make_file(page);
    if (err >= 0) {
        fill_head(page, rt, &text);
        wi_stats_gather(rt, &page->stats);
        publish(page);
        err = name_file(page);
    }
    wi_free(schema);
    return err;
}

static bool is_wanted(const struct weir_runtime *rt)
{
    const char *setting = wi_settings()->stats;
    if (rt->opts.stats) return rt->opts.stats == WEIR_STATS_SHM;
    if (!*setting) return false;
    if (strcmp(setting, "shm") == 0) return true;
    wi_log(WARN, "stats", "WEIR_STATS: \"%.32s\" is not shm: there is no live page", setting);
    return false;
}

void wi_page_start(struct weir_runtime *rt)
{
    if (!is_wanted(rt)) return;
    struct wi_page *page = wi_calloc(1, sizeof *page);
    if (!page) {
        wi_log(WARN, "stats", "there is no live page: no memory");
        return;
    }
    page->fd = -1;
    if (make_page(rt, page) < 0) {
        char text[512];
        (void)weir_error_text(text, sizeof text);
        wi_log(WARN, "stats", "there is no live page: %s", text);
        free_page(page);
        return;
    }
    page->due_ns = weir_clock_ns() + page->head->period_ns;
    rt->page = page;
}

void wi_page_end(struct weir_runtime *rt)
{
    struct wi_page *page = rt->page;
    if (!page) return;
    rt->page = NULL;
    (void)unlink(page->path); /* only who holds the file's lock removes its name */
    free_page(page);
}

void wi_page_forked(struct weir_runtime *rt)
{
    if (!rt->page) return;
    (void)close(rt->page->fd); /* else the parent would look alive as long as the child is */
    rt->page->fd = -1;
}
