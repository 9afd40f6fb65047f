/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raii.cpp - weir from C++: handles that let go by themselves, errors as exceptions
 *
 *     upload and read back       weir::buffer, weir::stream, weir::event
 *     handles move               a function returns a lease, a vector keeps several
 *     what is expected           pool.try_acquire() answers an empty handle
 *     what is wrong              weir::error, with a code and what to do about it
 *     tiers                      weir::view, returned at the end of its scope
 */
#include <cstdio>
#include <cstring>
#include <vector>
#include <weir/weir.hpp>

static void require(bool holds, const char *what)
{
    if (holds) return;
    std::fprintf(stderr, "raii: not so: %s\n", what);
    std::exit(1);
}

/* The lease moves out of the function; nothing is released on the way. */
static weir::buffer filled(const weir::pool &pool, unsigned char value)
{
    weir::buffer buffer = pool.acquire();
    std::memset(buffer.host(), value, buffer.bytes());
    return buffer;
}

static void round_trip(const weir::runtime &rt, const weir::pool &pool)
{
    weir::stream        stream(rt, WEIR_STREAM_COMM);
    weir::device_memory device(rt, 4096);
    weir::event         start(rt, WEIR_EVENT_TIMING), end(rt, WEIR_EVENT_TIMING);

    weir::buffer source = filled(pool, 7), back = pool.acquire();
    start.record(stream);
    stream.upload(device.address(), source.slice(0, 4096));
    source.reset(); /* goes home when the device has read it */
    stream.download(back.slice(0, 4096), device.address());
    end.record(stream);
    back.sync();
    end.sync();
    require(static_cast<unsigned char *>(back.host())[4095] == 7, "the bytes came back");
    std::printf("there and back in %lld us\n", static_cast<long long>(end.since(start).count() / 1000));
}

static void limits(const weir::runtime &rt, const weir::pool &pool)
{
    std::vector<weir::buffer> held;
    for (int i = 0; i < 4; i++) held.push_back(pool.acquire(weir::after(std::chrono::minutes(1))));
    require(!pool.try_acquire(), "the pool has four buffers");
    require(pool.stats().leased == 4, "all are leased");
    held.clear();
    require(pool.stats().leased == 0, "all went home");
    try {
        weir::pool huge(rt, weir::options<weir_pool_opts>([](auto &o) { o.buffer_bytes = std::size_t(1) << 40; }));
        require(false, "a terabyte is refused");
    } catch (const weir::error &error) {
        require(error.code() == WEIR_EEXCEEDS && error.remedy() == WEIR_REMEDY_SHED, "the error says why");
        std::printf("%s\n", error.what());
    }
}

static void tiers(const weir::runtime &rt)
{
    weir::pool pool(rt, weir::options<weir_tier_opts>([](auto &o) {
        o.buffers_max = 8;
        o.pinned_buffers = 4;
        o.device_buffers = 2;
    }));
    weir::buffer buffer = pool.acquire();
    {
        weir::view view(buffer, WEIR_WHERE_HOST, WEIR_WRITE);
        std::memset(view.host(), 3, view.bytes());
    }
    weir::check(weir_buffer_prefetch(buffer.get(), WEIR_TIER_DEVICE, WEIR_FOREVER));
    weir::view view(buffer, WEIR_WHERE_HOST, WEIR_READ);
    require(static_cast<unsigned char *>(view.host())[0] == 3, "it kept its bytes when it moved");
}

static void tensors(const weir::runtime &rt, const weir::pool &pool)
{
    float        values[64], back[64];
    weir::stream stream(rt, WEIR_STREAM_COMM);
    weir::tensor tensor(pool, weir::options<weir_tensor_opts>([](auto &o) {
        o.dtype = WEIR_DTYPE_F32;
        o.rank = 1;
        o.shape[0] = 64;
    }));
    for (int i = 0; i < 64; i++) values[i] = static_cast<float>(i);
    tensor.fill(values, sizeof values);
    tensor.to_device(stream);
    tensor.to_host(stream);
    tensor.read_into(back, sizeof back);
    require(std::memcmp(values, back, sizeof values) == 0, "the tensor came back");
}

int main()
{
    weir::runtime rt;
    weir::pool    pool(rt, weir::options<weir_pool_opts>([](auto &o) {
        o.name = "staging";
        o.buffer_bytes = 64 << 10;
        o.buffers_min = 4;
    }));
    round_trip(rt, pool);
    limits(rt, pool);
    tiers(rt);
    tensors(rt, pool);

    weir::pool moved = std::move(pool);
    require(moved && !pool, "a handle moves");
    return 0;
}
