/* SPDX-License-Identifier: Apache-2.0 */
/*
 * epoll.c - a serving loop in one thread: requests come in by a socket, wait for a staging buffer without blocking, and are
 * uploaded
 *
 *     arrival     a length and bytes on a socket
 *     acquire     weir_buffer_acquire_eventfd(): the loop goes on, and hears of it by epoll
 *     upload      read from the socket into the buffer, weir_stream_upload(), weir_buffer_release()
 *     reply       when the device has passed the copy: weir_event_query()
 *
 * There are fewer buffers than requests, so most wait for one; none blocks the loop. The client is a thread of this
 * program. It sends all at once, and checks that each request was answered with its own sum, taken of what the device got.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <weir/weir.h>

#define REQUESTS     64
#define BUFFERS      4
#define BYTES_MAX    4096
#define EVENTS_AT_ONCE 16

enum state { WAITING, UPLOADING, ANSWERED };

struct request {
    struct weir_request *acquire;
    struct weir_event   *copied;
    struct weir_buffer  *back;
    uint64_t             device;
    int                  socket;
    int                  ready; /* eventfd: the buffer is there */
    enum state           state;
    uint32_t             bytes;
};

static struct weir_runtime *rt;
static struct weir_pool    *staging, *results;
static struct weir_stream  *stream;
static struct request       request[REQUESTS];
static int                  client[REQUESTS];

static int check(int answer)
{
    char text[512];
    if (answer >= 0) return answer;
    (void)weir_error_text(text, sizeof text);
    fprintf(stderr, "epoll: %s\n", text);
    exit(1);
}

static void check_system(int answer, const char *call)
{
    if (answer >= 0) return;
    perror(call);
    exit(1);
}

/* ---- the client ---- */

static uint32_t sum_of(const unsigned char *bytes, size_t count)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < count; i++) sum = sum * 31 + bytes[i];
    return sum;
}

static void *run_client(void *arg)
{
    static uint32_t sums[REQUESTS];
    unsigned char   bytes[sizeof(uint32_t) + BYTES_MAX];
    (void)arg;
    for (int i = 0; i < REQUESTS; i++) {
        uint32_t count = (uint32_t)(i * 61 % (BYTES_MAX - 1) + 1);
        memcpy(bytes, &count, sizeof count);
        for (uint32_t b = 0; b < count; b++) bytes[sizeof count + b] = (unsigned char)(b * (uint32_t)i + 5);
        sums[i] = sum_of(bytes + sizeof count, count);
        if (write(client[i], bytes, sizeof count + count) != (ssize_t)(sizeof count + count)) return "a request was not sent";
    }
    for (int i = 0; i < REQUESTS; i++) {
        uint32_t answer;
        if (read(client[i], &answer, sizeof answer) != sizeof answer) return "no answer";
        if (answer != sums[i]) return "a wrong answer";
    }
    return NULL;
}

/* ---- the server ---- */

