/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rseq.h - sections that the kernel restarts: a few instructions that happen on one CPU, or not at all
 *
 * A section ends in one plain store. If its thread is preempted, is moved or gets a signal before that store,
 * the kernel sends it to the section's abort handler instead: so between its first load and its store no other
 * thread has run on this CPU. Threads of other CPUs are shut out by wi_rseq_fence(): when it returns, each
 * section that ran there has either stored, visibly to all, or begins again and sees what the caller wrote.
 *
 * A store that is held back in its CPU's buffer is no danger: nobody on another CPU acts on what a section
 * wrote without the fence, which is a full barrier on that CPU.
 *
 * x86-64 only, with glibc 2.35 or newer, which registers each thread. Elsewhere, under ThreadSanitizer (which
 * cannot see inside) and in the library that pauses before each step, WI_HAVE_SECTIONS is not defined. A
 * thread that is not registered (an old kernel, valgrind) reads a CPU number that matches nothing.
 *
 * Sources: Desnoyers, "Restartable sequences" (Linux Plumbers 2016); rseq(2); membarrier(2).
 */
#ifndef WI_RSEQ_H
#define WI_RSEQ_H

#include "base/atomic.h"
#include "base/base.h"

#if defined(__x86_64__) && !defined(WI_TSAN) && !defined(WI_SCHED) && defined(__has_include)
#if __has_include(<sys/rseq.h>) && ((!defined(__clang__) && __GNUC__ >= 11) || (defined(__clang__) && __clang_major__ >= 14))
#define WI_HAVE_SECTIONS 1
#endif
#endif

#ifdef WI_HAVE_SECTIONS

/* From the thread pointer to the thread's rseq area. Fixed by wi_rseq_start(). */
extern ptrdiff_t wi_rseq_offset;

/*
 * The frame of a section for `asm goto`. Operands: [area] a register with wi_rseq_offset, [scratch] a free one; label `aborted`.
 * The signature before the abort handler is the one that glibc registers. WI_RSEQ_CPU loads this CPU's number.
 */
#define WI_RSEQ_BEGIN                                                                              \
    ".pushsection __rseq_cs, \"aw\"\n\t"                                                           \
    ".balign 32\n"                                                                                 \
    "770:\n\t"                                                                                     \
    ".long 0, 0\n\t"                                                                               \
    ".quad 771f, 772f - 771f, 773f\n\t"                                                            \
    ".popsection\n\t"                                                                              \
    "leaq 770b(%%rip), %[scratch]\n\t"                                                             \
    "movq %[scratch], %%fs:8(%[area])\n"                                                           \
    "771:\n\t"
#define WI_RSEQ_END                                                                                  \
    "\n772:\n\t"                                                                                     \
    ".pushsection .text.rseq_abort, \"ax\"\n\t"                                                      \
    ".byte 0x0f, 0xb9, 0x3d\n\t" /* makes the signature a trap with an operand, for disassemblers */ \
    ".long 0x53053053\n"                                                                             \
    "773:\n\t"                                                                                       \
    "jmp %l[aborted]\n\t"                                                                            \
    ".popsection\n\t"
#define WI_RSEQ_CPU(into) "movl %%fs:4(%[area]), " into "\n\t"

#endif

#define WI_RSEQ_EVERY_CPU UINT32_MAX

/*
 * Finds where threads have their area, and registers the process for the fence. Before the first section of any
 * kind: until then sections write elsewhere. Returns whether records may be biased. Thread: any; done once.
 */
bool wi_rseq_start(void);

/*
 * Every section of this process on the CPU (or WI_RSEQ_EVERY_CPU) has ended, or will begin again. A full barrier.
 * A system call of some microseconds. pre: wi_rseq_start() answered true.
 */
void wi_rseq_fence(uint32_t cpu);

/* The number of this CPU as a section sees it; UINT32_MAX: this thread can have no sections. */
uint32_t wi_rseq_cpu(void);

#endif
