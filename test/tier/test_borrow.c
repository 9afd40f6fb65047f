/* SPDX-License-Identifier: Apache-2.0 */
/* Borrows that have a short way through weir_buffer_borrow(): what they refuse, and that two at once are two. */
#include "pool/fixture.h"

#include <sys/wait.h>
#include <unistd.h>
#include <weir/tier.h>

#define BYTES 8192

static struct weir_runtime *rt;
static struct weir_pool    *pool;

static void open_pool(void)
{
    rt = make_runtime();
    ok(weir_tier_create(rt, WEIR_OPTS(tier, .buffer_bytes = BYTES, .buffers_max = 4, .pinned_buffers = 1,
                                      .flags = WEIR_TIER_MANUAL), &pool));
}

static void close_pool(void)
{
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

static struct weir_buffer *take(struct weir_pool *from)
{
    struct weir_buffer *buffer;
    ok(weir_buffer_acquire(from, WEIR_NOW, &buffer));
    return buffer;
}

Test(borrow, a_forked_child_is_told_so_by_borrows)
{
    struct weir_view view, other;
    open_pool();
    struct weir_buffer *buffer = take(pool);
    ok(weir_buffer_borrow(buffer, WEIR_WHERE_ANY, WEIR_READ, NULL, WEIR_NOW, &view));
    pid_t child = fork();
    if (child == 0) {
        int bad = weir_buffer_borrow(buffer, WEIR_WHERE_ANY, WEIR_READ, NULL, WEIR_NOW, &other) != WEIR_EFORKED;
        bad |= (weir_buffer_borrow(buffer, WEIR_WHERE_ANY, WEIR_WRITE, NULL, WEIR_NOW, &other) != WEIR_EFORKED) << 1;
        bad |= (weir_view_return(&view) != WEIR_EFORKED) << 2;
        bad |= (weir_buffer_place_read(buffer, &(struct weir_place_info){.struct_size = sizeof(struct weir_place_info)}) != WEIR_EFORKED) << 3;
        leave_child(bad);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
    ok(weir_view_return(&view));
    ok(weir_buffer_release(buffer));
    close_pool();
}

/* What is not a lease of a tiered pool, and a view that was returned: the short way must see it, too. */
Test(borrow, borrows_of_what_is_no_lease_are_refused)
{
    struct weir_view    view, spent = {0};
    struct weir_pool   *plain;
    struct weir_buffer *not_tiered, *none = NULL;
    open_pool();
    struct weir_buffer *buffer = take(pool);
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = BYTES, .buffers_min = 1), &plain));
    ok(weir_buffer_acquire(plain, WEIR_NOW, &not_tiered));
    answers(weir_buffer_borrow(not_tiered, WEIR_WHERE_ANY, WEIR_READ, NULL, WEIR_NOW, &view), KIND);
    answers(weir_buffer_borrow(none, WEIR_WHERE_ANY, WEIR_READ, NULL, WEIR_NOW, &view), INVAL);
    answers(weir_buffer_borrow((void *)&view, WEIR_WHERE_ANY, WEIR_READ, NULL, WEIR_NOW, &view), FOREIGN);
    answers(weir_buffer_borrow((void *)((char *)buffer + 1), WEIR_WHERE_ANY, WEIR_READ, NULL, WEIR_NOW, &view), FOREIGN);
    answers(weir_view_return(NULL), INVAL);
    ok(weir_view_return(&spent));
    ok(weir_buffer_borrow(buffer, WEIR_WHERE_ANY, WEIR_READ, NULL, WEIR_NOW, &view));
    ok(weir_view_return(&view));
    ok(weir_view_return(&view));
    ok(weir_buffer_release(buffer));
    answers(weir_buffer_borrow(buffer, WEIR_WHERE_ANY, WEIR_READ, NULL, WEIR_NOW, &view), NOTLEASED);
    ok(weir_buffer_release(not_tiered));
    weir_pool_destroy(plain);
    close_pool();
}

/* In turns that leave no order between the two, so that each slot is found in use and free. */
Test(borrow, views_of_one_thread_do_not_share_a_slot)
{
    struct weir_view first = {0}, second = {0};
    open_pool();
    struct weir_buffer *one = take(pool), *other = take(pool);
    for (unsigned i = 0; i < 1000; i++) {
        struct weir_view *view = i % 3 ? &first : &second;
        ok(weir_view_return(view));
        ok(weir_buffer_borrow(i % 2 ? one : other, i % 5 ? WEIR_WHERE_ANY : WEIR_WHERE_HOST, WEIR_READ, NULL, WEIR_NOW, view));
        cr_assert_eq(view->bytes, BYTES);
        cr_assert(first.token != second.token || !first.buffer || !second.buffer, "turn %u", i);
        if (first.buffer && second.buffer) cr_assert_eq(first.host == second.host, first.buffer == second.buffer);
    }
    ok(weir_view_return(&first));
    ok(weir_view_return(&second));
    ok(weir_buffer_release(one));
    ok(weir_buffer_release(other));
    close_pool();
}
