/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir/error.h - what a call answers when it fails, and what to do then
 *
 * A fallible function returns 0 (or a count) on success and a negative WEIR_E* code on failure. The
 * return value is the truth; weir_last_error() only adds detail for this thread's latest failure,
 * and nothing ever needs to be cleared. Codes may grow in later versions: switch on the remedy.
 *
 * Unless a call says otherwise:
 * Thread:   any.
 * Progress: wait-free.
 *
 * Example, given struct weir_pool *pool; struct weir_buffer *buffer; char text[256]:
 *
 *     int err = weir_buffer_acquire(pool, weir_deadline_after_ns(1000000), &buffer);
 *     switch (weir_remedy_of(err)) {
 *     case WEIR_REMEDY_NONE:
 *         break;
 *     case WEIR_REMEDY_RETRY:
 *     case WEIR_REMEDY_SHED:
 *         return err;
 *     default:
 *         (void)weir_error_text(text, sizeof text);
 *         fprintf(stderr, "%s\n", text);
 *         return err;
 *     }
 */
#ifndef WEIR_ERROR_H
#define WEIR_ERROR_H

#include <errno.h>
#include <weir/base.h>

WEIR_BEGIN_DECLS

/* What the caller should do about a failure. */
enum weir_remedy {
    WEIR_REMEDY_NONE = 0,
    WEIR_REMEDY_RETRY,   /* nothing is wrong; try again or wait longer          */
    WEIR_REMEDY_SHED,    /* a resource is used up; release some, then retry     */
    WEIR_REMEDY_FIX,     /* the call is wrong; retrying cannot help             */
    WEIR_REMEDY_REBUILD, /* the device context or the process is lost           */
    WEIR_REMEDY_REPORT   /* an invariant of weir broke; please report it        */
};

/* X(name, value, remedy, text). Where errno has the meaning, the value is the errno. */
#define WEIR_ERROR_MAP(X)                                                                          \
    X(AGAIN, EAGAIN, RETRY, "nothing available right now")                                         \
    X(TIMEDOUT, ETIMEDOUT, RETRY, "deadline passed")                                               \
    X(BUSY, EBUSY, RETRY, "object is in use")                                                      \
    X(CANCELED, ECANCELED, RETRY, "request was cancelled")                                         \
    X(NOMEM, ENOMEM, SHED, "host memory exhausted")                                                \
    X(INVAL, EINVAL, FIX, "invalid argument")                                                      \
    X(NOENT, ENOENT, FIX, "no such object")                                                        \
    X(NOSYS, ENOSYS, FIX, "not supported by this backend or system")                               \
    X(RANGE, ERANGE, FIX, "outside the object's range")                                            \
    X(DEVMEM, 4601, SHED, "device memory exhausted")                                               \
    X(PRESSURE, 4602, SHED, "refused under memory pressure")                                       \
    X(CLOSED, 4603, FIX, "object was closed")                                                      \
    X(OPTS, 4604, FIX, "option set that this weir lacks")                                          \
    X(FORKED, 4605, REBUILD, "used in a forked child")                                             \
    X(DEVICE, 4606, REBUILD, "device is lost")                                                     \
    X(INTERNAL, 4607, REPORT, "internal invariant failed")                                         \
    X(EXCEEDS, 4608, SHED, "a limit would be exceeded")                                            \
    X(CAPTURE, 4609, FIX, "stream is being captured into a graph")                                 \
    X(NODRIVER, 4610, FIX, "no usable device driver")                                              \
    X(PEER, 4611, RETRY, "remote peer failed")                                                     \
    X(NOTLEASED, 4612, FIX, "released but not leased")                                             \
    X(FOREIGN, 4613, FIX, "pointer is not a handle of weir")                                       \
    X(STALE, 4614, FIX, "lease had already ended")                                                 \
    X(KIND, 4615, FIX, "wrong kind of object for this call")

enum weir_err {
    WEIR_OK = 0,
#define X(name, value, remedy, text) WEIR_E##name = -(value),
    WEIR_ERROR_MAP(X)
#undef X
};

/* Detail about a thread's latest failure. Strings are static or live until the thread's next failure. */
struct weir_error {
    size_t      struct_size;
    int32_t     code;        /* WEIR_E*                                          */
    int32_t     driver_code; /* the driver's own result, or 0                    */
    int32_t     sys_errno;   /* errno, or 0                                      */
    uint32_t    line;        /* in weir's source                                 */
    const char *file;        /* in weir's source                                 */
    const char *call;        /* the driver or system call that failed, or ""     */
    const char *detail;      /* a sentence, or ""                                */
    const char *limit;       /* name of the limit that was met, or ""            */
    const char *setting;     /* option or variable that lifts the limit, or ""   */
    uint64_t    limit_value; /* the limit's value                                */
    uint64_t    wanted;      /* what was asked for                               */
};

/* weir_strerror - a code's text; never NULL */
WEIR_API const char *weir_strerror(int code);

/* weir_errname - a code's name, such as "EXCEEDS"; "UNKNOWN" for a foreign number */
WEIR_API const char *weir_errname(int code);

/* weir_remedy_of - what to do about a code */
WEIR_API enum weir_remedy weir_remedy_of(int code);

/*
 * weir_last_error - detail of this thread's latest failure
 *
 * Set out->struct_size first; weir fills as much as both sides know.
 * Fails: NOENT (nothing has failed on this thread yet), INVAL (struct_size is not set; it is not recorded).
 */
WEIR_API int weir_last_error(struct weir_error *out);

/*
 * weir_error_record - make an error this thread's latest failure; returns error->code
 *
 * For libraries that stand on weir and answer as it does. Texts may be NULL, else must be static.
 * Fails: INVAL (the code is not negative), OPTS.
 */
WEIR_API int weir_error_record(const struct weir_error *error);

/*
 * weir_error_text - this thread's latest failure as one line, such as
 * "EXCEEDS: a limit would be exceeded (pinned_bytes 1048576, wanted 2097152; raise WEIR_PINNED_BYTES_MAX)"
 *
 * Like snprintf: returns the length of the whole text, 0 when nothing has failed on this thread yet. Cannot fail.
 */
WEIR_API int weir_error_text(char *text, size_t capacity);

WEIR_END_DECLS

#endif
