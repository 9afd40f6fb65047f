/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The live page and `weir top`: what a page says, who may read it, and what becomes of it when its writer dies at the worst
 * moment, or was never weir. WEIR_TOOL is the program.
 */
#include "pool/fixture.h"

#include "base/settings.h"

#include <fcntl.h>
#include <jansson.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "top_page.h"
#include "top_view.h"

TestSuite(top, .timeout = 240);

static char reason[TOP_REASON_BYTES];

static struct weir_runtime *publish(uint32_t period_ms)
{
    struct weir_runtime *rt;
    ok(weir_runtime_create(WEIR_OPTS(runtime, .stats = WEIR_STATS_SHM, .stats_period_ms = period_ms), &rt));
    return rt;
}

static const char *path_of(pid_t pid, unsigned number)
{
    static char path[64];
    snprintf(path, sizeof path, "/dev/shm/weir.%d.%u", pid, number);
    return path;
}

static uint64_t in_pool(struct top_page *page, const char *pool, const char *field)
{
    struct top_sample         sample = {0};
    const struct top_section *section = top_section(page, "pools");
    uint64_t                  value = UINT64_MAX;
    cr_assert_eq(top_page_read(page, &sample), 0);
    for (size_t i = 0; i < top_rows(section, &sample, NULL); i++) {
        char name[64];
        if (strcmp(top_text(section, top_row(section, &sample, i), "name", name, sizeof name), pool) != 0) continue;
        value = top_number(section, top_row(section, &sample, i), field);
    }
    top_sample_free(&sample);
    return value;
}

Test(top, a_page_says_what_the_process_does)
{
    struct weir_runtime *rt = publish(1);
    struct weir_pool    *pool;
    struct weir_buffer  *buffer[3];
    struct top_page      page;
    struct stat          status;
    cr_assert_eq(stat(path_of(getpid(), 0), &status), 0);
    cr_assert_eq(status.st_mode & 07777, 0600);
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .name = "staging", .buffer_bytes = 4096, .buffers_min = 5), &pool));
    cr_assert_eq(top_page_open(&page, path_of(getpid(), 0), reason), 0, "%s", reason);
    cr_assert_not(page.dead);
    for (size_t i = 0; i < 3; i++) ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer[i]));
    eventually(in_pool(&page, "staging", "leased") == 3);
    cr_assert_eq(in_pool(&page, "staging", "total"), 5);
    cr_assert_eq(in_pool(&page, "staging", "free"), 2);
    cr_assert_eq(in_pool(&page, "staging", "buffer_bytes"), 4096);
    for (size_t i = 0; i < 3; i++) ok(weir_buffer_release(buffer[i]));
    eventually(in_pool(&page, "staging", "leased") == 0);
    weir_runtime_destroy(rt);
    cr_assert_neq(stat(path_of(getpid(), 0), &status), 0, "it is removed with the runtime");
    cr_assert_not(top_page_alive(&page));
    top_page_close(&page);
}

Test(top, each_runtime_has_one_only_when_asked)
{
    struct weir_runtime *rt[3];
    struct stat          status;
    ok(weir_runtime_create(NULL, &rt[0]));
    cr_assert_neq(stat(path_of(getpid(), 0), &status), 0);
    setenv("WEIR_STATS", "shm", 1);
    wi_settings_reload_for_test();
    ok(weir_runtime_create(NULL, &rt[1]));
    ok(weir_runtime_create(NULL, &rt[2]));
    cr_assert_eq(stat(path_of(getpid(), 0), &status), 0);
    cr_assert_eq(stat(path_of(getpid(), 1), &status), 0);
    weir_runtime_destroy(rt[1]);
    cr_assert_neq(stat(path_of(getpid(), 0), &status), 0);
    cr_assert_eq(stat(path_of(getpid(), 1), &status), 0);
    ok(weir_runtime_create(WEIR_OPTS(runtime, .stats = WEIR_STATS_OFF), &rt[1]));
    cr_assert_neq(stat(path_of(getpid(), 0), &status), 0, "the option goes before the environment");
    for (size_t i = 0; i < 3; i++) weir_runtime_destroy(rt[i]);
    answers(weir_runtime_create(WEIR_OPTS(runtime, .stats = 3), &rt[0]), INVAL);
}

