#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Weir's tensors in NumPy without a copy: fill, to the device and back, and memory that outlives everything else.

LIBWEIR names libweir.so where it is not installed. Exits 77 where NumPy is missing, and 1 if anything differs
from what is said here.
"""

import sys

try:
    import numpy as np
except ImportError:
    print("skipped: NumPy is missing (python3-numpy)")
    sys.exit(77)
import weir_numpy as weir


def expect(condition, what):
    if not condition:
        sys.exit("tensor.py: " + what)


def expect_error(code, words, call):
    try:
        call()
    except weir.WeirError as error:
        expect(error.code == code, f"answered {error.code} instead of {code}: {error}")
        expect(words in str(error), f"\"{error}\" lacks \"{words}\"")
        return
    sys.exit("tensor.py: was not refused: " + words)


def round_trip(runtime, pool):
    values = np.arange(32, dtype=np.float32).reshape(4, 8)
    with weir.Stream(runtime) as stream, weir.Tensor(pool, (4, 8), "float32") as tensor:
        expect_error(weir.INVAL, "the array is float32[8, 4]: expected float32[4, 8]",
                     lambda: tensor.fill(values.reshape(8, 4)))
        expect_error(weir.INVAL, "expected float32[4, 8]", lambda: tensor.fill(values.astype(np.int32)))
        tensor.fill(values)
        view = np.from_dlpack(tensor)
        expect(view.ctypes.data == tensor.info().host, "NumPy made a copy")
        expect(view.dtype == np.float32 and view.shape == (4, 8), f"{view.dtype} {view.shape}")
        expect((view == values).all(), "the view has other values")

        tensor.to_device(stream)
        tensor.sync()
        tensor.fill(values + 100)
        expect((view == values + 100).all(), "a fill is not seen in the view: it is a copy")
        tensor.to_host(stream)
        tensor.sync()
        expect((view == values).all(), "the device gave other values back")

        pinned = np.from_dlpack(weir.View(tensor, weir.PINNED))
        expect(pinned.ctypes.data == view.ctypes.data, "the pinned view lies elsewhere")
        expect(tuple(weir.View(tensor, weir.PINNED).__dlpack_device__()) == (3, 0), "not kDLCUDAHost")
        if runtime.info().flags & weir.INFO_DEVICE_IS_HOST:
            device = np.from_dlpack(weir.View(tensor, weir.DEVICE))
            expect(device.ctypes.data == tensor.info().device, "NumPy copied the device view")
            expect((device == values).all(), "the device view has other values")
        else:
            expect(weir.View(tensor, weir.DEVICE).__dlpack_device__()[0] == 2, "not kDLCUDA")


def every_dtype(pool):
    for name in ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32",
                 "float64", "complex64"):
        values = np.arange(1, 7).astype(name).reshape(1, 2, 3)
        with weir.Tensor(pool, values.shape, name) as tensor:
            tensor.fill(values)
            view = np.from_dlpack(tensor)
            expect(view.dtype == values.dtype and (view == values).all(), f"{name}: {view}")


def lifetimes(runtime):
    """The only buffer of a pool is held by an array, and by a capsule that nobody took."""
    with weir.Pool(runtime, 4096, 1) as pool:
        tensor = weir.Tensor(pool, (16,), "int64")
        tensor.fill(np.arange(16))
        view = np.from_dlpack(tensor)
        capsule = tensor.capsule()
        tensor.close()
        expect_error(weir.AGAIN, "", lambda: weir.Tensor(pool, (16,), "int64", weir.NOW))
        del view
        expect_error(weir.AGAIN, "", lambda: weir.Tensor(pool, (16,), "int64", weir.NOW))
        del capsule
        weir.Tensor(pool, (16,), "int64", weir.NOW).close()


def outlive():
    runtime = weir.Runtime()
    pool = weir.Pool(runtime, 4096, 1)
    tensor = weir.Tensor(pool, (512,), "float64")
    tensor.fill(np.linspace(0, 1, 512))
    view = np.from_dlpack(tensor)
    tensor.close()
    pool.close()
    runtime.close()
    return view


def main():
    with weir.Runtime() as runtime:
        with weir.Pool(runtime, 4096, 2) as pool:
            round_trip(runtime, pool)
            every_dtype(pool)
        lifetimes(runtime)
        backend = runtime.info().backend.decode()
    view = outlive()
    expect((view == np.linspace(0, 1, 512)).all(), "memory that NumPy holds was lost with the runtime")
    del view
    print(f"NumPy {np.__version__} reads weir's tensors in place ({backend} backend)")


if __name__ == "__main__":
    main()
