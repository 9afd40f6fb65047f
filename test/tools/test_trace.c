/* SPDX-License-Identifier: Apache-2.0 */
/* Files of arrivals: each form, plain and gzip, and every way in which a file can be bad. */
#include "trace.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#define REAL_TRACE "azure2023-conv-arrivals.csv.gz"

static char path[] = "/tmp/weir-test-trace-XXXXXX";
static char complaints[4096];

static void make_path(void)
{
    int file = mkstemp(path);

    cr_assert(file >= 0);
    close(file);
}

static void remove_path(void)
{
    unlink(path);
}

TestSuite(trace, .init = make_path, .fini = remove_path);

static void write_plain(const char *bytes, size_t count)
{
    FILE *out = fopen(path, "w");

    cr_assert(out);
    cr_assert(fwrite(bytes, 1, count, out) == count);
    cr_assert(fclose(out) == 0);
}

static void write_gzip(const char *text)
{
    gzFile out = gzopen(path, "wb");

    cr_assert(out);
    cr_assert(gzputs(out, text) == (int)strlen(text));
    cr_assert(gzclose(out) == Z_OK);
}

/* Read the file; what was complained about is in `complaints`. */
static int read_path(const char *file, struct workload *out)
{
    FILE *memory = fmemopen(complaints, sizeof(complaints), "w");

    cr_assert(memory);
    memset(complaints, 0, sizeof(complaints));
    int err = workload_read(file, memory, out);
    fclose(memory);
    return err;
}

static int read_text(const char *text, struct workload *out)
{
    write_plain(text, strlen(text));
    return read_path(path, out);
}

/* The file is refused, nothing is given, and the complaint names file, line and reason. */
static void refuse(const char *text, unsigned line, const char *reason)
{
    struct workload workload = {.count = 77};
    char            place[sizeof(path) + 16];

    cr_assert_eq(read_text(text, &workload), -1, "accepted: %s", text);
    cr_assert_eq(workload.count, 77, "written although refused");
    snprintf(place, sizeof(place), "%s:%u: ", path, line);
    cr_assert(strstr(complaints, place), "'%s' does not name %s", complaints, place);
    cr_assert(strstr(complaints, reason), "'%s' does not say '%s'", complaints, reason);
}

static void check_three(const struct workload *workload)
{
    cr_assert_eq(workload->count, 3);
    cr_assert_eq(workload->requests[0].arrival_ns, 0);
    cr_assert_eq(workload->requests[1].arrival_ns, UINT64_C(4315000000));
    cr_assert_eq(workload->requests[2].arrival_ns, UINT64_C(4315000000));
    cr_assert_eq(workload->requests[1].context_tokens, 396);
    cr_assert_eq(workload->requests[1].generated_tokens, 109);
    cr_assert_eq(workload->context_tokens, 374 + 396 + 879);
    cr_assert_eq(workload->context_tokens_max, 879);
    cr_assert_eq(workload->generated_tokens_max, 109);
}

#define THREE "100,374,44\n4415,396,109\n4415,879,0\n"

Test(trace, reads_own_form_relative_to_the_first_request)
{
    struct workload workload;

    cr_assert_eq(read_text(THREE, &workload), 0, "%s", complaints);
    check_three(&workload);
    cr_assert(complaints[0] == '\0');
    workload_clear(&workload);
    cr_assert(workload.requests == NULL);
}

Test(trace, takes_header_windows_line_ends_and_a_missing_last_line_end)
{
    struct workload workload;

    cr_assert_eq(read_text("timestamp_ms,context_tokens,generated_tokens\r\n"
                           "100,374,44\r\n4415,396,109\r\n4415,879,0",
                           &workload),
                 0, "%s", complaints);
    check_three(&workload);
    workload_clear(&workload);
}

Test(trace, reads_gzip_by_content_not_by_name)
{
    struct workload workload;

    write_gzip(THREE);
    cr_assert_eq(read_path(path, &workload), 0, "%s", complaints);
    check_three(&workload);
    workload_clear(&workload);
}

Test(trace, reads_the_published_form_of_azure)
{
    struct workload workload;

    cr_assert_eq(read_text("TIMESTAMP,ContextTokens,GeneratedTokens\n"
                           "2023-11-16 23:59:59.6805900,374,44\n"
                           "2023-11-17 00:00:03.9955900,396,109\n"
                           "2023-11-17T00:00:03.9955900Z,879,0\n",
                           &workload),
                 0, "%s", complaints);
    check_three(&workload);
    workload_clear(&workload);
}

Test(trace, knows_the_calendar)
{
    struct workload_request request;

    cr_assert_null(trace_parse("1970-01-01 00:00:00,1,1", TRACE_FORM_AZURE, &request));
    cr_assert_eq(request.arrival_ns, 0);
    cr_assert_null(trace_parse("2000-02-29 12:00:00.5,1,1", TRACE_FORM_AZURE, &request));
    cr_assert_eq(request.arrival_ns, UINT64_C(951825600500000000));
    cr_assert_null(trace_parse("2024-03-01 00:00:00+00:00,1,1", TRACE_FORM_AZURE, &request));
    cr_assert_eq(request.arrival_ns, UINT64_C(1709251200000000000));
    cr_assert(trace_parse("2023-02-29 00:00:00,1,1", TRACE_FORM_AZURE, &request));
    cr_assert(trace_parse("2023-13-01 00:00:00,1,1", TRACE_FORM_AZURE, &request));
    cr_assert(trace_parse("2023-01-01 24:00:00,1,1", TRACE_FORM_AZURE, &request));
    cr_assert(trace_parse("2023-01-01 00:00:00.,1,1", TRACE_FORM_AZURE, &request));
    cr_assert(trace_parse("2023-01-01 00:00:00+01:00,1,1", TRACE_FORM_AZURE, &request));
}