/* ---- writers that die ---- */

/* A copy of a live page, which the test may spoil. */
static char *copy_page(const char *from, const char *to, size_t *bytes)
{
    int         in = open(from, O_RDONLY), out = open(to, O_RDWR | O_CREAT | O_TRUNC, 0600);
    struct stat status;
    cr_assert(in >= 0 && out >= 0);
    cr_assert_eq(fstat(in, &status), 0);
    *bytes = (size_t)status.st_size;
    cr_assert_eq(ftruncate(out, status.st_size), 0);
    char *at = mmap(NULL, *bytes, PROT_READ | PROT_WRITE, MAP_SHARED, out, 0);
    cr_assert_neq((void *)at, MAP_FAILED);
    cr_assert_eq(pread(in, at, *bytes, 0), (ssize_t)*bytes);
    close(in);
    close(out);
    return at;
}

Test(top, half_a_slot_is_never_shown)
{
    struct weir_runtime *rt = publish(3600000); /* written once */
    struct top_page      page;
    struct top_sample    sample = {0};
    char                 path[64];
    size_t               bytes;
    snprintf(path, sizeof path, "/dev/shm/test_top.%d", getpid());
    char             *at = copy_page(path_of(getpid(), 0), path, &bytes);
    struct weir_page *head = (struct weir_page *)at;
    cr_assert_eq(head->done, 1);
    cr_assert_eq(top_page_open(&page, path, reason), 0, "%s", reason);
    cr_assert(page.dead, "nobody holds its lock");
    /* The writer died while it wrote the other slot. */
    head->begun = 2;
    memset(at + head->slot_offset[0], 0xff, head->slot_bytes);
    cr_assert_eq(top_page_read(&page, &sample), 0);
    cr_assert_eq(sample.number, 1);
    cr_assert_eq(top_rows(top_section(&page, "streams"), &sample, NULL), 4);
    /* The one after that has begun, so what was copied may be torn. */
    head->begun = 3;
    cr_assert_eq(top_page_read(&page, &sample), -1);
    head->begun = 1;
    cr_assert_eq(top_page_read(&page, &sample), 0);
    top_sample_free(&sample);
    top_page_close(&page);
    munmap(at, bytes);
    cr_assert_eq(unlink(path), 0);
    weir_runtime_destroy(rt);
}

/* A reader that looks all the time while the writer writes all the time: each look is whole and not older than the last. */
Test(top, every_look_is_whole_while_the_page_is_written)
{
    struct weir_runtime *rt = publish(1);
    struct top_page      page;
    struct top_sample    sample = {0};
    uint64_t             number = 0, written_ns = 0;
    cr_assert_eq(top_page_open(&page, path_of(getpid(), 0), reason), 0, "%s", reason);
    for (unsigned look = 0; look < 3000 || number < 20; look++) {
        size_t all;
        if (top_page_read(&page, &sample) < 0) continue; /* the writer passed by a hundred times */
        cr_assert_geq(sample.number, number);
        cr_assert_geq(sample.written_ns, written_ns);
        cr_assert_eq(sample.number == number, sample.written_ns == written_ns);
        number = sample.number;
        written_ns = sample.written_ns;
        cr_assert_eq(top_rows(top_section(&page, "streams"), &sample, &all), 4);
        cr_assert_eq(all, 4);
    }
    top_sample_free(&sample);
    top_page_close(&page);
    weir_runtime_destroy(rt);
}

/* A process with a page; it forks a child of its own, which lives on, where `forks`. Returns when there is a page. */
static pid_t start_victim(int forks, int keep[2])
{
    int ready[2];
    cr_assert_eq(pipe(ready), 0);
    cr_assert_eq(pipe(keep), 0);
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        struct weir_runtime *rt;
        char                 byte;
        close(keep[1]);
        if (weir_runtime_create(WEIR_OPTS(runtime, .stats = WEIR_STATS_SHM), &rt) < 0) _exit(1);
        if (forks && fork() == 0) {
            close(ready[1]);
            if (read(keep[0], &byte, 1) < 0) _exit(2); /* until the test closes its end */
            _exit(0);
        }
        if (write(ready[1], "", 1) != 1) _exit(3);
        for (;;) pause();
    }
    char byte;
    close(ready[1]);
    close(keep[0]);
    cr_assert_eq(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return pid;
}

