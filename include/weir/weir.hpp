/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir/weir.hpp - weir for C++17: handles that own what they hold, and errors as exceptions
 *
 * Each class owns one thing, can be moved and not copied, and lets go in its destructor, which never throws. Moved from, it
 * is empty. A handle is a pointer wide and adds nothing at run time: get() is the C handle, and every call of the C
 * headers takes it. take() gives the handle away.
 *
 * A call that can fail throws weir::error, whose what() is weir_error_text(); code() and remedy() say what to do. Who
 * would rather not have exceptions for what is expected calls the try_ form, which answers an empty handle on AGAIN,
 * TIMEDOUT and PRESSURE and throws only for the rest.
 *
 *     weir::runtime rt;
 *     weir::pool    pool(rt, weir::options<weir_pool_opts>([](auto &o) { o.buffer_bytes = 1 << 20; }));
 *     weir::stream  stream(rt, WEIR_STREAM_COMM);
 *     weir::buffer  buffer = pool.acquire();
 *     std::memcpy(buffer.host(), data, bytes);
 *     stream.upload(device, buffer.slice(0, bytes));
 *
 * At the end of its scope the buffer goes home; its memory is reused when the copy is done.
 *
 * Threads and ownership are those of the C headers: a handle is used by one thread at a time. weir::heap_resource is in
 * weir/heap.hpp, because it needs libweir_heap.
 */
#ifndef WEIR_WEIR_HPP
#define WEIR_WEIR_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <utility>
#include <weir/weir.h>

namespace weir {

/* A failed call. The text is copied, so it outlives the thread's next failure. */
class error : public std::exception {
public:
    explicit error(int code) : code_(code)
    {
        char text[512];
        text_ = weir_error_text(text, sizeof text) > 0 ? text : weir_strerror(code);
    }
    const char *what() const noexcept override { return text_.c_str(); }
    int         code() const noexcept { return code_; }
    weir_remedy remedy() const noexcept { return weir_remedy_of(code_); }

private:
    int         code_;
    std::string text_;
};

/* Pass a count or 0 on; throw what is negative. */
inline int check(int answer)
{
    if (answer < 0) throw error(answer);
    return answer;
}

/* False for what a caller waits for or sheds; true for success; throws the rest. */
inline bool check_available(int answer)
{
    if (answer == WEIR_EAGAIN || answer == WEIR_ETIMEDOUT || answer == WEIR_EPRESSURE || answer == WEIR_EBUSY) return false;
    check(answer);
    return true;
}

/* An option struct of the caller's size, filled by a function: options<weir_pool_opts>([](auto &o) { ... }). */
template <class Opts, class Fill> Opts options(Fill fill)
{
    Opts opts;
    weir_opts_init(&opts, sizeof opts);
    fill(opts);
    return opts;
}

/* A snapshot: read<weir_pool_stats>(weir_pool_stats_read, pool.get()). */
template <class Out, class Read, class... Arguments> Out read(Read read_fn, Arguments... arguments)
{
    Out out;
    weir_opts_init(&out, sizeof out);
    check(read_fn(arguments..., &out));
    return out;
}

/* The deadline that lies so far ahead. */
template <class Rep, class Period> std::uint64_t after(std::chrono::duration<Rep, Period> time)
{
    auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(time).count();
    return ns > 0 ? weir_deadline_after_ns(static_cast<std::uint64_t>(ns)) : WEIR_NOW;
}

/* What owns a pointer: end_fn is called once, unless it was taken or moved away. */
template <class Handle, auto end_fn> class owner {
public:
    owner() noexcept = default;
    explicit owner(Handle *handle) noexcept : handle_(handle) {}
    owner(owner &&other) noexcept : handle_(other.take()) {}
    owner &operator=(owner &&other) noexcept
    {
        if (this != &other) reset(other.take());
        return *this;
    }
    owner(const owner &) = delete;
    owner &operator=(const owner &) = delete;
    ~owner() { reset(); }

    Handle *get() const noexcept { return handle_; }
    explicit operator bool() const noexcept { return handle_ != nullptr; }
    [[nodiscard]] Handle *take() noexcept { return std::exchange(handle_, nullptr); }
    void reset(Handle *handle = nullptr) noexcept
    {
        Handle *before = std::exchange(handle_, handle);
        if (before) (void)end_fn(before);
    }

private:
    Handle *handle_ = nullptr;
};

class runtime : public owner<weir_runtime, weir_runtime_destroy> {
public:
    using owner::owner;
    runtime() : runtime(nullptr_opts()) {}
    explicit runtime(const weir_runtime_opts &opts) : runtime(&opts) {}
    weir_runtime_info info() const { return read<weir_runtime_info>(weir_runtime_info_read, get()); }
    void sync(std::uint64_t deadline_ns = WEIR_FOREVER, std::uint32_t classes = 0) const
    {
        check(weir_runtime_sync(get(), classes, deadline_ns));
    }

private:
    static const weir_runtime_opts *nullptr_opts() noexcept { return nullptr; }
    explicit runtime(const weir_runtime_opts *opts) : owner(make(opts)) {}
    static weir_runtime *make(const weir_runtime_opts *opts)
    {
        weir_runtime *out = nullptr;
        check(weir_runtime_create(opts, &out));
        return out;
    }
};

class stream;

class buffer : public owner<weir_buffer, weir_buffer_release> {
public:
    using owner::owner;
    void         *host() const noexcept { return get()->host; }
    std::uint64_t device() const noexcept { return get()->device; }
    std::size_t   bytes() const noexcept { return get()->bytes; }
    struct weir_slice slice(std::size_t offset, std::size_t size) const noexcept { return {get(), offset, size}; }
    struct weir_slice all() const noexcept { return slice(0, bytes()); }
    inline void   guard(const stream &on) const;
    void          sync(std::uint64_t deadline_ns = WEIR_FOREVER) const { check(weir_buffer_sync(get(), deadline_ns)); }
};

/* The view of a tiered buffer: returned at the end of its scope. Declare it after its buffer. */
class view {
public:
    view() noexcept = default;
    view(const buffer &of, weir_where where, weir_access access, weir_stream *on = nullptr,
         std::uint64_t deadline_ns = WEIR_FOREVER)
    {
        check(weir_buffer_borrow(of.get(), where, access, on, deadline_ns, &view_));
    }
    view(view &&other) noexcept : view_(std::exchange(other.view_, weir_view{})) {}
    view &operator=(view &&other) noexcept
    {
        if (this != &other) {
            reset();
            view_ = std::exchange(other.view_, weir_view{});
        }
        return *this;
    }
    view(const view &) = delete;
    view &operator=(const view &) = delete;
    ~view() { reset(); }

