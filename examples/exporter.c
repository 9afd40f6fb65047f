/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exporter.c - a program's weir statistics for Prometheus, served on the loopback interface
 *
 * usage: exporter [PORT [REQUESTS]]
 *
 * Serves http://127.0.0.1:PORT/metrics; PORT 0 (the default) takes a free one, and the address is printed. Ends after
 * REQUESTS requests; 0 (the default): never. A server of your own needs serve_metrics() only: statistics may be read by any
 * thread at any time, and cost neither a lock nor a driver call.
 */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <weir/weir.h>

#define REQUEST_BYTES 2048
#define HEADER_BYTES  160

static int fail(const char *what)
{
    char text[512];
    (void)weir_error_text(text, sizeof text);
    fprintf(stderr, "exporter: %s: %s\n", what, text);
    return 1;
}

static void send_all(int client, const char *text, size_t bytes)
{
    while (bytes > 0) {
        ssize_t sent = send(client, text, bytes, MSG_NOSIGNAL);
        if (sent <= 0) return; /* the client has left */
        text += sent;
        bytes -= (size_t)sent;
    }
}

/* The statistics as text, which the caller frees. Counts may grow while it is written, so there is room for more digits. */
static char *make_metrics(struct weir_runtime *rt, size_t *bytes)
{
    for (int64_t capacity = 1 << 16;;) {
        char *text = malloc((size_t)capacity);
        if (!text) return NULL;
        int64_t length = weir_stats_format(rt, WEIR_FORMAT_PROMETHEUS, text, (size_t)capacity);
        if (length >= 0 && length < capacity) {
            *bytes = (size_t)length;
            return text;
        }
        free(text);
        if (length < 0) return NULL;
        capacity = length + length / 8 + 1;
    }
}

static void serve_metrics(int client, struct weir_runtime *rt)
{
    static const char unavailable[] = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    char              header[HEADER_BYTES];
    size_t            bytes;
    char             *text = make_metrics(rt, &bytes);
    if (!text) {
        send_all(client, unavailable, sizeof unavailable - 1);
        return;
    }
    int length = snprintf(header, sizeof header,
                          "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
                          "Content-Length: %zu\r\nConnection: close\r\n\r\n",
                          bytes);
    send_all(client, header, (size_t)length);
    send_all(client, text, bytes);
    free(text);
}

static void serve(int client, struct weir_runtime *rt)
{
    static const char unknown[] = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    struct timeval    patience = {.tv_sec = 5};
    char              request[REQUEST_BYTES];
    size_t            length = 0;
    ssize_t           count;
    (void)setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience); /* a silent client must not stop the server */
    request[0] = '\0';
    while (length < sizeof request - 1 && !strstr(request, "\r\n\r\n") &&
           (count = recv(client, request + length, sizeof request - 1 - length, 0)) > 0) {
        length += (size_t)count;
        request[length] = '\0';
    }
    if (strncmp(request, "GET /metrics ", strlen("GET /metrics ")) == 0) {
        serve_metrics(client, rt);
    } else {
        send_all(client, unknown, sizeof unknown - 1);
    }
}

/* A socket that listens on the loopback interface; prints its address. */
static int listen_on(unsigned port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t          bytes = sizeof address;
    int                yes = 1, server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server < 0 || setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
        bind(server, (struct sockaddr *)&address, sizeof address) != 0 || listen(server, 16) != 0 ||
        getsockname(server, (struct sockaddr *)&address, &bytes) != 0) {
        perror("exporter");
        return -1;
    }
    printf("http://127.0.0.1:%u/metrics\n", ntohs(address.sin_port));
    fflush(stdout);
    return server;
}

/* Something to count. */
static int work(struct weir_pool *pool)
{
    struct weir_buffer *buffer;
    int                 err = weir_buffer_acquire(pool, WEIR_NOW, &buffer);
    return err < 0 ? err : weir_buffer_release(buffer);
}

int main(int count, char **words)
{
    unsigned long        port = count > 1 ? strtoul(words[1], NULL, 10) : 0;
    unsigned long        requests = count > 2 ? strtoul(words[2], NULL, 10) : 0;
    struct weir_runtime *rt;
    struct weir_pool    *pool;
    if (weir_runtime_create(NULL, &rt) < 0) return fail("cannot open a device");
    if (weir_pool_create(rt, WEIR_OPTS(pool, .name = "staging", .buffer_bytes = 65536, .buffers_min = 4), &pool) < 0)
        return fail("cannot make a pool");
    int server = listen_on((unsigned)port);
    if (server < 0) return 1;
    for (unsigned long served = 0; requests == 0 || served < requests; served++) {
        int client = accept(server, NULL, NULL);
        if (client < 0) continue;
        if (work(pool) < 0) return fail("cannot lease a buffer");
        serve(client, rt);
        close(client);
    }
    close(server);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    return 0;
}