static void kill_victim(pid_t pid)
{
    int status;
    cr_assert_eq(kill(pid, SIGKILL), 0);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
}

Test(top, a_dead_process_is_told_as_dead_and_can_be_removed)
{
    int   keep[2];
    pid_t pid = start_victim(0, keep);
    char  path[64];
    snprintf(path, sizeof path, "%s", path_of(pid, 0));
    struct top_page   page;
    struct top_sample sample = {0};
    cr_assert_eq(top_page_open(&page, path, reason), 0, "%s", reason);
    cr_assert(top_page_alive(&page));
    cr_assert_eq(top_page_remove(path, reason), -1, "who lives keeps his page");
    cr_assert_str_eq(reason, "its process is alive");
    kill_victim(pid);
    cr_assert_not(top_page_alive(&page));
    cr_assert_eq(top_page_read(&page, &sample), 0, "what it wrote last can be read");
    cr_assert_str_eq(top_state(&page, &sample), "dead");
    cr_assert_eq(top_page_remove(path, reason), 0, "%s", reason);
    cr_assert_neq(access(path, F_OK), 0);
    top_sample_free(&sample);
    top_page_close(&page);
    close(keep[1]);
}

/* The lock belongs to the open file, which a child inherits: it must not make its parent look alive. */
Test(top, a_forked_child_does_not_keep_the_page_alive)
{
    int             keep[2];
    pid_t           pid = start_victim(1, keep);
    struct top_page page;
    cr_assert_eq(top_page_open(&page, path_of(pid, 0), reason), 0, "%s", reason);
    cr_assert(top_page_alive(&page));
    kill_victim(pid);
    eventually(!top_page_alive(&page)); /* the child may not have run yet */
    cr_assert_eq(top_page_remove(path_of(pid, 0), reason), 0, "%s", reason);
    top_page_close(&page);
    close(keep[1]);
}

/* A page that a dead process of the same number left does not stand in the way. */
Test(top, a_dead_namesake_keeps_its_page)
{
    char path[64];
    snprintf(path, sizeof path, "%s", path_of(getpid(), 0));
    int fd = open(path, O_CREAT | O_EXCL | O_RDWR, 0600);
    cr_assert_geq(fd, 0);
    struct weir_runtime *rt = publish(1);
    cr_assert_eq(access(path_of(getpid(), 1), F_OK), 0);
    weir_runtime_destroy(rt);
    cr_assert_neq(access(path_of(getpid(), 1), F_OK), 0);
    cr_assert_eq(unlink(path), 0);
    close(fd);
}

/* ---- files that are not what they should be ---- */

