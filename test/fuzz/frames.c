/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frames.c - control frames of libweir_ucx: two real ends, and the input between them
 *
 *      listener  <->  what the input does to the bytes  <->  connector
 *
 * frame.c, link.c and proof.c are the library's own; what stands behind them is replaced here and only takes note. The input
 * delivers bytes in parts, changes, drops, repeats and invents them. Law: an end opens a session, and hears in it, exactly
 * what the other end has said, in order, and nothing from the first changed byte on. With two different secrets nobody opens
 * anything.
 */
#include "fuzz/fuzz.h"

#include "ucx/frame.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define STREAM_MAX  (1 << 17)
#define ADDRESS     "where UCX would find this end"
#define SECRET      "what both ends know"
#define SAID_MAX    512
#define INPUT_FRAME 200

const char *const fuzz_words[] = {"wUX1", "\x02", "\x03\x01", "\x03\x02", "\x10\x00\x00\x00", NULL};

/* What an end said in a session, or was told. */
struct said {
    uint32_t type;
    uint32_t bytes;
    uint64_t sum;
};

struct end {
    struct weir_ucx      ucx;
    struct weir_ucx_peer peer;
    uint8_t              in[WU_FRAME_MAX];
    int                  wire; /* the input's end of this end's connection */

    uint8_t genuine[STREAM_MAX]; /* all that it has sent */
    size_t  genuine_bytes;
    uint8_t queue[STREAM_MAX]; /* of that, with the input's changes, what has not been delivered */
    size_t  queue_bytes;
    size_t  delivered;  /* to the other end */
    size_t  true_bytes; /* how far that is what was sent */

    struct said told[SAID_MAX], heard[SAID_MAX];
    size_t      told_count, heard_count;
    bool        opened;
};

static struct end ends[2];

static struct end *end_of(const struct weir_ucx_peer *peer)
{
    return peer == &ends[0].peer ? &ends[0] : &ends[1];
}

int LLVMFuzzerInitialize(int *count, char ***words)
{
    (void)count;
    (void)words;
    return 0;
}

/* ---- what stands behind link.c ---- */

_Noreturn void wu_panic(const char *file, unsigned line, const char *what)
{
    fuzz_fail(file, (int)line, "panic: %s", what);
}

void *wu_realloc(void *memory, size_t bytes)
{
    return realloc(memory, bytes);
}

void wu_log(uint32_t level, const char *format, ...)
{
    char    line[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    fuzz_require(level == WEIR_LOG_WARN && length > 0 && !strstr(line, SECRET), "%s", line);
}

void wu_advance_locked(struct weir_ucx *ucx)
{
    (void)ucx;
}

void wu_peer_end_locked(struct weir_ucx_peer *peer, int err, ucs_status_t status, const char *why)
{
    (void)why;
    if (wi_load(&peer->state, relaxed) >= WU_PEER_ENDING) return;
    peer->error = err;
    peer->status = status;
    wi_store(&peer->state, WU_PEER_ENDING, relaxed);
}

void wu_peer_open_locked(struct weir_ucx_peer *peer, const void *address, size_t bytes)
{
    struct end *end = end_of(peer);
    fuzz_require(wi_load(&peer->state, relaxed) == WU_PEER_GREETING && !end->opened,
                 "opened twice");
    fuzz_require(bytes == sizeof ADDRESS && !memcmp(address, ADDRESS, bytes),
                 "an address that nobody sent");
    end->opened = true;
    wi_store(&peer->state, WU_PEER_ALIVE, relaxed);
}

/* A listener makes nothing of UCX's for who has not proved the secret: judged when it has opened the session. */
int wu_worker_open_locked(struct weir_ucx_peer *peer)
{
    fuzz_require(!peer->address, "two workers");
    peer->address = (ucp_address_t *)(uintptr_t)ADDRESS;
    peer->address_bytes = sizeof ADDRESS;
    return 0;
}

static uint64_t sum_of(const uint8_t *at, size_t bytes)
{
    uint64_t sum = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < bytes; i++) sum = (sum ^ at[i]) * UINT64_C(1099511628211);
    return sum;
}

static void note(struct said *list, size_t *count, uint32_t type, const uint8_t *at, size_t bytes)
{
    fuzz_require(*count < SAID_MAX, "too much is heard");
    list[(*count)++] =
        (struct said){.type = type, .bytes = (uint32_t)bytes, .sum = sum_of(at, bytes)};
}

static bool hear(struct weir_ucx_peer *peer, uint32_t type, const uint8_t *at, size_t bytes)
{
    struct end *end = end_of(peer);
    note(end->heard, &end->heard_count, type, at, bytes);
    return true;
}

bool wu_far_slab_add_locked(struct weir_ucx_peer *peer, const uint8_t *payload, size_t bytes)
{
    return hear(peer, WU_SLAB, payload, bytes);
}

bool wu_far_slab_going_locked(struct weir_ucx_peer *peer, uint64_t id)
{
    return hear(peer, WU_SLAB_GOING, (const uint8_t *)&id, sizeof id);
}

