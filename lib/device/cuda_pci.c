/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_pci.c - what the kernel's files say about a PCI device: its NUMA node and its link */
#include "device/cuda_device.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* One line of a file of the device, without its end. */
static bool read_line(const char *root, const char *bus_id, const char *name, char *line, int bytes)
{
    char   lower[32];
    char   path[256];
    size_t length = strlen(bus_id);
    if (length == 0 || length >= sizeof(lower)) return false;
    /* The driver writes 0000:3B:00.0, the kernel 0000:3b:00.0. */
    for (size_t i = 0; i <= length; i++) lower[i] = (char)tolower((unsigned char)bus_id[i]);
    if (snprintf(path, sizeof(path), "%s/%s/%s", root, lower, name) >= (int)sizeof(path)) return false;

    FILE *file = fopen(path, "re");
    if (file == NULL) return false;
    bool found = fgets(line, bytes, file) != NULL;
    fclose(file);
    if (found) line[strcspn(line, "\n")] = '\0';
    return found;
}

static int read_number(const char *root, const char *bus_id, const char *name, int fallback)
{
    char line[32];
    int  number;
    if (!read_line(root, bus_id, name, line, (int)sizeof(line))) return fallback;
    return sscanf(line, "%d", &number) == 1 ? number : fallback;
}

int32_t wi_cuda_numa_node(const char *root, const char *bus_id)
{
    int node = read_number(root, bus_id, "numa_node", -1);
    return node >= 0 ? node : -1;
}

struct wi_cuda_link wi_cuda_link_read(const char *root, const char *bus_id)
{
    struct wi_cuda_link link = {0};
    int                 width = read_number(root, bus_id, "current_link_width", 0);
    int                 width_max = read_number(root, bus_id, "max_link_width", 0);
    if (!read_line(root, bus_id, "current_link_speed", link.speed, (int)sizeof(link.speed)))
        link.speed[0] = '\0';
    if (!read_line(root, bus_id, "max_link_speed", link.speed_max, (int)sizeof(link.speed_max)))
        link.speed_max[0] = '\0';
    link.width = width > 0 ? (uint32_t)width : 0;
    link.width_max = width_max > 0 ? (uint32_t)width_max : 0;
    return link;
}
