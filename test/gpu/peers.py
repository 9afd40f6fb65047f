#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What PyTorch and CuPy do for the pairs and transfers that R1 and R2 measure, where they are installed.

usage: peers.py [--quick] [--json FILE]

The pairs:  torch.empty(pin_memory=True) and its release, which go through the caching host allocator, with its
            default settings and with registration and background threads; torch.cuda.Event and Stream;
            cupy.cuda.alloc_pinned_memory with PinnedMemoryPool.
The cycle:  take a pinned block, copy it to the device without blocking, record, let go.

Each setting of PyTorch's allocator needs a process of its own: this program starts itself again. What is missing is
skipped by name, and that is no failure. Python's own cost is in every number; the row "nothing" says how much that is.
"""
import argparse
import datetime
import gc
import json
import os
import platform
import subprocess
import sys
import threading
import time

SETTINGS = {
    "default": "",
    "registered": "pinned_use_cuda_host_register:True,pinned_num_register_threads:8",
    "background": "pinned_use_background_threads:True",
}
SIZES = {"64 KiB": 64 << 10, "1 MiB": 1 << 20}
THREADS = (1, 4, 16)


def latency(times_ns):
    times_ns.sort()
    at = lambda part: times_ns[min(len(times_ns) - 1, int(part * len(times_ns)))]
    return {"p50_ns": at(0.5), "p99_ns": at(0.99), "p999_ns": at(0.999), "max_ns": times_ns[-1]}


def measure(pair, threads, count):
    """Each thread makes `count` pairs; every one is timed by itself."""
    times, ready = [[] for _ in range(threads)], threading.Barrier(threads + 1)

    def work(mine):
        pair()
        ready.wait()
        for _ in range(count):
            begin = time.perf_counter_ns()
            pair()
            mine.append(time.perf_counter_ns() - begin)

    crew = [threading.Thread(target=work, args=(mine,)) for mine in times]
    for thread in crew:
        thread.start()
    ready.wait()
    begin = time.perf_counter_ns()
    for thread in crew:
        thread.join()
    wall = time.perf_counter_ns() - begin
    return {"threads": threads, "pairs_per_s": threads * count * 1e9 / wall, **latency(sum(times, []))}


class Report:
    def __init__(self):
        self.tables, self.skipped, self.facts = [], [], []

    def skip(self, name, why):
        print(f"skipped {name}: {why}", flush=True)
        self.skipped.append({"name": name, "text": why, "good": 1})

    def add(self, name, note, rows):
        print(f"{name}: {len(rows)} rows", flush=True)
        self.tables.append({"name": name, "note": note, "rows": rows})


def torch_pairs(torch):
    stream = torch.cuda.Stream()

    def pinned(size):
        return lambda: torch.empty(size, dtype=torch.uint8, pin_memory=True)

    yield "nothing", lambda: None
    for name, size in SIZES.items():
        yield f"torch.empty({name}, pin_memory=True)", pinned(size)
    yield "torch.cuda.Event, recorded", lambda: torch.cuda.Event().record(stream)
    yield "torch.cuda.Stream", torch.cuda.Stream


def torch_cycle(torch, size, count):
    device = torch.empty(size, dtype=torch.uint8, device="cuda")
    for _ in range(8):
        device.copy_(torch.empty(size, dtype=torch.uint8, pin_memory=True), non_blocking=True)
    torch.cuda.synchronize()
    begin = time.perf_counter_ns()
    for _ in range(count):
        device.copy_(torch.empty(size, dtype=torch.uint8, pin_memory=True), non_blocking=True)
    torch.cuda.synchronize()
    wall = time.perf_counter_ns() - begin
    return {"kib": size >> 10, "gb_per_s": size * count / wall, "ns_per_transfer": wall / count}


def run_torch(report, setting, count):
    try:
        import torch
    except Exception as error:  # a broken installation says so in many ways
        return report.skip("PyTorch", f"it cannot be imported: {error}")
    if not torch.cuda.is_available():
        return report.skip("PyTorch", "it sees no CUDA device")
    report.facts.append({"name": "PyTorch", "text": f"{torch.__version__}, allocator {setting}", "good": 1})
    rows = [{"what": name, **measure(pair, threads, count)} for name, pair in torch_pairs(torch) for threads in THREADS]
    report.add(f"PyTorch, {setting}", "pairs, each timed by itself", rows)
    rows = [torch_cycle(torch, size, max(8, count // 10)) for size in (64 << 10, 1 << 20, 16 << 20)]
    report.add(f"PyTorch uploads, {setting}", "a pinned tensor copied without blocking and let go, one thread", rows)
    return None


def run_cupy(report, count):
    try:
        import cupy
        cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        return report.skip("CuPy", f"it cannot be used: {error}")
    report.facts.append({"name": "CuPy", "text": cupy.__version__, "good": 1})
    pool = cupy.cuda.PinnedMemoryPool()
    rows = []
    for name, size in SIZES.items():
        for threads in THREADS:
            rows.append({"what": f"PinnedMemoryPool.malloc({name})", **measure(lambda s=size: pool.malloc(s), threads, count)})
    for threads in THREADS:
        rows.append({"what": "cupy.cuda.Event", **measure(cupy.cuda.Event, threads, count)})
        rows.append({"what": "cupy.cuda.Stream", **measure(lambda: cupy.cuda.Stream(non_blocking=True), threads, count)})
    report.add("CuPy", "pairs, each timed by itself", rows)
    return None


def child(setting, quick):
    report = Report()
    gc.disable()
    count = 50 if quick else 20000
    if setting == "cupy":
        run_cupy(report, count)
    else:
        run_torch(report, setting, count)
    print("RESULT " + json.dumps(vars(report)), flush=True)


def collect(report, setting, quick):
    environment = dict(os.environ)
    if SETTINGS.get(setting):
        environment["PYTORCH_CUDA_ALLOC_CONF"] = environment["PYTORCH_ALLOC_CONF"] = SETTINGS[setting]
    command = [sys.executable, os.path.abspath(__file__), "--child", setting] + (["--quick"] if quick else [])
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    except subprocess.TimeoutExpired:
        return report.skip(setting, "took more than 240 s")
    result = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not result:
        last = (done.stderr.strip() or "no output").splitlines()[-1]
        return report.skip(setting, f"ended with {done.returncode}: {last}")
    part = json.loads(result[0][len("RESULT "):])
    for item in part["skipped"]:
        if item not in report.skipped:
            report.skip(item["name"], item["text"])
    report.tables += part["tables"]
    report.facts += part["facts"]
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json")
    parser.add_argument("--child")
    options = parser.parse_args()
    if options.child:
        return child(options.child, options.quick)
    report, begin = Report(), time.monotonic()
    for setting in [*SETTINGS, "cupy"]:
        collect(report, setting, options.quick)
    now = datetime.datetime.now(datetime.timezone.utc)
    result = {
        "run": "peers", "title": "PyTorch's and CuPy's pools", "quick": int(options.quick), **vars(report),
        "checks": [], "targets": [], "seconds": int(time.monotonic() - begin),
        "machine": {"time": now.strftime("%Y-%m-%dT%H:%M:%SZ"), "kernel": platform.release()},
    }
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(result, file)
    print(f"peers: {len(report.tables)} tables, {len(report.skipped)} skipped")
    return None


if __name__ == "__main__":
    sys.exit(main())
