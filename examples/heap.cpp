/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heap.cpp - messages of any size in pinned memory: containers of the standard library on libweir_heap
 *
 * The vector's memory is read by the device after the vector has ended; the guard makes its memory wait.
 */
#include <cstdio>
#include <cstring>
#include <list>
#include <string>
#include <vector>
#include <weir/heap.hpp>

static void require(bool holds, const char *what)
{
    if (holds) return;
    std::fprintf(stderr, "heap: not so: %s\n", what);
    std::exit(1);
}

int main()
{
    weir::runtime       rt;
    weir::heap          heap(rt, weir::options<weir_heap_opts>([](auto &o) { o.bytes_max = 16 << 20; }));
    weir::heap_resource resource(heap), same(heap);
    require(resource == same, "two resources of one heap are equal");
    require(!(resource == *std::pmr::get_default_resource()), "and unequal to others");

    {
        std::pmr::list<std::pmr::string> lines(&resource);
        for (int i = 0; i < 1000; i++) lines.emplace_back("a prompt of some length, number " + std::to_string(i));
        require(lines.back().find("999") != std::string::npos, "strings are there");
        require(heap.stats().bytes_used > 60000, "and in pinned memory");
    }
    require(heap.stats().bytes_used == 0, "all of it is free again");

    weir::stream        stream(rt, WEIR_STREAM_COMM);
    weir::device_memory device(rt, 4000);
    {
        std::pmr::vector<std::uint32_t> tokens(1000, 42, &resource);
        heap.upload(stream, device.address(), {tokens.data(), 0, 4000});
    }
    auto *back = static_cast<std::uint32_t *>(heap.allocate(4000, 4096));
    heap.download(stream, {back, 0, 4000}, device.address());
    heap.sync(back);
    require(back[0] == 42 && back[999] == 42, "the device read the vector's bytes");
    heap.free(back);

    try {
        std::pmr::vector<char> huge(64 << 20, &resource);
        require(false, "more than bytes_max is refused");
    } catch (const std::bad_alloc &) {
        char text[512];
        (void)weir_error_text(text, sizeof text);
        std::printf("%s\n", text);
    }
    weir_heap_stats stats = heap.stats();
    std::printf("%llu bytes pinned at most, %llu frees waited for the device\n",
                static_cast<unsigned long long>(stats.bytes_pinned_peak), static_cast<unsigned long long>(stats.retires));
    return 0;
}
