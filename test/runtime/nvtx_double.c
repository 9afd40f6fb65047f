/* SPDX-License-Identifier: Apache-2.0 */
/* nvtx_double.c - in place of libnvToolsExt: counts ranges, and keeps what they and the threads are called */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define TEXT_BYTES 65536

int  nvtxRangePushA(const char *message);
int  nvtxRangePop(void);
void nvtxNameOsThreadA(uint32_t thread, const char *name);
void nvtxNameCuStreamA(void *stream, const char *name);
void nvtx_double_read(int *pushes, int *pops, char *text, size_t capacity);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int             pushed, popped;
static char            said[TEXT_BYTES];

static void say(const char *kind, const char *text)
{
    pthread_mutex_lock(&lock);
    size_t length = strlen(said);
    snprintf(said + length, sizeof said - length, "%s %s\n", kind, text);
    pthread_mutex_unlock(&lock);
}

int nvtxRangePushA(const char *message)
{
    say("range", message);
    pthread_mutex_lock(&lock);
    int depth = pushed++;
    pthread_mutex_unlock(&lock);
    return depth;
}

int nvtxRangePop(void)
{
    pthread_mutex_lock(&lock);
    int depth = popped++;
    pthread_mutex_unlock(&lock);
    return depth;
}

void nvtxNameOsThreadA(uint32_t thread, const char *name)
{
    (void)thread;
    say("thread", name);
}

void nvtxNameCuStreamA(void *stream, const char *name)
{
    (void)stream;
    say("stream", name);
}

void nvtx_double_read(int *pushes, int *pops, char *text, size_t capacity)
{
    pthread_mutex_lock(&lock);
    *pushes = pushed;
    *pops = popped;
    snprintf(text, capacity, "%s", said);
    pthread_mutex_unlock(&lock);
}
