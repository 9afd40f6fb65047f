/* SPDX-License-Identifier: Apache-2.0 */
/* test_error.c - the error map, and the record of a thread's latest failure */
#include "base/alloc.h"
#include "base/base.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

static const int codes[] = {
#define X(name, value, remedy, text) WEIR_E##name,
    WEIR_ERROR_MAP(X)
#undef X
};

Test(error, every_code_has_name_text_and_remedy)
{
    for (size_t i = 0; i < WI_ARRAY_COUNT(codes); i++) {
        cr_assert_lt(codes[i], 0);
        cr_assert_str_neq(weir_errname(codes[i]), "UNKNOWN");
        cr_assert_str_not_empty(weir_strerror(codes[i]));
        cr_assert_str_neq(weir_strerror(codes[i]), "unknown error");
        cr_assert_neq(weir_remedy_of(codes[i]), WEIR_REMEDY_NONE);
    }
}

Test(error, codes_and_names_differ)
{
    for (size_t i = 0; i < WI_ARRAY_COUNT(codes); i++) {
        for (size_t j = 0; j < i; j++) {
            cr_assert_neq(codes[i], codes[j]);
            cr_assert_str_neq(weir_errname(codes[i]), weir_errname(codes[j]));
        }
    }
}

Test(error, codes_with_an_errno_meaning_are_the_errno)
{
    cr_assert_eq(WEIR_EAGAIN, -EAGAIN);
    cr_assert_eq(WEIR_ETIMEDOUT, -ETIMEDOUT);
    cr_assert_eq(WEIR_ENOMEM, -ENOMEM);
    cr_assert_eq(WEIR_EINVAL, -EINVAL);
    cr_assert_str_eq(weir_errname(WEIR_EEXCEEDS), "EXCEEDS");
    cr_assert_eq(weir_remedy_of(WEIR_EEXCEEDS), WEIR_REMEDY_SHED);
    cr_assert_eq(weir_remedy_of(WEIR_EDEVICE), WEIR_REMEDY_REBUILD);
}

Test(error, success_and_foreign_numbers)
{
    cr_assert_str_eq(weir_errname(0), "OK");
    cr_assert_str_eq(weir_strerror(0), "success");
    cr_assert_eq(weir_remedy_of(0), WEIR_REMEDY_NONE);
    cr_assert_str_eq(weir_errname(-99999), "UNKNOWN");
    cr_assert_str_eq(weir_strerror(EINVAL), "unknown error");
    cr_assert_eq(weir_remedy_of(-99999), WEIR_REMEDY_NONE);
}

Test(error, nothing_has_failed_yet)
{
    struct weir_error error = {.struct_size = sizeof(error), .code = 7};
    char              text[8] = "before";

    cr_assert_eq(weir_last_error(&error), WEIR_ENOENT);
    cr_assert_eq(error.code, 7, "outputs are written only on success");
    cr_assert_eq(weir_error_text(text, sizeof(text)), 0);
    cr_assert_str_eq(text, "");
}

static int fail_on_budget(void)
{
    return WI_FAIL(EXCEEDS, .limit = "pinned_bytes", .limit_value = 1048576, .wanted = 2097152,
                   .setting = "WEIR_PINNED_BYTES_MAX");
}

Test(error, record_has_every_field)
{
    struct weir_error error = {.struct_size = sizeof(error)};
    int               err;

    err = WI_FAIL(DEVICE, .call = "cuEventQuery", .driver_code = 700, .sys_errno = EIO,
                  .detail = "the copy failed");
    cr_assert_eq(err, WEIR_EDEVICE);
    cr_assert_eq(weir_last_error(&error), 0);
    cr_assert_eq(error.struct_size, sizeof(error));
    cr_assert_eq(error.code, WEIR_EDEVICE);
    cr_assert_eq(error.driver_code, 700);
    cr_assert_eq(error.sys_errno, EIO);
    cr_assert_str_eq(error.call, "cuEventQuery");
    cr_assert_str_eq(error.detail, "the copy failed");
    cr_assert_str_eq(error.limit, "", "absent strings are empty, not NULL");
    cr_assert_str_eq(error.setting, "");
    cr_assert(strstr(error.file, "test_error.c"));
    cr_assert_gt(error.line, 0);

    cr_assert_eq(fail_on_budget(), WEIR_EEXCEEDS);
    cr_assert_eq(weir_last_error(&error), 0);
    cr_assert_eq(error.driver_code, 0, "a new failure replaces the whole record");
    cr_assert_str_eq(error.call, "");
    cr_assert_str_eq(error.limit, "pinned_bytes");
    cr_assert_eq(error.limit_value, 1048576);
    cr_assert_eq(error.wanted, 2097152);
}

