/* SPDX-License-Identifier: Apache-2.0 */
/* Who may not come in does not: wrong secrets, garbage, silence; and what a listener without a secret may listen on. */
#include "ucx/fixture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

static struct side one, other;

static int raw_connection(uint16_t port)
{
    int                fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* Reads until the other side closes. */
static void drain_until_closed(int fd)
{
    char    bytes[512];
    ssize_t count;
    do {
        count = recv(fd, bytes, sizeof bytes, 0);
    } while (count > 0);
    (void)close(fd);
}

static int warnings;

static void count_warnings(void *ctx, uint32_t level, const char *component, const char *message)
{
    (void)ctx;
    (void)message;
    warnings += level == WEIR_LOG_WARN && !strcmp(component, "ucx");
}

Test(ucx_refuse, a_wrong_secret_is_counted_and_logged_once)
{
    uint16_t port = 0;
    weir_log_set(count_warnings, NULL);
    open_side(&one, WEIR_OPTS(ucx, .secret = SECRET), WEIR_UCX_PUT);
    open_side(&other, WEIR_OPTS(ucx, .secret = "another secret"), 0);
    ok(weir_ucx_listen(one.ucx, "127.0.0.1", 0, &port));
    for (int i = 0; i < 3; i++)
        answers(weir_ucx_connect(other.ucx, "127.0.0.1", port, SOON_NS, &other.peer), PEER);
    cr_assert_eq(ucx_stats(one.ucx).refused_secret, 3);
    cr_assert_eq(ucx_stats(one.ucx).peers, 0);
    answers(weir_ucx_accept(one.ucx, WEIR_NOW, &one.peer), TIMEDOUT);
    weir_ucx_destroy(other.ucx);
    cr_assert_eq(warnings, 1);
    /* Who knows it comes in all the same. */
    ok(weir_ucx_create(other.rt, WEIR_OPTS(ucx, .secret = SECRET), &other.ucx));
    ok(weir_ucx_connect(other.ucx, "127.0.0.1", port, SOON_NS, &other.peer));
    ok(weir_ucx_accept(one.ucx, SOON_NS, &one.peer));
    close_side(&other);
    close_side(&one);
    weir_log_set(NULL, NULL);
}

/* ---- somebody between the two ---- */

struct between {
    int      listening;
    uint16_t port;
    size_t   altered; /* of the proof, counted from the end of the connector's frame */
};

static void receive_all(int fd, unsigned char *into, size_t bytes)
{
    cr_assert_eq(recv(fd, into, bytes, MSG_WAITALL), (ssize_t)bytes);
}

/* One frame, whose length stands in its third word. */
static void pass_on(int from, int to, const size_t *altered)
{
    unsigned char frame[8192];
    uint32_t      bytes;
    receive_all(from, frame, 16);
    memcpy(&bytes, frame + 8, sizeof bytes);
    cr_assert(bytes >= 16 && bytes <= sizeof frame);
    receive_all(from, frame + 16, bytes - 16);
    if (altered) frame[bytes - 1 - *altered] ^= 1;
    cr_assert_eq(send(to, frame, bytes, MSG_NOSIGNAL), (ssize_t)bytes);
}

static void *stand_between(void *arg)
{
    const struct between *between = arg;
    int                   connector = accept(between->listening, NULL, NULL);
    int                   listener = raw_connection(between->port);
    cr_assert_geq(connector, 0);
    pass_on(listener, connector, NULL);
    pass_on(connector, listener, &between->altered);
    drain_until_closed(listener); /* and so is its answer, if it gave one */
    (void)close(connector);
    return NULL;
}

/* Each byte of a proof counts, and each byte that it is about: the last and the first of its 32, and the last of the address before it. */
Test(ucx_refuse, one_bit_is_altered_on_the_way)
{
    static const size_t altered[] = {0, 16, 31, 32};
    struct sockaddr_in  address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t           bytes = sizeof address;
    pthread_t           thread;
    struct between      between = {.listening = socket(AF_INET, SOCK_STREAM, 0)};
    cr_assert_eq(bind(between.listening, (struct sockaddr *)&address, sizeof address), 0);
    cr_assert_eq(listen(between.listening, 1), 0);
    cr_assert_eq(getsockname(between.listening, (struct sockaddr *)&address, &bytes), 0);
    open_side(&one, WEIR_OPTS(ucx, .secret = SECRET), WEIR_UCX_PUT);
    open_side(&other, WEIR_OPTS(ucx, .secret = SECRET), 0);
    ok(weir_ucx_listen(one.ucx, "127.0.0.1", 0, &between.port));
    for (size_t i = 0; i < sizeof altered / sizeof *altered; i++) {
        between.altered = altered[i];
        cr_assert_eq(pthread_create(&thread, NULL, stand_between, &between), 0);
        answers(weir_ucx_connect(other.ucx, "127.0.0.1", ntohs(address.sin_port), SOON_NS, &other.peer), PEER);
        pthread_join(thread, NULL);
        cr_assert_eq(ucx_stats(one.ucx).refused_secret, i + 1, "with byte %zu from the end altered", altered[i]);
    }
    (void)close(between.listening);
    close_side(&other);
    close_side(&one);
}

Test(ucx_refuse, garbage_is_counted_and_closed)
{
    static const char http[] = "GET / HTTP/1.1\r\nHost: here\r\n\r\n";
    uint16_t          port = 0;
    char              zeros[64] = {0};
    weir_log_set(count_warnings, NULL);
    open_side(&one, WEIR_OPTS(ucx, .secret = SECRET), WEIR_UCX_PUT);
    ok(weir_ucx_listen(one.ucx, "127.0.0.1", 0, &port));
    int fd = raw_connection(port);
    cr_assert_eq(send(fd, http, sizeof http - 1, MSG_NOSIGNAL), (ssize_t)sizeof http - 1);
    drain_until_closed(fd);
    fd = raw_connection(port);
    cr_assert_eq(send(fd, zeros, sizeof zeros, MSG_NOSIGNAL), (ssize_t)sizeof zeros);
    drain_until_closed(fd);
    /* A frame that is well-formed and means nothing: an AUTH without its parts. */
    const uint32_t frame[] = {0x31585577u, 2, 16, 0};
    fd = raw_connection(port);
    cr_assert_eq(send(fd, frame, sizeof frame, MSG_NOSIGNAL), (ssize_t)sizeof frame);
    drain_until_closed(fd);
    (void)close(raw_connection(port)); /* says nothing, and goes */
    eventually(ucx_stats(one.ucx).refused_garbage == 4);
    cr_assert_eq(ucx_stats(one.ucx).refused_secret, 0);
    weir_ucx_destroy(one.ucx);
    cr_assert_eq(warnings, 1);
    weir_pool_destroy(one.pool);
    weir_runtime_destroy(one.rt);
    weir_log_set(NULL, NULL);
}

/* A listener that says hello and no more. */
Test(ucx_refuse, a_silent_listener_is_left_at_the_deadline)
{
    struct weir_ucx_peer *peer;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t          bytes = sizeof address;
    int                silent = socket(AF_INET, SOCK_STREAM, 0);
    open_side(&other, WEIR_OPTS(ucx, .secret = SECRET), 0);
    cr_assert_eq(bind(silent, (struct sockaddr *)&address, sizeof address), 0);
    cr_assert_eq(listen(silent, 1), 0);
    cr_assert_eq(getsockname(silent, (struct sockaddr *)&address, &bytes), 0);
    answers(weir_ucx_connect(other.ucx, "127.0.0.1", ntohs(address.sin_port),
                             weir_deadline_after_ns(100000000), &peer),
            TIMEDOUT);
    (void)close(silent);
    answers(weir_ucx_connect(other.ucx, "127.0.0.1", ntohs(address.sin_port), SOON_NS, &peer),
            PEER);
    close_side(&other);
}

static int listening;

/* Says hello to each, and hangs; until nobody listens any more. */
static void *say_hello(void *unused)
{
    const uint32_t hello[17] = {0x31585577u, 1, sizeof hello, 0, 2};
    int            fd[64], next, count = 0;
    while ((next = accept(listening, NULL, NULL)) >= 0) {
        (void)send(next, hello, sizeof hello, MSG_NOSIGNAL);
        if (count == 64) (void)close(next);
        else fd[count++] = next;
    }
    while (count-- > 0) drain_until_closed(fd[count]);
    return unused;
}

/* Such a listener knows an address of ours, and can do nothing with it: each connect gives its place back. */
Test(ucx_refuse, a_listener_that_hangs_behind_its_hello_takes_no_place)
{
    struct weir_ucx_peer *peer;
    pthread_t             thread;
    struct sockaddr_in    address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t             bytes = sizeof address;
    listening = socket(AF_INET, SOCK_STREAM, 0);
    open_side(&other, WEIR_OPTS(ucx, .secret = SECRET, .peers_max = 2), 0);
    cr_assert_eq(bind(listening, (struct sockaddr *)&address, sizeof address), 0);
    cr_assert_eq(listen(listening, 64), 0);
    cr_assert_eq(getsockname(listening, (struct sockaddr *)&address, &bytes), 0);
    cr_assert_eq(pthread_create(&thread, NULL, say_hello, NULL), 0);
    for (int i = 0; i < 3; i++) {
        uint16_t port = ntohs(address.sin_port);
        int      err;
        eventually((err = weir_ucx_connect(other.ucx, "127.0.0.1", port, weir_deadline_after_ns(100000000), &peer)) !=
                   WEIR_EEXCEEDS); /* the one before may still be ending */
        answers(err, TIMEDOUT);
    }
    cr_assert_eq(shutdown(listening, SHUT_RDWR), 0);
    pthread_join(thread, NULL); /* each was closed */
    (void)close(listening);
    close_side(&other);
}

Test(ucx_refuse, without_a_secret_only_loopback_is_listened_on)
{
    uint16_t port = 0;
    open_side(&one, NULL, 0);
    open_side(&other, NULL, 0);
    answers(weir_ucx_listen(one.ucx, "0.0.0.0", 0, &port), INVAL);
    answers(weir_ucx_listen(one.ucx, NULL, 0, &port), INVAL);
    answers(weir_ucx_accept(one.ucx, WEIR_NOW, &one.peer), INVAL);
    ok(weir_ucx_listen(one.ucx, "127.0.0.1", 0, &port));
    answers(weir_ucx_listen(one.ucx, "127.0.0.1", 0, NULL), BUSY);
    ok(weir_ucx_connect(other.ucx, "127.0.0.1", port, SOON_NS, &other.peer));
    ok(weir_ucx_accept(one.ucx, SOON_NS, &one.peer));
    close_side(&other);
    close_side(&one);
}

Test(ucx_refuse, more_peers_than_allowed)
{
    uint16_t              port = 0;
    struct weir_ucx_peer *second;
    open_side(&one, WEIR_OPTS(ucx, .secret = SECRET, .peers_max = 1), 0);
    open_side(&other, WEIR_OPTS(ucx, .secret = SECRET), 0);
    ok(weir_ucx_listen(one.ucx, "127.0.0.1", 0, &port));
    ok(weir_ucx_connect(other.ucx, "127.0.0.1", port, SOON_NS, &other.peer));
    ok(weir_ucx_accept(one.ucx, SOON_NS, &one.peer));
    answers(weir_ucx_connect(other.ucx, "127.0.0.1", port, SOON_NS, &second), PEER);
    answers(weir_ucx_connect(one.ucx, "127.0.0.1", port, SOON_NS, &second), EXCEEDS);
    close_side(&other);
    close_side(&one);
}

Test(ucx_refuse, a_reference_of_another_run)
{
    struct weir_ucx_ref       ref;
    struct weir_ucx_transfer *transfer;
    open_both(&one, &other);
    struct weir_buffer *target = lease(&one, 0), *source = lease(&other, 1);
    ok(weir_ucx_expose(one.peer, weir_slice_all(target), &ref));
    ok(weir_buffer_release(target));
    weir_ucx_disconnect(one.peer);
    weir_ucx_destroy(one.ucx);
    eventually(weir_ucx_peer_alive(other.peer) == WEIR_EPEER);
    answers(weir_ucx_put(other.peer, weir_slice_all(source), &ref, NULL, &transfer), PEER);
    weir_ucx_disconnect(other.peer);

    ok(weir_ucx_create(one.rt, WEIR_OPTS(ucx, .secret = SECRET),
                       &one.ucx)); /* the same memory, another run */
    ok(weir_ucx_offer(one.ucx, one.pool, WEIR_UCX_PUT));
    meet(&one, &other);
    answers(weir_ucx_put(other.peer, weir_slice_all(source), &ref, NULL, &transfer), FOREIGN);
    cr_assert_eq(ucx_stats(other.ucx).refused_keys, 1);
    ok(weir_buffer_release(source));
    close_side(&other);
    close_side(&one);
}

Test(ucx_refuse, a_peer_that_leaves_ends_what_it_had)
{
    struct weir_ucx_transfer *transfer;
    struct weir_ucx_ref       ref;
    open_both(&one, &other);
    struct weir_buffer *target = lease(&one, 0), *waiting = lease(&one, 0);
    ok(weir_ucx_expose(one.peer, weir_slice_all(target), &ref));
    ok(weir_ucx_receive(one.peer, 1, weir_slice_all(waiting), NULL, &transfer));
    ok(weir_buffer_release(target));
    ok(weir_buffer_release(waiting));
    cr_assert_eq(pool_stats(one.pool).retiring, 2);
    weir_ucx_disconnect(other.peer);
    other.peer = NULL;
    answers(weir_ucx_wait(transfer, SOON_NS, NULL), PEER);
    struct weir_error error = {.struct_size = sizeof error};
    ok(weir_last_error(&error));
    cr_assert_lt(error.driver_code, 0, "UCX's status");
    eventually(pool_stats(one.pool).retiring == 0);
    eventually(ucx_stats(one.ucx).quarantined == 0);
    assert_law(one.pool);
    close_side(&other);
    close_side(&one);
}
