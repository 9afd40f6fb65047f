/* SPDX-License-Identifier: Apache-2.0 */
/* top_screen.c - see top_screen.h */
#include "top_screen.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define ROWS_DEFAULT 24

static struct termios        before;
static volatile sig_atomic_t ended;

static void on_end(int number)
{
    (void)number;
    ended = 1;
}

bool top_screen_begin(void)
{
    struct sigaction end = {.sa_handler = on_end}; /* no SA_RESTART: poll() is to return */
    struct termios   raw;

    if (!isatty(STDOUT_FILENO) || tcgetattr(STDIN_FILENO, &before) != 0) return false;
    sigaction(SIGINT, &end, NULL);
    sigaction(SIGTERM, &end, NULL);
    raw = before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    /* The other screen, no cursor, and lines that are too long are cut. */
    fputs("\033[?1049h\033[?25l\033[?7l\033[2J", stdout);
    fflush(stdout);
    return true;
}

void top_screen_end(void)
{
    fputs("\033[?7h\033[?25h\033[?1049l", stdout);
    fflush(stdout);
    tcsetattr(STDIN_FILENO, TCSANOW, &before);
}

void top_screen_draw(const char *frame, size_t bytes)
{
    struct winsize size = {0};
    const char    *end = frame + bytes;
    unsigned       rows = ROWS_DEFAULT;

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 1) rows = size.ws_row;
    fputs("\033[H", stdout);
    for (unsigned row = 1; frame < end && row < rows; row++) {
        const char *line_end = memchr(frame, '\n', (size_t)(end - frame));
        if (!line_end) line_end = end;
        fwrite(frame, 1, (size_t)(line_end - frame), stdout);
        fputs("\033[K\r\n", stdout);
        frame = line_end + 1;
    }
    fputs("\033[J\033[2mq: leave\033[0m\033[K", stdout);
    fflush(stdout);
}

bool top_screen_wait(uint64_t ns)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    char          key = 0;

    if (ended) return false;
    int ready = poll(&input, 1, (int)(ns / 1000000));
    if (ready < 0) return errno == EINTR && !ended;
    if (ready == 0) return true;
    return read(STDIN_FILENO, &key, 1) == 1 && key != 'q' && key != 'Q';
}