static uint64_t dice(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void look_at(const char *path)
{
    struct top_page   page;
    struct top_sample sample = {0}, none = {0};
    if (top_page_open(&page, path, reason) < 0) {
        cr_assert(*reason);
        return;
    }
    if (top_page_read(&page, &sample) == 0) {
        FILE *out = fopen("/dev/null", "w");
        cr_assert_not_null(out);
        struct top_view view = {out, true, &page, &sample, &none};
        top_view_print(&view);
        top_list_print(&view);
        json_decref(top_json(&page, &sample, true));
        fclose(out);
    }
    top_sample_free(&sample);
    top_page_close(&page);
}

Test(top, no_file_harms_the_reader)
{
    struct weir_runtime *rt = publish(3600000);
    char                 path[64];
    size_t               bytes;
    uint64_t             state = 88172645463325252u;
    snprintf(path, sizeof path, "/dev/shm/test_top_file.%d", getpid());
    char *at = copy_page(path_of(getpid(), 0), path, &bytes);
    char *whole = malloc(bytes);
    cr_assert_not_null(whole);
    memcpy(whole, at, bytes);
    const struct weir_page *head = (const struct weir_page *)whole;
    size_t                  front = head->schema_offset + head->schema_bytes;
    for (unsigned round = 0; round < 400; round++) {
        memcpy(at, whole, bytes);
        unsigned spoilt = 1 + (unsigned)(dice(&state) % 3);
        for (unsigned i = 0; i < spoilt; i++) {
            size_t where = dice(&state) % 4 ? dice(&state) % front : dice(&state) % bytes;
            at[where] = dice(&state) % 2 ? (char)dice(&state) : (char)('0' + dice(&state) % 10);
        }
        look_at(path);
    }
    memcpy(at, whole, bytes);
    munmap(at, bytes);
    free(whole);
    for (size_t left = bytes - 1; left > 0; left = left * 7 / 8) {
        cr_assert_eq(truncate(path, (off_t)left), 0);
        look_at(path);
    }
    cr_assert_eq(unlink(path), 0);
    weir_runtime_destroy(rt);
}

/* ---- the command ---- */

static int run(const char *arguments, char *text, size_t capacity)
{
    char line[512];
    snprintf(line, sizeof line, "%s top %s 2>&1", WEIR_TOOL, arguments);
    FILE *pipe = popen(line, "r");
    cr_assert_not_null(pipe);
    size_t length = fread(text, 1, capacity - 1, pipe);
    text[length] = '\0';
    int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

Test(top, the_command_shows_a_process_once)
{
    static char          text[1 << 16];
    char                 arguments[64], pid[16];
    struct weir_runtime *rt = publish(10);
    struct weir_pool    *pool;
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .name = "stag\033ing", .buffer_bytes = 4096, .buffers_min = 5), &pool));
    eventually(run((snprintf(arguments, sizeof arguments, "%d --once", getpid()), arguments), text, sizeof text) == 0 &&
               strstr(text, "stag?ing"));
    cr_assert(strstr(text, "4.00 KiB"), "%s", text);
    cr_assert(strstr(text, "pressure  CALM"), "%s", text);
    cr_assert_not(strchr(text, '\033'), "no colours but on a terminal, and no names that are commands of one:\n%s", text);
    cr_assert_eq(run("", text, sizeof text), 0);
    snprintf(pid, sizeof pid, "%d.0 ", getpid());
    cr_assert(strstr(text, pid), "%s", text);

    snprintf(arguments, sizeof arguments, "%d --json", getpid());
    cr_assert_eq(run(arguments, text, sizeof text), 0);
    json_t *object = json_loads(text, 0, NULL);
    cr_assert_not_null(object, "%s", text);
    cr_assert_eq(json_integer_value(json_object_get(object, "pid")), getpid());
    cr_assert_str_eq(json_string_value(json_object_get(object, "state")), "live");
    /* The same as the process itself would say. */
    static char own[1 << 16];
    cr_assert_lt(weir_stats_format(rt, WEIR_FORMAT_JSON, own, sizeof own), (int64_t)sizeof own);
    json_t       *expected = json_loads(own, 0, NULL);
    const json_t *stats = json_object_get(object, "stats");
    const char   *key;
    json_t       *value;
    cr_assert_not_null(expected);
    json_object_foreach(expected, key, value)
    {
        const json_t *found = json_object_get(stats, key);
        cr_assert(found && json_typeof(found) == json_typeof(value), "%s", key);
    }
    cr_assert_eq(json_object_size(stats), json_object_size(expected));
    const json_t *one = json_array_get(json_object_get(stats, "pools"), 0);
    json_object_foreach(json_array_get(json_object_get(expected, "pools"), 0), key, value)
        cr_assert(json_object_get(one, key) && json_typeof(json_object_get(one, key)) == json_typeof(value), "%s", key);
    json_decref(expected);
    json_decref(object);

    cr_assert_eq(run("--remove", text, sizeof text), 0, "%s", text);
    cr_assert_eq(access(path_of(getpid(), 0), F_OK), 0, "the living are left alone");
    snprintf(arguments, sizeof arguments, "%d --remove", getpid());
    cr_assert_eq(run(arguments, text, sizeof text), 1);
    cr_assert(strstr(text, "its process is alive"), "%s", text);
    weir_runtime_destroy(rt);
    snprintf(arguments, sizeof arguments, "%d --once", getpid());
    cr_assert_eq(run(arguments, text, sizeof text), 2);
    cr_assert(strstr(text, "has no live page"), "%s", text);
    cr_assert_eq(run("nonsense", text, sizeof text), 2);
    cr_assert_eq(run("--interval 0", text, sizeof text), 2);
}