bool wu_slab_gone_locked(struct weir_ucx_peer *peer, uint64_t name)
{
    return hear(peer, WU_SLAB_GONE, (const uint8_t *)&name, sizeof name);
}

void wu_peer_ready_locked(struct weir_ucx_peer *peer)
{
    (void)hear(peer, WU_READY, NULL, 0);
}

struct weir_ucx_peer *wu_peer_make_locked(struct weir_ucx *ucx, int fd, bool connector)
{
    (void)ucx;
    (void)fd;
    (void)connector;
    return NULL;
}

/* Planted: the last byte of a proof is not looked at. */
bool __real_wu_same_proof(const uint8_t *one, const uint8_t *other, size_t bytes);
bool __wrap_wu_same_proof(const uint8_t *one, const uint8_t *other, size_t bytes);
bool __wrap_wu_same_proof(const uint8_t *one, const uint8_t *other, size_t bytes)
{
    return __real_wu_same_proof(one, other, bytes - fuzz_planted());
}

/* ---- the wire ---- */

static void begin(struct end *end, bool connector, const char *secret)
{
    int pair[2];
    memset(&end->ucx, 0, sizeof end->ucx);
    memset(&end->peer, 0, sizeof end->peer);
    end->genuine_bytes = end->queue_bytes = end->delivered = end->true_bytes = 0;
    end->told_count = end->heard_count = 0;
    end->opened = false;
    fuzz_require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0,
                 "socketpair");
    end->wire = pair[1];
    end->ucx.poll_fd = -1;
    end->ucx.opts.secret = secret;
    end->ucx.opts.secret_bytes = strlen(secret);
    memset(end->ucx.run, connector ? 'c' : 'l', sizeof end->ucx.run);
    end->peer.ucx = &end->ucx;
    end->peer.fd = pair[0];
    end->peer.connector = connector;
    end->peer.in = end->in;
    end->peer.inbox_mine = connector ? 2 : 4;
    memset(end->peer.nonce_mine, connector ? 'n' : 'm', sizeof end->peer.nonce_mine);
    wi_store(&end->peer.state, WU_PEER_GREETING, relaxed);
}

/* What the end has put into its socket. */
static void collect(struct end *end)
{
    ssize_t count;
    while ((count = recv(end->wire, end->genuine + end->genuine_bytes,
                         STREAM_MAX - end->genuine_bytes, MSG_DONTWAIT)) > 0) {
        if ((size_t)count <= STREAM_MAX - end->queue_bytes) {
            memcpy(end->queue + end->queue_bytes, end->genuine + end->genuine_bytes, (size_t)count);
            end->queue_bytes += (size_t)count;
        }
        end->genuine_bytes += (size_t)count;
    }
}

/* Of what the end has sent, how many frames arrived whole and unchanged. */
static size_t true_frames(const struct end *from)
{
    size_t count = 0;
    for (size_t at = 0; at + WU_FRAME_HEAD <= from->true_bytes; count++) {
        at += wu_read_u32(from->genuine + at + 8);
        if (at > from->true_bytes) break;
    }
    return count;
}

/* The greeting frames before a session: of the listener HELLO and WELCOME, of the connector AUTH. */
static void check(const struct end *from, const struct end *to)
{
    size_t greeting = from->peer.connector ? 1 : 2, whole = true_frames(from);
    fuzz_require(to->peer.in_bytes <= WU_FRAME_MAX, "%zu bytes wait", to->peer.in_bytes);
    fuzz_require(!to->opened || whole >= greeting, "a session is opened, of %zu good frames",
                 whole);
    fuzz_require(!to->opened || !strcmp(ends[0].ucx.opts.secret, ends[1].ucx.opts.secret),
                 "with another secret");
    fuzz_require(to->opened || to->peer.connector || !to->peer.address, "a worker for a stranger");
    fuzz_require(to->heard_count <= from->told_count, "more is heard than was said");
    fuzz_require(to->heard_count == 0 || to->heard_count + greeting <= whole,
                 "%zu heard, of %zu good frames", to->heard_count, whole);
    for (size_t i = 0; i < to->heard_count; i++)
        fuzz_require(!memcmp(&to->heard[i], &from->told[i], sizeof to->heard[i]),
                     "frame %zu of the session", i);
    fuzz_require(to->ucx.stat.refused_secret + to->ucx.stat.refused_garbage <= 1, "refused twice");
    const uint8_t *leak =
        memmem(to->genuine, to->genuine_bytes, to->ucx.opts.secret, to->ucx.opts.secret_bytes);
    fuzz_require(!leak, "the secret is on the wire");
}

