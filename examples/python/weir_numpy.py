# SPDX-License-Identifier: Apache-2.0
"""Weir's tensors for Python, by ctypes alone: what a binding has to do, and no more.

A Tensor goes to any library that speaks DLPack, without a copy: numpy.from_dlpack(tensor). The array that comes out
holds the memory: it stays valid after the tensor, the pool and the runtime are closed.
"""

import ctypes
import ctypes.util
import os

U32, U64, I64, SIZE, POINTER = (ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int64, ctypes.c_size_t, ctypes.c_void_p)
NOW, FOREVER = 0, 2**64 - 1
AGAIN, BUSY, INVAL, EXCEEDS = -11, -16, -22, -4608
RANK_MAX = 8
COMM = 2
PINNED, DEVICE, READ_ONLY, UNORDERED = 1, 2, 4, 8  # enum weir_dlpack_flags
INFO_DEVICE_IS_HOST = 1
DTYPES = {name: number for number, name in enumerate(
    ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "bfloat16",
     "float32", "float64", "float8_e4m3", "float8_e5m2", "complex64"), start=1)}


class PoolOpts(ctypes.Structure):
    """The first fields are enough: what a caller's struct lacks is 0."""
    _fields_ = [("struct_size", SIZE), ("name", ctypes.c_char_p), ("buffer_bytes", SIZE), ("buffers_min", SIZE),
                ("buffers_max", SIZE)]


class TensorOpts(ctypes.Structure):
    _fields_ = [("struct_size", SIZE), ("dtype", U32), ("rank", U32), ("shape", I64 * RANK_MAX)]


class Array(ctypes.Structure):
    _fields_ = [("data", POINTER), ("dtype", U32), ("rank", U32), ("shape", I64 * RANK_MAX)]


class TensorInfo(ctypes.Structure):
    _fields_ = [("struct_size", SIZE), ("buffer", POINTER), ("host", POINTER), ("device", U64), ("bytes", SIZE),
                ("dtype", U32), ("rank", U32), ("shape", I64 * RANK_MAX)]


class RuntimeInfo(ctypes.Structure):
    _fields_ = [("struct_size", SIZE), ("backend", ctypes.c_char * 16), ("device_name", ctypes.c_char * 96),
                ("model", ctypes.c_char * 96), ("device_bytes_total", U64), ("stream_priority_least", ctypes.c_int32),
                ("stream_priority_greatest", ctypes.c_int32), ("numa_node", ctypes.c_int32), ("flags", U32)]