Test(error, caller_older_than_the_library)
{
    struct weir_error error;
    unsigned char    *bytes = (unsigned char *)&error;
    size_t            known = offsetof(struct weir_error, line);

    (void)WI_FAIL(DEVICE, .driver_code = 700, .sys_errno = EIO);
    memset(&error, 0xa5, sizeof(error));
    error.struct_size = known;
    cr_assert_eq(weir_last_error(&error), 0);
    cr_assert_eq(error.struct_size, known);
    cr_assert_eq(error.sys_errno, EIO);
    for (size_t i = known; i < sizeof(error); i++) {
        cr_assert_eq(bytes[i], 0xa5, "byte %zu lies beyond the caller's struct", i);
    }
}

Test(error, caller_newer_than_the_library)
{
    struct {
        struct weir_error known;
        uint64_t          newer;
    } error = {.known.struct_size = sizeof(error), .newer = 42};

    (void)fail_on_budget();
    cr_assert_eq(weir_last_error(&error.known), 0);
    cr_assert_eq(error.known.wanted, 2097152);
    cr_assert_eq(error.newer, 42);
}

Test(error, asking_wrongly_keeps_the_record)
{
    struct weir_error error = {.struct_size = 0};

    (void)fail_on_budget();
    cr_assert_eq(weir_last_error(NULL), WEIR_EINVAL);
    cr_assert_eq(weir_last_error(&error), WEIR_EINVAL);
    error.struct_size = sizeof(error);
    cr_assert_eq(weir_last_error(&error), 0);
    cr_assert_eq(error.code, WEIR_EEXCEEDS);
}

Test(error, text_names_the_limit_and_what_lifts_it)
{
    static const char expected[] = "EXCEEDS: a limit would be exceeded (pinned_bytes 1048576, "
                                   "wanted 2097152; raise WEIR_PINNED_BYTES_MAX)";
    char              text[256];

    (void)fail_on_budget();
    cr_assert_eq(weir_error_text(text, sizeof(text)), (int)strlen(expected));
    cr_assert_str_eq(text, expected);
}

Test(error, text_of_other_shapes)
{
    char text[256];

    (void)WI_FAIL(CLOSED);
    weir_error_text(text, sizeof(text));
    cr_assert_str_eq(text, "CLOSED: object was closed");
    (void)WI_FAIL(INVAL, .detail = "buffer_bytes is 0");
    weir_error_text(text, sizeof(text));
    cr_assert_str_eq(text, "INVAL: invalid argument: buffer_bytes is 0");
    (void)WI_FAIL(NOMEM, .call = "mmap", .sys_errno = ENOMEM, .wanted = 4096);
    weir_error_text(text, sizeof(text));
    cr_assert_str_eq(text, "NOMEM: host memory exhausted (mmap, errno 12: Cannot allocate memory, "
                           "wanted 4096)");
    (void)WI_FAIL(DEVICE, .call = "cuEventQuery", .driver_code = 700);
    weir_error_text(text, sizeof(text));
    cr_assert_str_eq(text, "DEVICE: device is lost (cuEventQuery, driver result 700)");
    (void)WI_FAIL(NOSYS, .setting = "WEIR_SLOTS");
    weir_error_text(text, sizeof(text));
    cr_assert_str_eq(text, "NOSYS: not supported by this backend or system (raise WEIR_SLOTS)");
}

Test(error, text_is_cut_as_snprintf_cuts)
{
    char whole[256];
    char part[10];
    int  length;

    (void)fail_on_budget();
    length = weir_error_text(whole, sizeof(whole));
    cr_assert_eq(weir_error_text(NULL, 0), length);
    cr_assert_eq(weir_error_text(part, sizeof(part)), length);
    cr_assert_eq(strlen(part), sizeof(part) - 1);
    cr_assert_eq(strncmp(part, whole, sizeof(part) - 1), 0);
}

