/* SPDX-License-Identifier: Apache-2.0 */
/* test_cuda_pci.c - the kernel's files about a PCI device */
#include "device/cuda_device.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[] = "/tmp/weir-test-pci-XXXXXX";

static void put(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/0000:3b:00.0/%s", root, name);
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file);
    fputs(text, file);
    cr_assert_eq(fclose(file), 0);
}

static void make_device(void)
{
    char path[256];
    cr_assert_not_null(mkdtemp(root));
    snprintf(path, sizeof(path), "%s/0000:3b:00.0", root);
    cr_assert_eq(mkdir(path, 0700), 0);
}

static void remove_device(void)
{
    char command[512];
    snprintf(command, sizeof(command), "rm -r %s", root);
    cr_assert_eq(system(command), 0);
}

TestSuite(pci, .init = make_device, .fini = remove_device);

Test(pci, reads_the_link_and_the_node)
{
    put("current_link_speed", "16.0 GT/s PCIe\n");
    put("current_link_width", "8\n");
    put("max_link_speed", "32.0 GT/s PCIe\n");
    put("max_link_width", "16\n");
    put("numa_node", "1\n");
    /* The driver writes hexadecimal digits in capitals. */
    struct wi_cuda_link link = wi_cuda_link_read(root, "0000:3B:00.0");
    cr_expect_str_eq(link.speed, "16.0 GT/s PCIe");
    cr_expect_str_eq(link.speed_max, "32.0 GT/s PCIe");
    cr_expect_eq(link.width, 8);
    cr_expect_eq(link.width_max, 16);
    cr_expect_eq(wi_cuda_numa_node(root, "0000:3B:00.0"), 1);
}

Test(pci, what_cannot_be_read_is_empty)
{
    put("current_link_width", "wide\n");
    put("max_link_speed", "");
    put("numa_node", "-1\n");
    struct wi_cuda_link link = wi_cuda_link_read(root, "0000:3B:00.0");
    cr_expect_str_empty(link.speed);
    cr_expect_str_empty(link.speed_max);
    cr_expect_eq(link.width + link.width_max, 0);
    cr_expect_eq(wi_cuda_numa_node(root, "0000:3B:00.0"), -1);
    cr_expect_str_empty(wi_cuda_link_read(root, "0000:99:00.0").speed);
    cr_expect_str_empty(wi_cuda_link_read(root, "").speed);
    cr_expect_eq(wi_cuda_numa_node(root, "a name that is longer than any name of a device"), -1);
}
