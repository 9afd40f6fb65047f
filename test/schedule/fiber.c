/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fiber.c - stacks, switching, and each fiber's own thread-local variables
 *
 * All fibers run on one thread. The program's thread-local variables (the library is linked into it) are one block; it is
 * copied out and in at each switch, so that every fiber is a thread to the library.
 */
#include "schedule/engine.h"
#include "sync/thread.h"

#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#define STACK_BYTES ((size_t)64 << 10)

static char  *tls_block;
static size_t tls_bytes;

static int find_tls(struct dl_phdr_info *info, size_t size, void *ctx)
{
    (void)size, (void)ctx;
    /* The program itself is the first object. */
    for (int i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type != PT_TLS) continue;
        tls_block = info->dlpi_tls_data;
        tls_bytes = info->dlpi_phdr[i].p_memsz;
    }
    return 1;
}

void fiber_start(void)
{
    (void)dl_iterate_phdr(find_tls, NULL);
    for (int i = 0; i < SCHEDULE_FIBERS; i++) {
        sched->fiber[i].stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        sched->fiber[i].tls = mmap(NULL, tls_bytes + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (sched->fiber[i].stack == MAP_FAILED || sched->fiber[i].tls == MAP_FAILED) abort();
        memcpy(sched->fiber[i].tls, tls_block, tls_bytes);
    }
}

static char *kept[SCHEDULE_FIBERS];

void fiber_attach_all(void)
{
    char *first = mmap(NULL, (SCHEDULE_FIBERS + 1) * (tls_bytes + 1), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (first == MAP_FAILED) abort();
    memcpy(first, tls_block, tls_bytes);
    for (int i = 0; i < SCHEDULE_FIBERS; i++) {
        kept[i] = first + (size_t)(i + 1) * tls_bytes;
        memcpy(tls_block, first, tls_bytes);
        (void)wi_thread_self();
        memcpy(kept[i], tls_block, tls_bytes);
    }
}

void fiber_restore_all(void)
{
    for (int i = 0; i < SCHEDULE_FIBERS; i++) memcpy(sched->fiber[i].tls, kept[i], tls_bytes);
}

#if defined(__x86_64__)
/* What a function call must keep (System V ABI), and the stack. */
void schedule_switch_stacks(void **save, void *load);
__asm__(".text\n"
        ".globl schedule_switch_stacks\n"
        ".type schedule_switch_stacks,@function\n"
        "schedule_switch_stacks:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size schedule_switch_stacks, . - schedule_switch_stacks\n");

void fiber_prepare(struct fiber *fiber, void (*body)(void))
{
    void **top = (void **)((char *)fiber->stack + STACK_BYTES);
    *--top = NULL;         /* nobody to return to; and the stack is aligned as after a call */
    *--top = (void *)body; /* where the switch returns to */
    for (int i = 0; i < 6; i++) *--top = NULL;
    fiber->stack_pointer = top;
}

static void switch_stacks(void **save, void *load)
{
    schedule_switch_stacks(save, load);
}
#else
static ucontext_t contexts[SCHEDULE_FIBERS + 1];

void fiber_prepare(struct fiber *fiber, void (*body)(void))
{
    ucontext_t *context = &contexts[fiber - sched->fiber];
    (void)getcontext(context);
    context->uc_stack.ss_sp = fiber->stack;
    context->uc_stack.ss_size = STACK_BYTES;
    context->uc_link = NULL;
    makecontext(context, body, 0);
    fiber->stack_pointer = context;
}

static void switch_stacks(void **save, void *load)
{
    ucontext_t *from = sched->current == NOBODY ? &contexts[SCHEDULE_FIBERS] : NULL;
    for (int i = 0; i < SCHEDULE_FIBERS; i++) {
        if (save == &sched->fiber[i].stack_pointer) from = &contexts[i];
    }
    *save = from;
    (void)swapcontext(from, load);
}
#endif

void fiber_switch(int from, int to)
{
    void **save = from == NOBODY ? &sched->engine_stack_pointer : &sched->fiber[from].stack_pointer;
    if (from != NOBODY) memcpy(sched->fiber[from].tls, tls_block, tls_bytes);
    if (to != NOBODY) memcpy(tls_block, sched->fiber[to].tls, tls_bytes);
    sched->current = to;
    switch_stacks(save, to == NOBODY ? sched->engine_stack_pointer : sched->fiber[to].stack_pointer);
}
