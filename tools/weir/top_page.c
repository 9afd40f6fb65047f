/* SPDX-License-Identifier: Apache-2.0 */
/* top_page.c - see top_page.h */
#include "top_page.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "top_schema.h"

#define SCHEMA_BYTES_MAX ((uint64_t)1 << 20)
#define SLOT_BYTES_MAX   ((uint64_t)64 << 20)
#define TRIES            100

static bool read_at(int fd, void *to, size_t bytes, uint64_t offset)
{
    return pread(fd, to, bytes, (off_t)offset) == (ssize_t)bytes;
}

static bool within(uint64_t offset, uint64_t bytes, uint64_t whole)
{
    return offset <= whole && bytes <= whole - offset;
}

/* NULL: the head makes sense. */
static const char *judge_head(const struct weir_page *head, uint64_t file_bytes)
{
    if (memcmp(head->magic, WEIR_PAGE_MAGIC, sizeof(head->magic)) != 0) return "it is not a page of weir";
    if (head->version != WEIR_PAGE_VERSION) return "its layout is of another release of weir";
    if (head->page_bytes != file_bytes) return "it has been cut short";
    if (head->schema_bytes == 0 || head->schema_bytes > SCHEMA_BYTES_MAX ||
        !within(head->schema_offset, head->schema_bytes, file_bytes))
        return "its schema lies outside";
    if (head->slot_bytes < sizeof(struct weir_page_slot) || head->slot_bytes > SLOT_BYTES_MAX ||
        !within(head->slot_offset[0], head->slot_bytes, file_bytes) ||
        !within(head->slot_offset[1], head->slot_bytes, file_bytes))
        return "its slots lie outside";
    return NULL;
}

static const char *understand(struct top_page *page)
{
    struct stat status;

    if (fstat(page->fd, &status) != 0 || !S_ISREG(status.st_mode)) return "it is not a file";
    if ((uint64_t)status.st_size < sizeof(page->head) || !read_at(page->fd, &page->head, sizeof(page->head), 0))
        return "it has been cut short";
    const char *problem = judge_head(&page->head, (uint64_t)status.st_size);
    if (problem) return problem;
    page->schema = malloc(page->head.schema_bytes);
    if (!page->schema || !read_at(page->fd, page->schema, page->head.schema_bytes, page->head.schema_offset))
        return "its schema cannot be read";
    page->schema[page->head.schema_bytes - 1] = '\0';
    return top_schema_parse(page) ? NULL : "its schema makes no sense";
}

int top_page_open(struct top_page *page, const char *path, char reason[TOP_REASON_BYTES])
{
    *page = (struct top_page){0};
    snprintf(page->path, sizeof(page->path), "%s", path);
    page->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (page->fd < 0) {
        snprintf(reason, TOP_REASON_BYTES, "%s", strerror(errno));
        return -1;
    }
    const char *problem = understand(page);
    if (problem) {
        snprintf(reason, TOP_REASON_BYTES, "%s", problem);
        top_page_close(page);
        return -1;
    }
    top_page_alive(page);
    return 0;
}

void top_page_close(struct top_page *page)
{
    if (page->fd >= 0) close(page->fd);
    free(page->schema);
    free(page->fields);
    *page = (struct top_page){.fd = -1};
}

/* The writer holds the lock. A reader must not: it would pass for the writer. */
bool top_page_alive(struct top_page *page)
{
    if (flock(page->fd, LOCK_SH | LOCK_NB) == 0) {
        flock(page->fd, LOCK_UN);
        page->dead = true;
    } else {
        page->dead = false;
    }
    return !page->dead;
}

/* The writer's fence has its pair here: what pread() copied before is not newer than `begun` read behind it. */
static bool read_slot(struct top_page *page, char *slot, uint64_t *number)
{
    uint64_t done, begun;

    if (!read_at(page->fd, &done, sizeof(done), offsetof(struct weir_page, done)) || done == 0) return false;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (!read_at(page->fd, slot, page->head.slot_bytes, page->head.slot_offset[done % 2])) return false;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (!read_at(page->fd, &begun, sizeof(begun), offsetof(struct weir_page, begun))) return false;
    *number = done;
    return begun < done + 2;
}

int top_page_read(struct top_page *page, struct top_sample *sample)
{
    if (!sample->slot) sample->slot = calloc(1, page->head.slot_bytes);
    if (!sample->slot) return -1;
    for (int tries = 0; tries < TRIES; tries++) {
        if (!read_slot(page, sample->slot, &sample->number)) continue;
        struct weir_page_slot head;
        memcpy(&head, sample->slot, sizeof(head));
        sample->written_ns = head.written_ns;
        return 0;
    }
    return -1;
}

void top_sample_free(struct top_sample *sample)
{
    free(sample->slot);
    *sample = (struct top_sample){0};
}

/* Only who holds the lock of a file may remove its name; see weir/page.h. */
static const char *remove_locked(int fd, const char *path)
{
    struct stat mine, named;

    if (flock(fd, LOCK_EX | LOCK_NB) != 0) return "its process is alive";
    if (fstat(fd, &mine) != 0 || lstat(path, &named) != 0) return strerror(errno);
    if (mine.st_dev != named.st_dev || mine.st_ino != named.st_ino) return "another page has its name now";
    return unlink(path) == 0 ? NULL : strerror(errno);
}

int top_page_remove(const char *path, char reason[TOP_REASON_BYTES])
{
    int         fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    const char *problem = fd < 0 ? strerror(errno) : remove_locked(fd, path);

    if (fd >= 0) close(fd);
    if (problem) snprintf(reason, TOP_REASON_BYTES, "%s", problem);
    return problem ? -1 : 0;
}

/* ---- names ---- */

bool top_page_parse(const char *path, uint64_t *pid, uint64_t *number)
{
    const char *name = strrchr(path, '/');
    char       *end;

    name = name ? name + 1 : path;
    if (strncmp(name, WEIR_PAGE_PREFIX, strlen(WEIR_PAGE_PREFIX)) != 0) return false;
    name += strlen(WEIR_PAGE_PREFIX);
    if (*name < '0' || *name > '9') return false;
    *pid = strtoull(name, &end, 10);
    if (*end != '.' || end[1] < '0' || end[1] > '9') return false;
    *number = strtoull(end + 1, &end, 10);
    return !*end;
}

static int compare_paths(const void *one, const void *other)
{
    uint64_t pid[2] = {0}, number[2] = {0};

    top_page_parse(*(char *const *)one, &pid[0], &number[0]);
    top_page_parse(*(char *const *)other, &pid[1], &number[1]);
    if (pid[0] != pid[1]) return pid[0] < pid[1] ? -1 : 1;
    return number[0] < number[1] ? -1 : number[0] > number[1];
}

size_t top_page_list(char ***paths)
{
    DIR           *folder = opendir(WEIR_PAGE_FOLDER);
    struct dirent *entry;
    char         **list = NULL;
    size_t         count = 0;

    while (folder && (entry = readdir(folder)) != NULL) {
        char     path[TOP_PATH_BYTES];
        uint64_t pid, number;
        if (!top_page_parse(entry->d_name, &pid, &number)) continue;
        snprintf(path, sizeof(path), WEIR_PAGE_FOLDER "/%s", entry->d_name);
        char **longer = realloc(list, (count + 1) * sizeof(*list));
        if (!longer) break;
        list = longer;
        list[count] = strdup(path);
        if (!list[count]) break;
        count++;
    }
    if (folder) closedir(folder);
    if (count > 1) qsort(list, count, sizeof(*list), compare_paths);
    *paths = list;
    return count;
}