Test(trace, refuses_bad_lines)
{
    refuse("0,1,1\n\n2,1,1\n", 2, "empty");
    refuse("0,1,1\n1,1\n", 2, "three fields");
    refuse("0,1,1\n1,1,1,1\n", 2, "more than three");
    refuse("0,1,1 \n", 1, "after the last number");
    refuse("0,-5,1\n", 1, "context_tokens");
    refuse("0,0,1\n", 1, "context_tokens is 0");
    refuse("0,99999999999999999999999,1\n", 1, "context_tokens");
    refuse("0,4194305,1\n", 1, "up to 4194304");
    refuse("0,1,x\n", 1, "generated_tokens");
    refuse("1.5,1,1\n", 1, "three fields");
    refuse("x,1,1\n", 1, "timestamp_ms");
    refuse("5,1,1\n4,1,1\n", 2, "before the one on the line above");
    refuse("0,1,1\n2023-11-16 18:15:46.6805900,374,44\n", 2, "three fields");
    refuse("TIMESTAMP,ContextTokens,GeneratedTokens\n17,374,44\n", 2, "date and time");
    refuse("time,in,out\n0,1,1\n", 1, "timestamp_ms");
}

Test(trace, refuses_long_lines_and_zero_bytes)
{
    static const char zero[] = "0,1,1\n1,\0001,1\n";
    struct workload   workload;
    char              text[700];

    memset(text, '1', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    refuse(text, 1, "longer than");
    write_plain(zero, sizeof(zero) - 1);
    cr_assert_eq(read_path(path, &workload), -1);
    cr_assert(strstr(complaints, ":2: the line holds a zero byte"), "%s", complaints);
}

Test(trace, counts_bad_lines_and_shows_five)
{
    struct workload workload;
    const char     *at = complaints;
    int             lines = 0;

    cr_assert_eq(read_text("x\nx\n0,1,1\nx\nx\nx\nx\nx\n", &workload), -1);
    for (; (at = strchr(at, '\n')); at++) lines++;
    cr_assert_eq(lines, 6, "%s", complaints);
    cr_assert(strstr(complaints, "7 bad lines of 8 (the first 5 are shown)"), "%s", complaints);
}

Test(trace, refuses_a_file_without_requests)
{
    struct workload workload;

    cr_assert_eq(read_text("", &workload), -1);
    cr_assert(strstr(complaints, "no request"), "%s", complaints);
    cr_assert_eq(read_text("TIMESTAMP,ContextTokens,GeneratedTokens\n", &workload), -1);
    cr_assert(strstr(complaints, "no request"), "%s", complaints);
}

/* A cut or damaged gzip file must not pass for a short one. */
Test(trace, refuses_cut_and_damaged_gzip)
{
    struct workload workload;
    char            bytes[4096];
    char            text[4096] = "";

    for (int i = 0; i < 200; i++) sprintf(text + strlen(text), "%d,%d,9\n", i, i % 7 + 1);
    write_gzip(text);
    FILE  *in = fopen(path, "r");
    size_t count = fread(bytes, 1, sizeof(bytes), in);
    fclose(in);
    cr_assert_eq(read_path(path, &workload), 0, "%s", complaints);
    workload_clear(&workload);
    for (size_t cut = 12; cut < count; cut++) {
        write_plain(bytes, cut);
        cr_assert_eq(read_path(path, &workload), -1, "cut at %zu of %zu is accepted", cut, count);
        cr_assert(strstr(complaints, "cut off") || strstr(complaints, "no request"),
                  "cut at %zu: %s", cut, complaints);
    }
    bytes[count - 5] ^= 1; /* the checksum's last byte is before the length */
    write_plain(bytes, count);
    cr_assert_eq(read_path(path, &workload), -1);
    cr_assert(complaints[0]);
}

Test(trace, refuses_what_cannot_be_read)
{
    struct workload workload;

    cr_assert_eq(read_path("/nonexistent/arrivals.csv", &workload), -1);
    cr_assert(strstr(complaints, "/nonexistent/arrivals.csv: No such file"), "%s", complaints);
    cr_assert_eq(read_path("/tmp", &workload), -1);
    cr_assert(strstr(complaints, "/tmp: "), "%s", complaints);
    cr_assert(strstr(complaints, "directory"), "%s", complaints);
}

/* The public trace that the default workload imitates; skipped where it is not at hand. */
Test(trace, reads_the_real_trace_whole)
{
    const char     *folder = getenv("WEIR_TRACES");
    struct workload workload;
    char            file[4096];

    snprintf(file, sizeof(file), "%s/" REAL_TRACE, folder ? folder : WEIR_TRACES_DEFAULT);
    if (access(file, R_OK) != 0) cr_skip_test("no file %s; set WEIR_TRACES", file);
    cr_assert_eq(read_path(file, &workload), 0, "%s", complaints);
    cr_assert_eq(workload.count, 19366);
    cr_assert_eq(workload.context_tokens_max, 14050);
    cr_assert_eq(workload.requests[19365].arrival_ns, UINT64_C(3501722000000));
    workload_clear(&workload);
}
