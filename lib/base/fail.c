/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fail.c - the record of a thread's latest failure
 *
 * The record itself is thread-local. Its formatted sentence is not: a library that is opened at run
 * time shares a few hundred bytes of thread-local room with all the others. The sentence is allocated
 * at a thread's first formatted failure and freed by a key's destructor when the thread ends.
 */
#include "base/alloc.h"
#include "base/options.h"
#include "base/text.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SENTENCE_BYTES 256

static _Thread_local struct weir_error last; /* code 0: nothing has failed yet */
static _Thread_local char             *sentence;
static _Thread_local uint64_t          failures; /* how often `last` was written */

static pthread_once_t sentence_once = PTHREAD_ONCE_INIT;
static pthread_key_t  sentence_key;
static bool           sentence_key_made;

static void sentence_free(void *memory)
{
    if (last.detail == memory) last.detail = "";
    sentence = NULL;
    wi_free(memory);
}

static void sentence_key_make(void)
{
    sentence_key_made = pthread_key_create(&sentence_key, sentence_free) == 0;
}

/* This thread's sentence, or NULL where there is no memory or key for one. */
static char *sentence_find(void)
{
    if (sentence) return sentence;
    pthread_once(&sentence_once, sentence_key_make);
    if (!sentence_key_made) return NULL;
    sentence = wi_alloc(SENTENCE_BYTES);
    if (sentence && pthread_setspecific(sentence_key, sentence) != 0) sentence_free(sentence);
    return sentence;
}

int wi_fail_at(int code, const char *file, unsigned line, const struct wi_cause *cause)
{
    wi_assert(code < 0);
    failures++;
    last = (struct weir_error){
        .struct_size = sizeof(last),
        .code = code,
        .driver_code = cause->driver_code,
        .sys_errno = cause->sys_errno,
        .line = line,
        .file = file,
        .call = cause->call ? cause->call : "",
        .detail = cause->detail ? cause->detail : "",
        .limit = cause->limit ? cause->limit : "",
        .setting = cause->setting ? cause->setting : "",
        .limit_value = cause->limit_value,
        .wanted = cause->wanted,
    };
    return code;
}

int wi_fail_text_at(int code, const char *file, unsigned line, const char *format, ...)
{
    char   *text = sentence_find();
    va_list arguments;

    if (text) {
        va_start(arguments, format);
        vsnprintf(text, SENTENCE_BYTES, format, arguments);
        va_end(arguments);
    }
    return wi_fail_at(code, file, line, &(const struct wi_cause){.detail = text});
}

int weir_error_record(const struct weir_error *error)
{
    struct weir_error given;
    WI_TRY(wi_options_import(&given, sizeof given, error, "weir_error"));
    WI_ENSURE(given.code < 0, INVAL, .detail = "an error to be recorded has a negative code");
    failures++;
    last = given;
    if (!last.file) last.file = "";
    if (!last.call) last.call = "";
    if (!last.detail) last.detail = "";
    if (!last.limit) last.limit = "";
    if (!last.setting) last.setting = "";
    return last.code;
}

uint64_t wi_failures(void)
{
    return failures;
}

int weir_last_error(struct weir_error *out)
{
    size_t bytes;

    /* Not recorded: asking wrongly must not wipe out the failure that is asked about. */
    if (!out || out->struct_size < sizeof(out->struct_size)) return WEIR_EINVAL;
    if (last.code == 0) return WEIR_ENOENT;
    bytes = out->struct_size < sizeof(last) ? out->struct_size : sizeof(last);
    memcpy((char *)out + sizeof(size_t), (const char *)&last + sizeof(size_t),
           bytes - sizeof(size_t));
    return 0;
}

/* What opens the next part of the list in parentheses. */
static const char *part_open(bool *opened)
{
    const char *opening = *opened ? ", " : " (";

    *opened = true;
    return opening;
}

int weir_error_text(char *text, size_t capacity)
{
    struct wi_text line;
    bool           opened = false;
    char           reason[128];

    wi_text_init(&line, text, capacity);
    if (last.code == 0) return 0;
    wi_text_add(&line, "%s: %s", weir_errname(last.code), weir_strerror(last.code));
    if (*last.detail) wi_text_add(&line, ": %s", last.detail);
    if (*last.call) wi_text_add(&line, "%s%s", part_open(&opened), last.call);
    if (last.driver_code != 0) {
        wi_text_add(&line, "%sdriver result %d", part_open(&opened), last.driver_code);
    }
    if (last.sys_errno != 0) {
        wi_text_add(&line, "%serrno %d: %s", part_open(&opened), last.sys_errno,
                    strerror_r(last.sys_errno, reason, sizeof(reason)));
    }
    if (*last.limit) {
        wi_text_add(&line, "%s%s %llu", part_open(&opened), last.limit,
                    (unsigned long long)last.limit_value);
    }
    if (last.wanted != 0) {
        wi_text_add(&line, "%swanted %llu", part_open(&opened), (unsigned long long)last.wanted);
    }
    if (*last.setting) wi_text_add(&line, "%sraise %s", opened ? "; " : " (", last.setting);
    if (opened || *last.setting) wi_text_add(&line, ")");
    return (int)line.length;
}
