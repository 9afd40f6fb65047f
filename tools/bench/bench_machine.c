/* SPDX-License-Identifier: Apache-2.0 */
/* bench_machine.c - what the numbers were taken on, and what else the machine did meanwhile */
#include "bench.h"
#include "bench_commit.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

static void read_processor(char *out, size_t capacity)
{
    FILE *file = fopen("/proc/cpuinfo", "re");
    char line[512];

    snprintf(out, capacity, "unknown processor");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "model name", 10) != 0) continue;
        const char *name = strchr(line, ':');
        if (name == NULL) break;
        line[strcspn(line, "\n")] = '\0';
        snprintf(out, capacity, "%s", name + 1 + strspn(name + 1, " "));
        break;
    }
    if (file != NULL) fclose(file);
}

static double read_load(void)
{
    double load = 0;

    return getloadavg(&load, 1) == 1 ? load : 0;
}

/* CPU time of the whole machine so far, in clock ticks. */
static void read_ticks(uint64_t *busy, uint64_t *stolen, uint64_t *all)
{
    unsigned long long at[8] = {0};
    FILE *file = fopen("/proc/stat", "re");

    *busy = *stolen = *all = 0;
    if (file == NULL) return;
    /* user, nice, system, idle, iowait, irq, softirq, steal */
    if (fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &at[0], &at[1], &at[2], &at[3],
               &at[4], &at[5], &at[6], &at[7]) == 8) {
        for (size_t i = 0; i < WI_ARRAY_COUNT(at); i++) *all += at[i];
        *busy = *all - at[3] - at[4] - at[7];
        *stolen = at[7];
    }
    fclose(file);
}

static double seconds_of(const struct rusage *usage)
{
    return (double)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) +
           (double)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) * 1e-6;
}

static double own_seconds(void)
{
    struct rusage self, children;

    getrusage(RUSAGE_SELF, &self);
    getrusage(RUSAGE_CHILDREN, &children);
    return seconds_of(&self) + seconds_of(&children);
}

void bench_machine_begin(struct bench_machine *machine)
{
    struct utsname name;
    cpu_set_t cpus;

    memset(machine, 0, sizeof *machine);
    read_processor(machine->processor, sizeof machine->processor);
    if (uname(&name) == 0)
        snprintf(machine->kernel, sizeof machine->kernel, "%.20s %.60s", name.sysname,
                 name.release);
    if (sched_getaffinity(0, sizeof cpus, &cpus) == 0) machine->cpus = (unsigned)CPU_COUNT(&cpus);
    machine->memory_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    machine->load_before = read_load();
    machine->own_seconds = own_seconds();
    read_ticks(&machine->busy_ticks, &machine->stolen_ticks, &machine->all_ticks);
}

void bench_machine_end(struct bench_machine *machine)
{
    uint64_t busy, stolen, all;

    read_ticks(&busy, &stolen, &all);
    machine->load_after = read_load();
    double own = (own_seconds() - machine->own_seconds) * (double)sysconf(_SC_CLK_TCK);
    double all_ticks = (double)(all - machine->all_ticks);
    if (all_ticks <= 0) return;
    double others = (double)(busy - machine->busy_ticks) - own;
    machine->others_percent = others > 0 ? 100 * others / all_ticks : 0;
    machine->stolen_percent = 100 * (double)(stolen - machine->stolen_ticks) / all_ticks;
}

bool bench_machine_busy(const struct bench_machine *machine)
{
    return machine->others_percent + machine->stolen_percent > 10;
}

json_t *bench_machine_json(const struct bench_machine *machine)
{
    return json_pack("{s:s, s:s, s:i, s:I, s:f, s:f, s:f, s:f, s:b, s:s, s:s, s:s}", "processor",
                     machine->processor, "kernel", machine->kernel, "cpus", (int)machine->cpus,
                     "memory_bytes", (json_int_t)machine->memory_bytes, "load_before",
                     machine->load_before, "load_after", machine->load_after,
                     "others_cpu_percent", machine->others_percent, "stolen_cpu_percent",
                     machine->stolen_percent, "busy",
                     (int)bench_machine_busy(machine), "compiler", COMPILER, "build", WEIR_BENCH_BUILD,
                     "commit", WEIR_BENCH_COMMIT);
}

void bench_machine_print(const struct bench_machine *machine)
{
    printf("machine   %s, %u cpus, %.1f GiB, %s\n", machine->processor, machine->cpus,
           (double)machine->memory_bytes / (double)(UINT64_C(1) << 30), machine->kernel);
    printf("load      %.2f before, %.2f after; other processes took %.1f %% of the CPU time, the "
           "hypervisor %.1f %%\n",
           machine->load_before, machine->load_after, machine->others_percent,
           machine->stolen_percent);
    if (bench_machine_busy(machine))
        printf("          BUSY: CPU time per pair still counts; throughput, waits and progress say "
               "little\n");
    printf("build     %s, %s, commit %s\n", COMPILER, WEIR_BENCH_BUILD, WEIR_BENCH_COMMIT);
}
