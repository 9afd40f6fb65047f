/* SPDX-License-Identifier: Apache-2.0 */
/* progress.c - see progress.h */
#include "progress.h"

#include <unistd.h>
#include <weir/base.h>

#include "format.h"

#define NS_PER_S UINT64_C(1000000000)

void progress_init(struct progress *progress, FILE *out)
{
    progress->out = out;
    progress->live = isatty(fileno(out)) == 1;
    progress->shown = false;
    progress->interrupted = NULL;
}

const char *progress_bar(double share, char text[PROGRESS_BAR_BYTES])
{
    const int cells = PROGRESS_BAR_BYTES - 3;

    text[0] = '[';
    for (int i = 0; i < cells; i++) text[1 + i] = share * cells > i ? '#' : '.';
    text[1 + cells] = ']';
    text[2 + cells] = '\0';
    return text;
}

int progress_pin(void *ctx, size_t bytes_ready, size_t bytes_total)
{
    struct progress_pinning *pinning = ctx;
    struct progress         *progress = pinning->progress;
    char                     bar[PROGRESS_BAR_BYTES], ready[FORMAT_BYTES], total[FORMAT_BYTES];
    uint64_t                 now_ns = weir_clock_ns();

    if (progress->interrupted && progress->interrupted()) return 1;
    if (!progress->live) return 0;
    if (bytes_ready >= bytes_total) {
        progress_clear(progress);
    } else if (now_ns - pinning->shown_ns >= NS_PER_S / 10) {
        pinning->shown_ns = now_ns;
        fprintf(progress->out, "\r\033[K%s pinning %s: %s of %s",
                progress_bar((double)bytes_ready / (double)bytes_total, bar), pinning->name,
                format_size(bytes_ready, ready), format_size(bytes_total, total));
        fflush(progress->out);
        progress->shown = true;
    }
    return 0;
}

uint64_t progress_left_ns(const struct progress_line *line)
{
    uint64_t left_ns = UINT64_MAX;

    if (line->limit_ns)
        left_ns = line->limit_ns > line->elapsed_ns ? line->limit_ns - line->elapsed_ns : 0;
    if (line->whole && line->done) {
        double per_request = (double)line->elapsed_ns / (double)line->done;
        double rest = line->whole > line->done ? (double)(line->whole - line->done) : 0;
        if (per_request * rest < (double)left_ns) left_ns = (uint64_t)(per_request * rest);
    }
    return left_ns;
}

void progress_show(struct progress *progress, const struct progress_line *line)
{
    char     done[FORMAT_BYTES], whole[FORMAT_BYTES], p99[FORMAT_BYTES], bar[PROGRESS_BAR_BYTES];
    uint64_t left_ns = progress_left_ns(line);

    if (!progress->live || !line->elapsed_ns) return;
    fputs("\r\033[K", progress->out);
    if (left_ns != UINT64_MAX)
        fprintf(progress->out, "%s ", progress_bar((double)line->elapsed_ns / ((double)line->elapsed_ns + (double)left_ns), bar));
    fprintf(progress->out, "%s: %s", line->name, format_count(line->done, done));
    if (line->whole) fprintf(progress->out, " of %s", format_count(line->whole, whole));
    fprintf(progress->out, " %s, %.0f/s", line->unit ? line->unit : "requests", (double)line->done * (double)NS_PER_S / (double)line->elapsed_ns);
    if (line->p99_ns)
        fprintf(progress->out, ", p99 %s, retiring %llu", format_ns(line->p99_ns, p99), (unsigned long long)line->retiring);
    if (left_ns != UINT64_MAX)
        fprintf(progress->out, ", %llu s left",
                (unsigned long long)((left_ns + NS_PER_S - 1) / NS_PER_S));
    fflush(progress->out);
    progress->shown = true;
}

void progress_time(struct progress *progress, const char *name, uint64_t elapsed_ns, uint64_t whole_ns)
{
    char     bar[PROGRESS_BAR_BYTES];
    uint64_t left_ns = whole_ns > elapsed_ns ? whole_ns - elapsed_ns : 0;

    if (!progress->live || !whole_ns || (elapsed_ns < 2 * NS_PER_S && !progress->shown)) return;
    fprintf(progress->out, "\r\033[K%s %s %llu s of %llu s, ", name,
            progress_bar(left_ns ? (double)elapsed_ns / (double)whole_ns : 1, bar),
            (unsigned long long)(elapsed_ns / NS_PER_S), (unsigned long long)(whole_ns / NS_PER_S));
    if (left_ns) {
        fprintf(progress->out, "%llu s left", (unsigned long long)((left_ns + NS_PER_S - 1) / NS_PER_S));
    } else {
        fputs("about to end", progress->out);
    }
    fflush(progress->out);
    progress->shown = true;
}

void progress_clear(struct progress *progress)
{
    if (!progress->shown) return;
    fputs("\r\033[K", progress->out);
    fflush(progress->out);
    progress->shown = false;
}
