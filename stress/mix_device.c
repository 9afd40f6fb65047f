/* SPDX-License-Identifier: Apache-2.0 */
/* mix_device.c - the operations of mix.c that the device takes part in: copies, streams, events, graphs */
#include "mix.h"

#include "device/device.h"
#include "pool/context.h"

#include <string.h>
#include <weir/scope.h>

static struct weir_stream *take_stream(struct stress_thread *self)
{
    struct weir_stream *stream;
    uint32_t            stream_class = WEIR_STREAM_COMPUTE + (uint32_t)stress_below(self, WEIR_STREAM_HIGH);
    uint64_t            key = stress_below(self, 2) ? 1 + stress_below(self, 32) : 0;
    if (!mix_got(self, weir_stream_acquire_with(mix.rt,
                                                WEIR_OPTS(stream, .stream_class = stream_class, .affinity_key = key,
                                                          .priority = (uint32_t)stress_below(self, 4)),
                                                mix_soon(self), &stream)))
        return NULL;
    return stream;
}

static void note_done(void *ctx)
{
    wi_store((_Atomic uint32_t *)ctx, 1, relaxed);
}

/* ---- copies ---- */

static void fill_body(struct stress_thread *self, struct weir_buffer *buffer, unsigned char body[MIX_BODY_BYTES])
{
    memset(body, (int)stress_below(self, 256), MIX_BODY_BYTES);
    memcpy(body, &(uint64_t){stress_random(self)}, sizeof(uint64_t));
    stress_ok(weir_buffer_write(buffer, STRESS_STAMP_BYTES, body, MIX_BODY_BYTES, mix_far()));
}

/* The buffer is released while its mirror is being written: its next owner must not come before that has ended. */
static void copy_and_leave(struct stress_thread *self)
{
    unsigned char       body[MIX_BODY_BYTES];
    struct weir_buffer *buffer = mix_take(self, mix_any_pool(self));
    struct weir_stream *stream = buffer ? take_stream(self) : NULL;
    if (stream) {
        fill_body(self, buffer, body);
        stress_ok(weir_stream_delay(stream, stress_below(self, MIX_MS / 4)));
        stress_ok(weir_buffer_to_device(mix_body(buffer), stream, WEIR_NOW));
        stress_ok(weir_buffer_guard(buffer, stream));
        stress_ok(weir_stream_release(stream));
    }
    if (buffer) mix_put(self, buffer);
}

static void copy_and_compare(struct stress_thread *self)
{
    unsigned char       body[MIX_BODY_BYTES], back[MIX_BODY_BYTES];
    struct weir_buffer *buffer = mix_take(self, mix_any_pool(self));
    struct weir_stream *stream = buffer ? take_stream(self) : NULL;
    if (stream) {
        fill_body(self, buffer, body);
        stress_ok(weir_buffer_to_device(mix_body(buffer), stream, mix_far()));
        memset((char *)buffer->host + STRESS_STAMP_BYTES, 0, MIX_BODY_BYTES);
        stress_ok(weir_buffer_to_host(mix_body(buffer), stream, WEIR_NOW));
        stress_ok(weir_stream_release(stream)); /* busy */
        stress_ok(weir_buffer_read(buffer, STRESS_STAMP_BYTES, back, MIX_BODY_BYTES, mix_far()));
        stress_require(memcmp(body, back, MIX_BODY_BYTES) == 0, "what came back is not what was sent");
    }
    if (buffer) mix_put(self, buffer);
}

static void copy_batch(struct stress_thread *self)
{
    enum { PARTS = 8, PART = MIX_BODY_BYTES / 2 / PARTS };
    unsigned char       body[MIX_BODY_BYTES];
    struct weir_copy    up[PARTS], down[PARTS];
    uint64_t            mine = mix.device[self->number];
    struct weir_buffer *buffer = mix_take(self, mix_any_pool(self));
    struct weir_stream *stream = buffer ? take_stream(self) : NULL;
    if (stream) {
        fill_body(self, buffer, body);
        for (size_t i = 0; i < PARTS; i++) {
            size_t at = STRESS_STAMP_BYTES + i * PART;
            up[i] = (struct weir_copy){weir_slice(buffer, at, PART), mine + i * PART};
            down[i] = (struct weir_copy){weir_slice(buffer, at + PARTS * PART, PART), mine + i * PART};
        }
        stress_ok(weir_stream_upload_batch(stream, up, PARTS));
        stress_ok(weir_stream_download_batch(stream, down, PARTS));
        stress_ok(weir_stream_sync(stream, mix_far())); /* no other stream may touch this thread's memory at once */
        const char *sent = (const char *)buffer->host + STRESS_STAMP_BYTES;
        stress_require(memcmp(sent, sent + PARTS * PART, PARTS * PART) == 0);
        stress_ok(weir_stream_release(stream));
    }
    if (buffer) mix_put(self, buffer);
}

/* ---- streams and events ---- */

static void use_stream(struct stress_thread *self)
{
    _Atomic uint32_t        reached = 0;
    struct weir_stream_info info = {.struct_size = sizeof info};
    struct weir_stream     *stream = take_stream(self);
    if (!stream) return;
    stress_ok(weir_stream_delay(stream, stress_below(self, MIX_MS / 4)));
    stress_ok(weir_stream_call(stream, note_done, &reached));
    (void)!mix_got(self, weir_stream_query(stream));
    (void)!mix_got(self, weir_stream_sync(stream, weir_deadline_after_ns(stress_below(self, MIX_MS))));
    stress_ok(weir_stream_info_read(stream, &info));
    stress_require(info.state == WEIR_STREAM_ACQUIRED, "%u", info.state);
    stress_ok(weir_stream_sync(stream, mix_far())); /* `reached` is on this stack */
    stress_require(wi_load(&reached, relaxed), "a sync has ended before the stream's work");
    if (stress_below(self, 2)) stress_ok(weir_stream_delay(stream, stress_below(self, MIX_MS / 4)));
    stress_ok(weir_stream_release(stream));
}