    void reset() noexcept
    {
        if (view_.buffer) (void)weir_view_return(&view_);
        view_ = weir_view{};
    }
    const weir_view &get() const noexcept { return view_; }
    explicit operator bool() const noexcept { return view_.buffer != nullptr; }
    void         *host() const noexcept { return view_.host; }
    std::uint64_t device() const noexcept { return view_.device; }
    std::size_t   bytes() const noexcept { return view_.bytes; }
    weir_tier     tier() const noexcept { return static_cast<weir_tier>(view_.tier); }

private:
    weir_view view_{};
};

class pool : public owner<weir_pool, weir_pool_destroy> {
public:
    using owner::owner;
    pool(const runtime &rt, const weir_pool_opts &opts) : owner(make(rt, opts)) {}
    pool(const runtime &rt, const weir_tier_opts &opts) : owner(make(rt, opts)) {}

    buffer acquire(std::uint64_t deadline_ns = WEIR_FOREVER) const
    {
        weir_buffer *out = nullptr;
        check(weir_buffer_acquire(get(), deadline_ns, &out));
        return buffer(out);
    }
    buffer try_acquire(std::uint64_t deadline_ns = WEIR_NOW) const
    {
        weir_buffer *out = nullptr;
        return check_available(weir_buffer_acquire(get(), deadline_ns, &out)) ? buffer(out) : buffer();
    }
    weir_pool_stats stats() const { return read<weir_pool_stats>(weir_pool_stats_read, get()); }

private:
    static weir_pool *make(const runtime &rt, const weir_pool_opts &opts)
    {
        weir_pool *out = nullptr;
        check(weir_pool_create(rt.get(), &opts, &out));
        return out;
    }
    static weir_pool *make(const runtime &rt, const weir_tier_opts &opts)
    {
        weir_pool *out = nullptr;
        check(weir_tier_create(rt.get(), &opts, &out));
        return out;
    }
};

class event : public owner<weir_event, weir_event_release> {
public:
    using owner::owner;
    explicit event(const runtime &rt, std::uint32_t flags = 0, std::uint64_t deadline_ns = WEIR_FOREVER)
        : owner(make(rt, flags, deadline_ns))
    {
    }
    inline void record(const stream &on) const;
    bool passed() const { return check_available(weir_event_query(get())); }
    void sync(std::uint64_t deadline_ns = WEIR_FOREVER) const { check(weir_event_sync(get(), deadline_ns)); }
    std::chrono::nanoseconds since(const event &start) const
    {
        std::uint64_t ns = 0;
        check(weir_event_elapsed_ns(start.get(), get(), &ns));
        return std::chrono::nanoseconds(ns);
    }

private:
    static weir_event *make(const runtime &rt, std::uint32_t flags, std::uint64_t deadline_ns)
    {
        weir_event *out = nullptr;
        check(weir_event_acquire(rt.get(), flags, deadline_ns, &out));
        return out;
    }
};

class stream : public owner<weir_stream, weir_stream_release> {
public:
    using owner::owner;
    stream(const runtime &rt, weir_stream_class of, std::uint64_t deadline_ns = WEIR_FOREVER) : owner(make(rt, of, deadline_ns)) {}

