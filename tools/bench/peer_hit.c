/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer_hit.c - does a hit make a system call?
 *
 * A thread stays on one CPU, warms up, then puts itself under a seccomp filter that traps every system call but the
 * end of the thread, and makes a million pairs. The trap's handler notes the number and ends the
 * thread. Other threads of the peer are not under the filter: their work is not part of a hit.
 */
#include "peer_parts.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PAIRS_WARM = 5000, PAIRS_SEALED = 1000000 };
enum seal_state { SEAL_RUNNING, SEAL_DONE, SEAL_BROKEN, SEAL_REFUSED, SEAL_EMPTY };

#if defined(__x86_64__)
enum { AUDIT_ARCH_HERE = (int)AUDIT_ARCH_X86_64 };
#else
enum { AUDIT_ARCH_HERE = (int)AUDIT_ARCH_AARCH64 };
#endif

static struct {
    _Atomic uint32_t     state;
    _Atomic int32_t      detail; /* number of the system call, or errno */
    struct peer_counters before, after;
} seal;

/* Before a call that does not return, AddressSanitizer makes a system call of its own. */
#define UNSANITIZED __attribute__((no_sanitize("address")))

UNSANITIZED static void end_thread(enum seal_state state, int detail)
{
    wi_store(&seal.detail, detail, relaxed);
    wi_store(&seal.state, (uint32_t)state, release);
    for (;;) syscall(SYS_exit, 0);
}

UNSANITIZED static void on_trap(int signal_number, siginfo_t *info, void *context)
{
    (void)signal_number;
    (void)context;
    end_thread(SEAL_BROKEN, info->si_syscall);
}

static int put_under_filter(void)
{
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)AUDIT_ARCH_HERE, 0, 2),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = WI_ARRAY_COUNT(steps), .filter = steps};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -errno;
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0) return -errno;
    return 0;
}

UNSANITIZED static void make_pairs(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        void *object = peer_here.try();
        if (object == NULL) end_thread(SEAL_EMPTY, 0);
        peer_here.release(object);
    }
}

/* What belongs to one CPU and is given back on another is no hit. */
static void stay_here(void)
{
    cpu_set_t here;

    CPU_ZERO(&here);
    CPU_SET(sched_getcpu(), &here);
    (void)sched_setaffinity(0, sizeof here, &here);
}

static void count_now(struct peer_counters *out)
{
    *out = (struct peer_counters){.driver_calls = UINT64_MAX, .allocations = UINT64_MAX};
    if (peer_here.count != NULL) peer_here.count(out);
}

UNSANITIZED static void *sealed(void *argument)
{
    (void)argument;
    if (peer_here.enter != NULL) peer_here.enter(0);
    stay_here();
    make_pairs(PAIRS_WARM);
    count_now(&seal.before);
    int err = put_under_filter();
    if (err < 0) end_thread(SEAL_REFUSED, -err);
    make_pairs(PAIRS_SEALED);
    end_thread(SEAL_DONE, 0);
    return NULL;
}

static void add_count(const char *key, uint64_t before, uint64_t after)
{
    if (after == UINT64_MAX)
        peer_line_null(key);
    else
        peer_line_u64(key, after - before);
}

int peer_case_hit(struct peer_run *run)
{
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
    uint64_t         deadline_ns = bench_now_ns() + 30 * WI_NS_PER_S;
    pthread_t        id;
    uint32_t         state;

    (void)run;
    if (sigaction(SIGSYS, &action, NULL) != 0) return -errno;
    int err = pthread_create(&id, NULL, sealed, NULL);
    if (err != 0) return -err;
    while ((state = wi_load(&seal.state, acquire)) == SEAL_RUNNING) {
        if (bench_now_ns() > deadline_ns) return -ETIMEDOUT;
        bench_sleep_until_ns(bench_now_ns() + WI_NS_PER_MS);
    }
    if (state == SEAL_REFUSED || state == SEAL_EMPTY) {
        fprintf(stderr, "weir-peer-%s: %s\n", peer_here.name,
                state == SEAL_EMPTY ? "a single thread found the pool empty"
                                    : strerror(wi_load(&seal.detail, relaxed)));
        return -EIO;
    }
    count_now(&seal.after);
    peer_line_u64("pairs", PAIRS_SEALED);
    peer_line_u64("system_calls", state == SEAL_BROKEN); /* 1: at least one, and there it ended */
    if (state == SEAL_BROKEN)
        peer_line_u64("system_call", (uint64_t)wi_load(&seal.detail, relaxed));
    add_count("driver_calls", seal.before.driver_calls, seal.after.driver_calls);
    add_count("allocations", seal.before.allocations, seal.after.allocations);
    return 0;
}