/* On a terminal it draws until q, and leaves the terminal as it was. */
Test(top, the_command_draws_on_a_terminal)
{
    static char          text[1 << 18];
    size_t               length = 0;
    int                  terminal, status, asked = 0;
    char                 pid[16];
    struct weir_runtime *rt = publish(10);
    snprintf(pid, sizeof pid, "%d", getpid());
    pid_t child = forkpty(&terminal, NULL, NULL, &(struct winsize){.ws_row = 30, .ws_col = 120});
    cr_assert_geq(child, 0);
    if (child == 0) {
        execl(WEIR_TOOL, "weir", "top", pid, "--interval", "0.05", (char *)NULL);
        _exit(127);
    }
    ssize_t count;
    while (length < sizeof text - 1 && (count = read(terminal, text + length, sizeof text - 1 - length)) > 0) {
        length += (size_t)count;
        text[length] = '\0';
        const char *first = strstr(text, "\033[H");
        if (!asked && first && strstr(first + 1, "\033[H")) {
            cr_assert_eq(write(terminal, "q", 1), 1); /* it has drawn, and drawn again */
            asked = 1;
        }
    }
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s", text);
    cr_assert(strstr(text, "\033[?1049h"), "the other screen");
    cr_assert(strstr(text, "pinned"), "%s", text);
    const char *end = strstr(text, "\033[?1049l");
    cr_assert(end && strstr(text, "\033[?25h"), "the screen and the cursor are back");
    close(terminal);
    weir_runtime_destroy(rt);
}

/* ---- row D1 ---- */

Test(top, the_hottest_buffers_are_on_the_page)
{
    struct weir_runtime     *rt = publish(1);
    struct weir_pool        *pool;
    struct weir_buffer      *buffer[20];
    struct weir_buffer_info  info = {.struct_size = sizeof info};
    struct weir_place_info   place = {.struct_size = sizeof place};
    struct top_page          page;
    struct top_sample        sample = {0};
    uint64_t                 now_ns = 0;
    ok(weir_tier_create(rt, WEIR_OPTS(tier, .name = "kv", .buffer_bytes = 4096, .buffers_max = 20, .pinned_buffers = 4,
                                      .flags = WEIR_TIER_MANUAL), &pool));
    for (size_t i = 0; i < 20; i++) ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer[i]));
    for (unsigned period = 0; period < 9; period++) {
        for (size_t i = 0; i < 20; i++) {
            struct weir_view view;
            if (i != 7 && period > i % 5) continue; /* 7: in each period; others at most in five */
            ok(weir_buffer_borrow(buffer[i], WEIR_WHERE_ANY, WEIR_READ, NULL, WEIR_NOW, &view));
            ok(weir_view_return(&view));
        }
        now_ns += 1000000000;
        ok(weir_tier_step(pool, now_ns));
    }
    ok(weir_buffer_info_read(buffer[7], &info));
    ok(weir_buffer_place_read(buffer[7], &place));
    cr_assert_eq(place.touches, 9);
    cr_assert_eq(top_page_open(&page, path_of(getpid(), 0), reason), 0, "%s", reason);
    const struct top_section *hottest = top_section(&page, "hottest");
    eventually(top_page_read(&page, &sample) == 0 && top_rows(hottest, &sample, NULL) == 8 &&
               top_number(hottest, top_row(hottest, &sample, 0), "touches") == 9);
    cr_assert_eq(top_number(hottest, top_row(hottest, &sample, 0), "buffer"), info.id);
    uint64_t before = UINT64_MAX;
    for (size_t i = 0; i < 8; i++) {
        uint64_t touches = top_number(hottest, top_row(hottest, &sample, i), "touches");
        cr_assert_leq(touches, before);
        before = touches;
    }
    cr_assert_eq(top_number(hottest, top_row(hottest, &sample, 1), "touches"), 5);
    const struct top_section *tiers = top_section(&page, "tiers");
    cr_assert_eq(top_rows(tiers, &sample, NULL), 1);
    cr_assert_eq(top_number(tiers, top_row(tiers, &sample, 0), "periods"), 9);
    top_sample_free(&sample);
    top_page_close(&page);
    weir_runtime_destroy(rt);
}