    void upload(std::uint64_t device_dst, struct weir_slice src) const { check(weir_stream_upload(get(), device_dst, src)); }
    void download(struct weir_slice dst, std::uint64_t device_src) const { check(weir_stream_download(get(), dst, device_src)); }
    void wait(const event &for_event) const { check(weir_stream_wait_event(get(), for_event.get())); }
    void sync(std::uint64_t deadline_ns = WEIR_FOREVER) const { check(weir_stream_sync(get(), deadline_ns)); }
    bool drained() const { return check_available(weir_stream_query(get())); }

private:
    static weir_stream *make(const runtime &rt, weir_stream_class of, std::uint64_t deadline_ns)
    {
        weir_stream *out = nullptr;
        check(weir_stream_acquire(rt.get(), static_cast<std::uint32_t>(of), deadline_ns, &out));
        return out;
    }
};

inline void buffer::guard(const stream &on) const { check(weir_buffer_guard(get(), on.get())); }
inline void event::record(const stream &on) const { check(weir_event_record(get(), on.get())); }

/* Plain device memory under the runtime's budget. The runtime must outlive it. */
class device_memory {
public:
    device_memory() noexcept = default;
    device_memory(const runtime &rt, std::size_t bytes) : rt_(rt.get()), bytes_(bytes)
    {
        check(weir_device_alloc(rt_, bytes, &address_));
    }
    device_memory(device_memory &&other) noexcept
        : rt_(other.rt_), bytes_(other.bytes_), address_(std::exchange(other.address_, 0))
    {
    }
    device_memory &operator=(device_memory &&other) noexcept
    {
        if (this != &other) {
            reset();
            rt_ = other.rt_;
            bytes_ = other.bytes_;
            address_ = std::exchange(other.address_, 0);
        }
        return *this;
    }
    device_memory(const device_memory &) = delete;
    device_memory &operator=(const device_memory &) = delete;
    ~device_memory() { reset(); }

    void reset() noexcept
    {
        if (address_) (void)weir_device_free(rt_, std::exchange(address_, 0));
    }
    std::uint64_t address() const noexcept { return address_; }
    std::size_t   bytes() const noexcept { return bytes_; }

private:
    weir_runtime *rt_ = nullptr;
    std::size_t   bytes_ = 0;
    std::uint64_t address_ = 0;
};

class tensor : public owner<weir_tensor, weir_tensor_destroy> {
public:
    using owner::owner;
    tensor(const pool &from, const weir_tensor_opts &opts, std::uint64_t deadline_ns = WEIR_FOREVER)
        : owner(make(from, opts, deadline_ns))
    {
    }

    void fill(const void *data, std::size_t size, std::uint64_t deadline_ns = WEIR_FOREVER) const
    {
        check(weir_tensor_fill(get(), data, size, deadline_ns));
    }
    void read_into(void *data, std::size_t size, std::uint64_t deadline_ns = WEIR_FOREVER) const
    {
        check(weir_tensor_read(get(), data, size, deadline_ns));
    }
    void to_device(const stream &on) const { check(weir_tensor_to_device(get(), on.get())); }
    void to_host(const stream &on) const { check(weir_tensor_to_host(get(), on.get())); }
    void guard(const stream &on) const { check(weir_tensor_guard(get(), on.get())); }
    void sync(std::uint64_t deadline_ns = WEIR_FOREVER) const { check(weir_tensor_sync(get(), deadline_ns)); }
    weir_tensor_info info() const { return read<weir_tensor_info>(weir_tensor_info_read, get()); }

private:
    static weir_tensor *make(const pool &from, const weir_tensor_opts &opts, std::uint64_t deadline_ns)
    {
        weir_tensor *out = nullptr;
        check(weir_tensor_create(from.get(), &opts, deadline_ns, &out));
        return out;
    }
};

} /* namespace weir */

#endif