static void deliver(struct end *from, struct end *to, size_t bytes)
{
    int left = 1;
    if (bytes > from->queue_bytes) bytes = from->queue_bytes;
    if (bytes > 32768) bytes = 32768; /* fits into a socket */
    if (bytes == 0 || to->peer.fd < 0) return;
    for (size_t i = 0; i < bytes && from->true_bytes == from->delivered + i; i++)
        from->true_bytes += from->true_bytes < from->genuine_bytes &&
                            from->genuine[from->true_bytes] == from->queue[i];
    from->delivered += bytes;
    fuzz_require(send(to->wire, from->queue, bytes, MSG_NOSIGNAL) == (ssize_t)bytes, "send");
    memmove(from->queue, from->queue + bytes, from->queue_bytes - bytes);
    from->queue_bytes -= bytes;
    while (to->peer.fd >= 0 && ioctl(to->peer.fd, FIONREAD, &left) == 0 && left > 0)
        wu_link_event_locked(&to->peer, EPOLLIN);
    collect(to);
    check(from, to);
    check(to, from);
}

/* An end says something of its own; without a session nothing but the greeting is sent. */
static void say(struct end *end, struct fuzz_input *input)
{
    struct wu_frame frame;
    uint32_t        type = WU_SLAB + fuzz_below(input, WU_BYE - WU_SLAB + 1);
    uint8_t         payload[INPUT_FRAME];
    size_t          bytes = 0;
    if (wi_load(&end->peer.state, relaxed) != WU_PEER_ALIVE || end->told_count == SAID_MAX) return;
    if (type == WU_SLAB) bytes = fuzz_below(input, INPUT_FRAME);
    if (type == WU_SLAB_GOING || type == WU_SLAB_GONE) bytes = 8;
    for (size_t i = 0; i < bytes; i++) payload[i] = fuzz_u8(input);
    wu_frame_begin(&frame, type);
    wu_frame_add(&frame, payload, bytes);
    wu_link_send_locked(&end->peer, &frame);
    if (type < WU_PING) note(end->told, &end->told_count, type, payload, bytes);
    collect(end);
}

static void change(struct end *from, struct fuzz_input *input)
{
    size_t at = fuzz_u16(input);
    if (from->queue_bytes == 0) return;
    at = at & 0x8000 ? from->queue_bytes - 1 - (at & 0x7fff) % from->queue_bytes
                     : at % from->queue_bytes;
    from->queue[at] ^= fuzz_u8(input);
}

/* Bytes of the input's own, or bytes that this or the other end has sent before, at the head of the queue. */
static void put_in(struct end *from, const uint8_t *at, size_t bytes)
{
    if (bytes > STREAM_MAX - from->queue_bytes) return;
    memmove(from->queue + bytes, from->queue, from->queue_bytes);
    memmove(from->queue, at, bytes);
    from->queue_bytes += bytes;
}

static void invent(struct end *from, struct fuzz_input *input)
{
    size_t bytes = fuzz_u8(input);
    if (bytes > input->left) bytes = input->left;
    put_in(from, input->at, bytes);
    input->at += bytes;
    input->left -= bytes;
}

static void repeat(struct end *from, const struct end *whose, struct fuzz_input *input)
{
    size_t at = fuzz_u16(input), bytes = fuzz_u16(input);
    if (at > whose->genuine_bytes) at = 0;
    if (bytes > whose->genuine_bytes - at) bytes = whose->genuine_bytes - at;
    put_in(from, whose->genuine + at, bytes);
}

static void drop(struct end *from, struct fuzz_input *input)
{
    size_t bytes = fuzz_u16(input);
    if (bytes > from->queue_bytes) bytes = from->queue_bytes;
    memmove(from->queue, from->queue + bytes, from->queue_bytes - bytes);
    from->queue_bytes -= bytes;
}

static void step(struct fuzz_input *input)
{
    uint8_t     what = fuzz_u8(input);
    struct end *from = &ends[what & 1], *to = &ends[!(what & 1)];
    switch (what >> 1 & 7) {
    case 0:
    case 1:
        deliver(from, to, SIZE_MAX);
        break;
    case 2:
        deliver(from, to, fuzz_u8(input));
        break;
    case 3:
        say(from, input);
        break;
    case 4:
        change(from, input);
        break;
    case 5:
        invent(from, input);
        break;
    case 6:
        repeat(from, what & 16 ? to : from, input);
        break;
    default:
        drop(from, input);
        break;
    }
}

static void finish(struct end *end)
{
    wu_link_close_locked(&end->peer);
    (void)close(end->wire);
    free(end->peer.out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct fuzz_input input = {data, bytes};
    uint8_t           mode = fuzz_u8(&input);
    if (memmem(data, bytes, SECRET, strlen(SECRET))) return 0; /* whoever knows it may say it */
    begin(&ends[0], false, SECRET);
    begin(&ends[1], true, mode & 1 ? "something else" : SECRET);
    wu_link_greet_locked(&ends[0].peer);
    collect(&ends[0]);
    if (mode & 2) { /* a session, before anything is done to it */
        for (int i = 0; i < 3; i++) deliver(&ends[i & 1], &ends[!(i & 1)], SIZE_MAX);
        fuzz_require((ends[0].opened && ends[1].opened) == !(mode & 1), "the handshake");
    }
    while (input.left > 0) step(&input);
    finish(&ends[0]);
    finish(&ends[1]);
    return 0;
}