class WeirError(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


def _load():
    library = ctypes.CDLL(os.environ.get("LIBWEIR") or ctypes.util.find_library("weir") or "libweir.so.0")
    signatures = {
        "weir_error_text": [ctypes.c_char_p, SIZE],
        "weir_runtime_create": [POINTER, POINTER],
        "weir_runtime_info_read": [POINTER, POINTER],
        "weir_pool_create": [POINTER, POINTER, POINTER],
        "weir_stream_acquire": [POINTER, U32, U64, POINTER],
        "weir_stream_release": [POINTER],
        "weir_tensor_create": [POINTER, POINTER, U64, POINTER],
        "weir_tensor_fill_array": [POINTER, POINTER, U64],
        "weir_tensor_to_device": [POINTER, POINTER],
        "weir_tensor_to_host": [POINTER, POINTER],
        "weir_tensor_sync": [POINTER, U64],
        "weir_tensor_info_read": [POINTER, POINTER],
        "weir_tensor_dlpack": [POINTER, U32, POINTER],
        "weir_tensor_dlpack_versioned": [POINTER, U32, POINTER],
    }
    for name, arguments in signatures.items():
        getattr(library, name).argtypes = arguments
    for name in ("weir_runtime_destroy", "weir_pool_destroy", "weir_tensor_destroy"):
        getattr(library, name).argtypes = [POINTER]
        getattr(library, name).restype = None
    return library


_weir = _load()


def check(code):
    if code < 0:
        text = ctypes.create_string_buffer(512)
        _weir.weir_error_text(text, len(text))
        raise WeirError(code, text.value.decode())
    return code


# ---- capsules ----

_python = ctypes.pythonapi
_python.PyCapsule_New.restype = ctypes.py_object
_python.PyCapsule_New.argtypes = [POINTER, ctypes.c_char_p, POINTER]
_python.PyCapsule_IsValid.argtypes = [POINTER, ctypes.c_char_p]
_python.PyCapsule_GetPointer.restype = POINTER
_python.PyCapsule_GetPointer.argtypes = [POINTER, ctypes.c_char_p]
_DELETER_OFFSET = {b"dltensor": 56, b"dltensor_versioned": 16}  # in the structs of the standard


@ctypes.CFUNCTYPE(None, POINTER)
def _drop_capsule(capsule):
    """A consumer renames the capsule and calls the deleter itself; one that nobody took is deleted here."""
    for name, offset in _DELETER_OFFSET.items():
        if _python.PyCapsule_IsValid(capsule, name):
            export = _python.PyCapsule_GetPointer(capsule, name)
            deleter = POINTER.from_address(export + offset).value
            ctypes.CFUNCTYPE(None, POINTER)(deleter)(export)


def _capsule(export, name):
    return _python.PyCapsule_New(export, name, ctypes.cast(_drop_capsule, POINTER))


# ---- objects ----

class _Handle:
    _destroy = None

    def __init__(self):
        self.handle = POINTER()

    def close(self):
        if self.handle:
            getattr(_weir, self._destroy)(self.handle)
            self.handle = POINTER()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Runtime(_Handle):
    _destroy = "weir_runtime_destroy"

    def __init__(self):
        super().__init__()
        check(_weir.weir_runtime_create(None, ctypes.byref(self.handle)))

    def info(self):
        info = RuntimeInfo(struct_size=ctypes.sizeof(RuntimeInfo))
        check(_weir.weir_runtime_info_read(self.handle, ctypes.byref(info)))
        return info


class Pool(_Handle):
    _destroy = "weir_pool_destroy"

    def __init__(self, runtime, buffer_bytes, buffers):
        super().__init__()
        opts = PoolOpts(ctypes.sizeof(PoolOpts), b"numpy", buffer_bytes, buffers, buffers)
        check(_weir.weir_pool_create(runtime.handle, ctypes.byref(opts), ctypes.byref(self.handle)))


class Stream(_Handle):
    _destroy = "weir_stream_release"

    def __init__(self, runtime):
        super().__init__()
        check(_weir.weir_stream_acquire(runtime.handle, COMM, FOREVER, ctypes.byref(self.handle)))


class Tensor(_Handle):
    _destroy = "weir_tensor_destroy"

    def __init__(self, pool, shape, dtype, deadline_ns=FOREVER):
        super().__init__()
        opts = TensorOpts(ctypes.sizeof(TensorOpts), DTYPES[str(dtype)], len(shape), (I64 * RANK_MAX)(*shape))
        check(_weir.weir_tensor_create(pool.handle, ctypes.byref(opts), deadline_ns, ctypes.byref(self.handle)))

    def fill(self, array):
        """From a NumPy array of the same shape and dtype."""
        if not array.flags.c_contiguous:
            raise ValueError("expected a C-contiguous array")
        given = Array(array.ctypes.data, DTYPES[str(array.dtype)], array.ndim, (I64 * RANK_MAX)(*array.shape))
        check(_weir.weir_tensor_fill_array(self.handle, ctypes.byref(given), FOREVER))

    def to_device(self, stream):
        check(_weir.weir_tensor_to_device(self.handle, stream.handle))

    def to_host(self, stream):
        check(_weir.weir_tensor_to_host(self.handle, stream.handle))

    def sync(self):
        check(_weir.weir_tensor_sync(self.handle, FOREVER))

    def info(self):
        info = TensorInfo(struct_size=ctypes.sizeof(TensorInfo))
        check(_weir.weir_tensor_info_read(self.handle, ctypes.byref(info)))
        return info

    def capsule(self, flags=0, versioned=False):
        export = POINTER()
        call = _weir.weir_tensor_dlpack_versioned if versioned else _weir.weir_tensor_dlpack
        check(call(self.handle, flags, ctypes.byref(export)))
        return _capsule(export, b"dltensor_versioned" if versioned else b"dltensor")

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        return View(self).__dlpack__(max_version=max_version)

    def __dlpack_device__(self):
        return View(self).__dlpack_device__()


class View:
    """A tensor's memory with flags of one's own: numpy.from_dlpack(View(tensor, DEVICE))."""

    def __init__(self, tensor, flags=0):
        self.tensor = tensor
        self.flags = flags

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        return self.tensor.capsule(self.flags, versioned=max_version is not None and max_version[0] >= 1)

    def __dlpack_device__(self):
        capsule = self.tensor.capsule(self.flags)
        export = _python.PyCapsule_GetPointer(id(capsule), b"dltensor")
        place = (ctypes.c_int32 * 2).from_address(export + 8)  # after the data pointer
        return tuple(place)