Test(error, formatted_sentence_lives_until_the_next_failure)
{
    struct weir_error error = {.struct_size = sizeof(error)};
    char              name[] = "staging";

    cr_assert_eq(WI_FAIL_TEXT(INVAL, "pool \"%s\" has %d buffers", name, 3), WEIR_EINVAL);
    memset(name, 'x', sizeof(name) - 1);
    cr_assert_eq(weir_last_error(&error), 0);
    cr_assert_str_eq(error.detail, "pool \"staging\" has 3 buffers");
}

Test(error, overlong_sentence_is_cut)
{
    struct weir_error error = {.struct_size = sizeof(error)};

    (void)WI_FAIL_TEXT(INVAL, "%01000d", 7);
    cr_assert_eq(weir_last_error(&error), 0);
    cr_assert_gt(strlen(error.detail), 100);
    cr_assert_lt(strlen(error.detail), 1000);
}

Test(error, failure_is_recorded_without_memory_for_its_sentence)
{
    struct weir_error error = {.struct_size = sizeof(error)};

    wi_alloc_fail_at(1);
    cr_assert_eq(WI_FAIL_TEXT(RANGE, "offset %d", 5), WEIR_ERANGE);
    cr_assert_eq(wi_alloc_fail_at(0), 0, "the sentence was to be allocated");
    cr_assert_eq(weir_last_error(&error), 0);
    cr_assert_eq(error.code, WEIR_ERANGE);
    cr_assert_str_eq(error.detail, "");
    (void)WI_FAIL_TEXT(RANGE, "offset %d", 5);
    cr_assert_eq(weir_last_error(&error), 0);
    cr_assert_str_eq(error.detail, "offset 5");
}

static void *fail_on_another_thread(void *unused)
{
    struct weir_error error = {.struct_size = sizeof(error)};

    (void)unused;
    cr_assert_eq(weir_last_error(&error), WEIR_ENOENT, "each thread has its own record");
    (void)WI_FAIL_TEXT(CLOSED, "on thread %d", 2);
    cr_assert_eq(weir_last_error(&error), 0);
    cr_assert_str_eq(error.detail, "on thread 2");
    return NULL;
}

Test(error, record_belongs_to_the_thread)
{
    struct weir_error error = {.struct_size = sizeof(error)};
    pthread_t         thread;

    (void)WI_FAIL_TEXT(RANGE, "on thread %d", 1);
    cr_assert_eq(pthread_create(&thread, NULL, fail_on_another_thread, NULL), 0);
    pthread_join(thread, NULL);
    cr_assert_eq(weir_last_error(&error), 0);
    cr_assert_eq(error.code, WEIR_ERANGE);
    cr_assert_str_eq(error.detail, "on thread 1");
}

static int passes_on(int inner)
{
    WI_TRY(inner);
    WI_ENSURE(inner != 5, RANGE, .detail = "five");
    return inner + 1;
}

Test(error, macros_that_return)
{
    cr_assert_eq(passes_on(3), 4);
    cr_assert_eq(passes_on(WEIR_EBUSY), WEIR_EBUSY);
    cr_assert_eq(passes_on(5), WEIR_ERANGE);
}

Test(error, panic_aborts, .signal = SIGABRT)
{
    wi_require(1 + 1 == 3);
}

Test(error, a_library_on_weir_records_its_own)
{
    struct weir_error mine = {.struct_size = sizeof mine, .code = WEIR_EEXCEEDS, .limit = "threads", .limit_value = 4};
    struct weir_error seen = {.struct_size = sizeof seen};
    cr_assert_eq(weir_error_record(&mine), WEIR_EEXCEEDS);
    cr_assert_eq(weir_last_error(&seen), 0);
    cr_assert_eq(seen.code, WEIR_EEXCEEDS);
    cr_assert_str_eq(seen.limit, "threads");
    cr_assert_eq(seen.limit_value, 4);
    cr_assert_str_eq(seen.call, "");
    cr_assert_str_eq(seen.setting, "");
    mine.code = 1;
    cr_assert_eq(weir_error_record(&mine), WEIR_EINVAL);
}
