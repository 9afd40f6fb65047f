#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make one page and one JSON file of the results of a run of the GPU suite.

usage: collect.py RESULTS INTO

RESULTS is what `tools/dev/gpu run` wrote. The names of the two files have the date, the device and the commit.
Results of the driver double are no measurements: they go anywhere but into docs/measurements.
"""
import json
import pathlib
import re
import sys


def load(folder):
    runs = {}
    for path in sorted(folder.glob("*.json")):
        try:
            runs[path.stem] = json.loads(path.read_text())
        except ValueError as error:
            sys.exit(f"collect: {path}: {error}")
    if not runs:
        sys.exit(f"collect: {folder} has no results; each *.log there says why")
    return runs


def first(runs, *keys):
    """The first value that any run has under the keys."""
    for run in runs.values():
        value = run
        for key in keys:
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                value = None
                break
        if value not in (None, ""):
            return value
    return "unknown"


def cell(value):
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).replace("|", "\\|")


def table(rows):
    keys = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(keys) + " |", "|" + "---|" * len(keys)]
    lines += ["| " + " | ".join(cell(row.get(key, "")) for key in keys) + " |" for row in rows]
    return lines


def outcomes(runs, kind, words):
    rows = [{"run": name, "what": item["name"], "outcome": words[bool(item["good"])], "text": item["text"]}
            for name, run in runs.items() for item in run.get(kind, [])]
    return rows


def conformance(folder):
    log, diff = folder / "r0_conformance.log", folder / "r0_conformance.diff"
    if not log.exists():
        return ["Not run."]
    lines = log.read_text(errors="replace").splitlines()
    shown = [line for line in lines if line.startswith(("conformance of", "observed", "FAILED", "skipped"))]
    if diff.exists():
        text = diff.read_text(errors="replace").strip()
        shown.append("The same as over the driver double, line by line." if not text else
                     "Differs from the driver double (< double, > here):\n\n```\n" + text + "\n```")
    return [line if line.startswith("Differs") else f"- {line}" for line in shown]


def against_torch(runs):
    """Per pair, PyTorch's pinned allocator without Python's own cost, and weir; from the middle of each."""
    weir, torch = {}, {}
    for item in runs.get("r1_hot_path", {}).get("tables", []):
        if item["name"] == "idle":
            for row in item["rows"]:
                if row["by"] == "weir":
                    weir[row["what"].removeprefix("buffer "), row["threads"]] = row["pair_p50_ns"]
    for item in runs.get("peers", {}).get("tables", []):
        if item["name"] == "PyTorch, default":
            for row in item["rows"]:
                torch[row["what"], row["threads"]] = row["p50_ns"]
    rows = []
    for (size, threads), ours in weir.items():
        theirs = torch.get((f"torch.empty({size}, pin_memory=True)", threads))
        nothing = torch.get(("nothing", threads))
        if theirs and nothing is not None and ours:
            times = (theirs - nothing) / ours
            rows.append({"buffer": size, "threads": threads, "weir_ns": ours, "pytorch_ns": theirs - nothing,
                         "times": round(times, 1), "target: 10 times": "reached" if times >= 10 else "MISSED"})
    return rows


def page(folder, runs, facts):
    lines = [f"# {facts['device']}, {facts['date']}", "",
             f"Commit `{facts['commit']}`, driver CUDA {facts['driver']}, kernel {facts['kernel']}, {facts['cpu']} "
             f"({facts['cpus']} CPUs). How it was measured: [docs/gpu.md](../gpu.md).", ""]
    if facts["double"]:
        lines += ["**Over the driver double: these numbers say nothing about a GPU.**", ""]
    if facts["quick"]:
        lines += ["**Shortened runs: their numbers are not to be compared with anything.**", ""]
    missed = [row for row in outcomes(runs, "targets", {True: "reached", False: "MISSED"})]
    missed.sort(key=lambda row: row["outcome"] != "MISSED")
    for title, rows in (("Targets, the missed ones first", missed),
                        ("Checks that failed", [row for row in outcomes(runs, "checks", {True: "ok", False: "FAILED"})
                                                if row["outcome"] == "FAILED"]),
                        ("Skipped", outcomes(runs, "skipped", {True: "skipped", False: "skipped"})),
                        ("Facts", outcomes(runs, "facts", {True: "", False: ""}))):
        lines += [f"## {title}", ""] + (table(rows) if rows else ["None."]) + [""]
    rows = against_torch(runs)
    lines += ["## Against PyTorch's pinned allocator", ""] + (table(rows) if rows else ["Not measured."]) + [""]
    lines += ["## Conformance", ""] + conformance(folder) + [""]
    for name, run in runs.items():
        lines += [f"## {name}: {run.get('title', '')}", "", f"Took {run.get('seconds', '?')} s."]
        for item in run.get("tables", []):
            lines += ["", f"### {item['name']}", "", item["note"] + ".", ""]
            lines += table(item["rows"]) if item["rows"] else ["No rows."]
        lines.append("")
    return "\n".join(lines)


def main(arguments):
    if len(arguments) != 2:
        print(__doc__.strip())
        return 2
    folder, into = map(pathlib.Path, arguments)
    runs = load(folder)
    commit = folder / "commit"
    facts = {
        "device": first(runs, "driver", "devices", 0, "name"), "driver": first(runs, "driver", "version"),
        "date": first(runs, "machine", "time"), "kernel": first(runs, "machine", "kernel"),
        "cpu": first(runs, "machine", "cpu"), "cpus": first(runs, "machine", "cpus"),
        "commit": commit.read_text().strip() if commit.exists() else "unknown",
        "double": any(run.get("double") for run in runs.values()),
        "quick": any(run.get("quick") for run in runs.values()),
    }
    if facts["double"] and into.resolve().parts[-2:] == ("docs", "measurements"):
        print("collect: results of the driver double are no measurements; name another folder", file=sys.stderr)
        return 1
    slug = re.sub(r"[^a-z0-9]+", "-", facts["device"].lower()).strip("-")
    name = f"{facts['date'][:10]}-{slug}-{facts['commit'].rstrip('+')}"
    into.mkdir(parents=True, exist_ok=True)
    (into / f"{name}.json").write_text(json.dumps({"facts": facts, "runs": runs}, indent=1) + "\n")
    (into / f"{name}.md").write_text(page(folder, runs, facts).rstrip() + "\n")
    print(f"collect: {into / name}.md and .json, {len(runs)} runs")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
