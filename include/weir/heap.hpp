/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir/heap.hpp - the pinned heap for C++17: a handle, and a std::pmr::memory_resource on it; needs libweir_heap
 *
 *     weir::heap          heap(rt);
 *     weir::heap_resource resource(heap);
 *     std::pmr::vector<float> staging(&resource);       pinned; the device can read it
 *
 * The resource frees at once what the heap knows no device work of. Where a container's memory was given to a kernel,
 * call heap.guard(vector.data(), stream) behind the launch: then the container may end, or grow, at any time.
 */
#ifndef WEIR_HEAP_HPP
#define WEIR_HEAP_HPP

#include <memory_resource>
#include <new>
#include <weir/heap.h>
#include <weir/weir.hpp>

namespace weir {

class heap : public owner<weir_heap, weir_heap_destroy> {
public:
    using owner::owner;
    explicit heap(const runtime &rt) : owner(make(rt, nullptr)) {}
    heap(const runtime &rt, const weir_heap_opts &opts) : owner(make(rt, &opts)) {}

    /* Throws weir::error, which names the limit and its setting. */
    [[nodiscard]] void *allocate(std::size_t bytes, std::size_t alignment = alignof(std::max_align_t)) const
    {
        void *ptr = alignment <= alignof(std::max_align_t) ? weir_heap_malloc(get(), bytes)
                                                          : weir_heap_aligned_alloc(get(), alignment, bytes);
        if (!ptr) {
            weir_error last;
            weir_opts_init(&last, sizeof last);
            (void)weir_last_error(&last);
            throw error(last.code);
        }
        return ptr;
    }
    void free(void *ptr) const { check(weir_heap_free(get(), ptr)); }
    void free_on(void *ptr, const stream &on) const { check(weir_heap_free_on(get(), ptr, on.get())); }
    void guard(void *ptr, const stream &on) const { check(weir_heap_guard(get(), ptr, on.get())); }
    void sync(void *ptr, std::uint64_t deadline_ns = WEIR_FOREVER) const { check(weir_heap_sync(get(), ptr, deadline_ns)); }
    void upload(const stream &on, std::uint64_t device_dst, weir_heap_part src) const
    {
        check(weir_heap_upload(get(), on.get(), device_dst, src));
    }
    void download(const stream &on, weir_heap_part dst, std::uint64_t device_src) const
    {
        check(weir_heap_download(get(), on.get(), dst, device_src));
    }
    std::uint64_t device(const void *ptr) const
    {
        std::uint64_t out = 0;
        check(weir_heap_device(get(), ptr, &out));
        return out;
    }
    weir_heap_stats stats() const { return read<weir_heap_stats>(weir_heap_stats_read, get()); }

private:
    static weir_heap *make(const runtime &rt, const weir_heap_opts *opts)
    {
        weir_heap *out = nullptr;
        check(weir_heap_create(rt.get(), opts, &out));
        return out;
    }
};

/* Does not own the heap. allocate() throws std::bad_alloc, as containers expect; weir_error_text() tells the cause. */
class heap_resource : public std::pmr::memory_resource {
public:
    explicit heap_resource(const heap &of) noexcept : heap_(of.get()) {}

private:
    void *do_allocate(std::size_t bytes, std::size_t alignment) override
    {
        void *ptr = alignment <= alignof(std::max_align_t) ? weir_heap_malloc(heap_, bytes)
                                                          : weir_heap_aligned_alloc(heap_, alignment, bytes);
        if (!ptr) throw std::bad_alloc();
        return ptr;
    }
    void do_deallocate(void *ptr, std::size_t, std::size_t) override { (void)weir_heap_free(heap_, ptr); }
    bool do_is_equal(const std::pmr::memory_resource &other) const noexcept override
    {
        const auto *same = dynamic_cast<const heap_resource *>(&other);
        return same && same->heap_ == heap_;
    }

    weir_heap *heap_;
};

} /* namespace weir */

#endif