static struct weir_event *take_event(struct stress_thread *self, uint32_t flags)
{
    struct weir_event *event;
    return mix_got(self, weir_event_acquire(mix.rt, flags, mix_soon(self), &event)) ? event : NULL;
}

static void use_events(struct stress_thread *self)
{
    uint64_t            took_ns;
    struct weir_event  *plain = take_event(self, 0);
    struct weir_event  *begin = take_event(self, WEIR_EVENT_TIMING), *end = take_event(self, WEIR_EVENT_TIMING);
    struct weir_stream *stream = plain && begin && end ? take_stream(self) : NULL;
    struct weir_stream *other = stream ? take_stream(self) : NULL;
    if (stream) {
        stress_ok(weir_event_record(begin, stream));
        stress_ok(weir_stream_delay(stream, 1000 + stress_below(self, MIX_MS / 4)));
        stress_ok(weir_event_record(end, stream));
        stress_ok(weir_event_record(plain, stream));
        if (other) stress_ok(weir_stream_wait_event(other, plain));
        stress_require(weir_event_elapsed_ns(begin, plain, &took_ns) == WEIR_EKIND);
        (void)!mix_got(self, weir_event_query(end));
        stress_ok(weir_event_sync(end, mix_far()));
        stress_ok(weir_event_elapsed_ns(begin, end, &took_ns));
    }
    if (other) stress_ok(weir_stream_release(other));
    if (stream) stress_ok(weir_stream_release(stream));
    stress_ok(weir_event_release(end));
    stress_ok(weir_event_release(begin));
    stress_ok(weir_event_release(plain));
}

/* The thread's current stream, by scopes. */
static void use_current(struct stress_thread *self)
{
    int err;
    weir_compute_scope(stream, err, mix.rt, 1 + stress_below(self, 32), mix_soon(self));
    if (!mix_got(self, err)) return;
    weir_current_scope(current, err, stream);
    stress_ok(err);
    struct weir_buffer *buffer = mix_take(self, mix_any_pool(self));
    if (!buffer) return;
    stress_ok(weir_stream_delay(NULL, stress_below(self, MIX_MS / 8)));
    stress_ok(weir_buffer_guard(buffer, NULL));
    stress_put(self, buffer);
    stress_ok(weir_buffer_release(buffer));
}

static void use_shared(struct stress_thread *self)
{
    struct weir_stream *stream;
    struct weir_buffer *buffer = mix_take(self, mix_any_pool(self));
    if (!buffer) return;
    stress_ok(weir_stream_share(mix.rt, WEIR_STREAM_COMM, &stream));
    stress_ok(weir_buffer_to_device(mix_body(buffer), stream, WEIR_NOW));
    if (stress_below(self, 2)) stress_ok(weir_buffer_sync(buffer, mix_far()));
    stress_ok(weir_stream_release(stream));
    mix_put(self, buffer);
}

static void use_adopted(struct stress_thread *self)
{
    struct weir_stream *stream;
    unsigned            at = (unsigned)stress_below(self, MIX_HANDLES);
    struct weir_buffer *buffer = mix_take(self, mix_any_pool(self));
    if (!buffer) return;
    if (wi_exchange(&mix.handle_taken[at], 1, acquire) == 0) {
        stress_ok(weir_stream_adopt(mix.rt, mix.handle[at], &stream));
        stress_ok(weir_stream_delay(stream, stress_below(self, MIX_MS / 8)));
        stress_ok(weir_buffer_to_device(mix_body(buffer), stream, WEIR_NOW));
        stress_ok(weir_buffer_guard(buffer, stream));
        stress_ok(weir_stream_disown(stream));
        wi_store(&mix.handle_taken[at], 0, release);
    }
    mix_put(self, buffer);
}

static void use_process_wide(struct stress_thread *self)
{
    struct weir_stream *stream;
    if (!mix_got(self, weir_comm_acquire(1 + stress_below(self, 32), mix_soon(self), &stream))) return;
    stress_ok(weir_stream_delay(stream, stress_below(self, MIX_MS / 8)));
    stress_ok(weir_stream_release(stream));
}

static void sync_all(struct stress_thread *self)
{
    uint32_t mask = 1u << (WEIR_STREAM_COMPUTE + stress_below(self, WEIR_STREAM_HIGH));
    (void)!mix_got(self, weir_runtime_sync(mix.rt, mask, mix_soon(self)));
}

/* A graph keeps the buffer after its release, until it is destroyed. */
static void use_graph(struct stress_thread *self)
{
    struct weir_graph  *graph;
    struct weir_buffer *buffer = mix_take(self, mix_any_pool(self));
    if (!buffer) return;
    stress_ok(weir_graph_create(mix.rt, &graph));
    stress_ok(weir_graph_retain(graph, buffer));
    mix_put(self, buffer);
    stress_pause(self);
    weir_graph_destroy(graph);
}

const struct mix_op mix_device_ops[] = {
    {"copy_and_leave", copy_and_leave, 60}, {"copy_and_compare", copy_and_compare, 40},
    {"copy_batch", copy_batch, 30},         {"stream", use_stream, 50},
    {"events", use_events, 40},             {"current", use_current, 20},
    {"shared", use_shared, 20},             {"adopted", use_adopted, 20},
    {"process_wide", use_process_wide, 10}, {"sync_all", sync_all, 10},
    {"graph", use_graph, 20},               {NULL, NULL, 0},
};