static void watch(int epoll, int fd, struct request *of)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = of};
    check_system(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

/* A request has arrived: ask for a buffer. Its socket is not watched any more. */
static void arrive(int epoll, struct request *of)
{
    check_system(epoll_ctl(epoll, EPOLL_CTL_DEL, of->socket, NULL), "epoll_ctl");
    of->ready = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    check_system(of->ready, "eventfd");
    check(weir_buffer_acquire_eventfd(staging, NULL, WEIR_FOREVER, of->ready, &of->acquire));
    of->state = WAITING;
    watch(epoll, of->ready, of);
}

/* The buffer is there: fill it, send it to the device and give it back at once. */
static void upload(int epoll, struct request *of)
{
    struct weir_buffer *buffer;
    int                 answer = weir_request_take(of->acquire, &buffer);
    if (answer == WEIR_EAGAIN) return;
    check(answer);
    check_system(epoll_ctl(epoll, EPOLL_CTL_DEL, of->ready, NULL), "epoll_ctl");
    (void)close(of->ready);
    check_system((int)read(of->socket, &of->bytes, sizeof of->bytes), "read");
    check_system((int)read(of->socket, buffer->host, of->bytes), "read");
    check(weir_stream_upload(stream, of->device, weir_slice(buffer, 0, of->bytes)));
    check(weir_buffer_release(buffer)); /* reused when the device has read it */
    check(weir_buffer_acquire(results, WEIR_FOREVER, &of->back));
    check(weir_stream_download(stream, weir_slice(of->back, 0, of->bytes), of->device));
    check(weir_event_acquire(rt, 0, WEIR_FOREVER, &of->copied));
    check(weir_event_record(of->copied, stream));
    of->state = UPLOADING;
}

static unsigned answer_done(void)
{
    unsigned done = 0;
    for (int i = 0; i < REQUESTS; i++) {
        struct request *of = &request[i];
        if (of->state != UPLOADING) continue;
        int answer = weir_event_query(of->copied);
        if (answer == WEIR_EAGAIN) continue;
        check(answer);
        uint32_t sum = sum_of(of->back->host, of->bytes);
        check_system((int)write(of->socket, &sum, sizeof sum), "write");
        check(weir_event_release(of->copied));
        check(weir_buffer_release(of->back));
        of->state = ANSWERED;
        done++;
    }
    return done;
}

static void serve(int epoll)
{
    struct epoll_event event[EVENTS_AT_ONCE];
    for (unsigned done = 0, in_flight = 0; done < REQUESTS;) {
        /* While the device works look at it from time to time; else sleep until something comes. */
        int count = epoll_wait(epoll, event, EVENTS_AT_ONCE, in_flight > 0 ? 1 : -1);
        if (count < 0 && errno == EINTR) continue;
        check_system(count, "epoll_wait");
        for (int i = 0; i < count; i++) {
            struct request *of = event[i].data.ptr;
            if (!of->acquire) {
                arrive(epoll, of);
            } else if (of->state == WAITING) {
                upload(epoll, of);
                in_flight += of->state == UPLOADING;
            }
        }
        unsigned answered = answer_done();
        done += answered;
        in_flight -= answered;
    }
}

int main(void)
{
    pthread_t thread;
    void     *failure;
    int       epoll = epoll_create1(EPOLL_CLOEXEC);
    check_system(epoll, "epoll_create1");
    check(weir_runtime_create(NULL, &rt));
    check(weir_pool_create(rt, WEIR_OPTS(pool, .name = "staging", .buffer_bytes = BYTES_MAX, .buffers_min = BUFFERS), &staging));
    check(weir_pool_create(rt, WEIR_OPTS(pool, .name = "results", .buffer_bytes = BYTES_MAX, .buffers_min = REQUESTS), &results));
    check(weir_stream_acquire(rt, WEIR_STREAM_COMM, WEIR_FOREVER, &stream));
    for (int i = 0; i < REQUESTS; i++) {
        int pair[2];
        check_system(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), "socketpair");
        client[i] = pair[0];
        request[i].socket = pair[1];
        check(weir_device_alloc(rt, BYTES_MAX, &request[i].device));
        watch(epoll, pair[1], &request[i]);
    }
    check_system(-pthread_create(&thread, NULL, run_client, NULL), "pthread_create");
    serve(epoll);
    pthread_join(thread, &failure);
    printf("%d requests through %d buffers: %s\n", REQUESTS, BUFFERS, failure ? (char *)failure : "each got its own answer");
    for (int i = 0; i < REQUESTS; i++) {
        (void)close(client[i]);
        (void)close(request[i].socket);
        check(weir_device_free(rt, request[i].device));
    }
    check(weir_stream_release(stream));
    weir_pool_destroy(staging);
    weir_pool_destroy(results);
    weir_runtime_destroy(rt);
    (void)close(epoll);
    return failure ? 1 : 0;
}
