/* SPDX-License-Identifier: Apache-2.0 */
#include "info_driver.h"

#include <stdlib.h>
#include <weir/weir.h>

#include "format.h"

json_t *info_driver_json(void)
{
    int     length = weir_driver_format(NULL, 0);
    char   *text = malloc((size_t)length + 1);
    json_t *object = NULL;

    if (!text) return NULL;
    weir_driver_format(text, (size_t)length + 1);
    object = json_loads(text, 0, NULL);
    free(text);
    return object;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

/* Speed and width, now and at most. */
static void print_link(const json_t *device)
{
    json_int_t width = json_integer_value(json_object_get(device, "link_width"));
    json_int_t width_max = json_integer_value(json_object_get(device, "link_width_max"));

    if (width == 0 || !*text_of(device, "link_speed")) {
        printf("%-18s unknown (no files of the kernel for %s)\n", "PCIe link", text_of(device, "pci_bus_id"));
        return;
    }
    printf("%-18s %s x%lld", "PCIe link", text_of(device, "link_speed"), (long long)width);
    if (width_max > 0)
        printf(" now, %s x%lld at most", text_of(device, "link_speed_max"), (long long)width_max);
    putchar('\n');
}

static void print_device(const json_t *device)
{
    char           label[32], bytes[FORMAT_BYTES];
    const json_t  *size = json_object_get(device, "bytes");

    snprintf(label, sizeof(label), "device %lld",
             (long long)json_integer_value(json_object_get(device, "ordinal")));
    printf("  %-16s %s, %s, %s\n", label, text_of(device, "name"),
           json_is_integer(size) ? format_size((uint64_t)json_integer_value(size), bytes) : "?",
           *text_of(device, "pci_bus_id") ? text_of(device, "pci_bus_id") : "no PCI bus id");
}

void info_driver_print(const json_t *driver, int opened)
{
    const char *problem = text_of(driver, "problem");
    size_t      index;
    json_t     *row;

    if (*problem) {
        printf("%-18s not usable: %s\n", "CUDA driver", problem);
        return;
    }
    printf("%-18s CUDA %s, %s\n", "CUDA driver", text_of(driver, "version"), text_of(driver, "library"));
    json_array_foreach(json_object_get(driver, "devices"), index, row)
    {
        print_device(row);
        if (json_integer_value(json_object_get(row, "ordinal")) == opened) print_link(row);
    }
    json_array_foreach(json_object_get(driver, "features"), index, row)
        printf("  %-32s %s\n", text_of(row, "name"), text_of(row, "text"));
}
