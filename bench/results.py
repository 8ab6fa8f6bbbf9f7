"""Runs become medians, ratios, verdicts and tables; and what is known of the machine they were made on."""

import collections
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import time

from loads import BUSY_SHARE
from servers import PYTHON, text_of

FIGURES = ("p50_us", "p99_us", "server_cpu", "server_us", "cpu", "busy", "bytes_per_second", "lost", "foreign")


class Results:
    """All runs, and who was left out and why."""

    def __init__(self, note):
        self.runs = collections.defaultdict(lambda: collections.defaultdict(list))
        self.skipped = collections.defaultdict(dict)
        self.note = note

    def add(self, scenario, name, run):
        self.runs[scenario.name][name].append(run)

    def skip(self, scenario, name, why):
        self.skipped[scenario.name][name] = str(why)
        self.note(f"{scenario.name}: {name} is left out: {why}")

    def runs_of(self, scenario, name):
        return self.runs[scenario.name].get(name, [])

    def is_skipped(self, scenario, name):
        return name in self.skipped[scenario.name]

    def values(self, scenario, name):
        return [run[scenario.value] for run in self.runs_of(scenario, name) if "failed" not in run]

    def median(self, scenario, name):
        values = self.values(scenario, name)
        return statistics.median(values) if values else None

    def reference(self, scenario):
        """What the others are compared with: the named contender, or the bare loop with the best median."""
        if scenario.kind in ("memory", "growth"):
            return None
        if scenario.floor:
            return scenario.floor if self.values(scenario, scenario.floor) else None
        floors = [name for name in self.runs[scenario.name] if name.startswith("floor") and self.values(scenario, name)]
        return max(floors, key=lambda name: self.median(scenario, name), default=None)

    def ratio(self, scenario, name):
        """The median of the ratios of runs of the same round: what drifts between the rounds falls out."""
        reference = self.reference(scenario)
        if not reference:
            return None
        pairs = [(mine, theirs) for mine, theirs in zip(self.by_round(scenario, name),
                                                        self.by_round(scenario, reference))
                 if mine and theirs]
        return statistics.median(mine / theirs for mine, theirs in pairs) if pairs else None

    def by_round(self, scenario, name):
        """One value a round, None where it failed."""
        found = {run["round"]: run[scenario.value] for run in self.runs_of(scenario, name) if "failed" not in run}
        return [found.get(turn) for turn in range(1, max(found, default=0) + 1)]

    def summary(self, scenario, name):
        values, runs = self.values(scenario, name), self.runs_of(scenario, name)
        failures = [run["failed"] for run in runs if "failed" in run]
        line = {"contender": name, "unit": scenario.unit, "runs": len(runs), "failures": len(failures),
                "median": None, "min": None, "max": None, "ratio": None, "verdict": ""}
        if failures:
            line["failure"] = failures[0]
        if not values:
            line["verdict"] = "failed"
            return line
        line.update(median=statistics.median(values), min=min(values), max=max(values),
                    ratio=self.ratio(scenario, name))
        for key in FIGURES:
            found = [run[key] for run in runs if "failed" not in run and run.get(key) is not None]
            if found:
                line[key] = statistics.median(found)
        line["disturbed"] = sum(run.get("foreign", 0) > BUSY_SHARE for run in runs)
        line["verdict"] = self.verdict(scenario, name, line)
        return line

    def verdict(self, scenario, name, line):
        if line["failures"]:
            return f"{line['failures']} of {line['runs']} runs failed"
        if scenario.limit is None or name not in scenario.judged:
            return ""
        figure = line["median"] if scenario.kind in ("memory", "growth") else line["ratio"]
        if figure is None:
            return "nothing to compare with"
        good = figure <= scenario.limit if scenario.lower_is_better else figure >= scenario.limit
        return ("reached " if good else "MISSED ") + scenario.target()

    def summaries(self, scenario):
        return [self.summary(scenario, name) for name in scenario.contenders() if self.runs_of(scenario, name)]


# Tables


def show(number):
    if number is None:
        return "-"
    if abs(number) >= 1e6:
        return f"{number / 1e6:.3f}M"
    if abs(number) >= 1e4:
        return f"{number / 1e3:.1f}k"
    return f"{number:.0f}" if abs(number) >= 1000 else f"{number:.1f}" if abs(number) >= 10 else f"{number:.2f}"


HEAD = ("scenario", "contender", "median", "unit", "min..max", "ratio", "p50 us", "p99 us", "server cpu", "us/msg",
        "load busy", "verdict")


def remarks(scenario, line):
    """The verdict, and what makes a figure doubtful."""
    doubts = [f"{line['disturbed']} disturbed"] if line.get("disturbed") else []
    if (scenario.kind == "rate" and not scenario.loads and
            line.get("busy", 0) > 0.95 and line.get("server_cpu", 1) < 0.9):
        doubts.append("the load was the limit")
    return " ".join([line["verdict"]] * bool(line["verdict"]) + [f"({', '.join(doubts)})"] * bool(doubts))


def all_rows(results, scenarios):
    """Everything: a row for each contender of each scenario."""
    for scenario in scenarios:
        for first, line in zip([scenario.name] + [""] * 99, results.summaries(scenario)):
            busy = line.get("busy", line.get("cpu"))
            yield (first, line["contender"], show(line["median"]), line["unit"],
                   f"{show(line['min'])}..{show(line['max'])}", "" if line["ratio"] is None else f"{line['ratio']:.3f}",
                   show(line["p50_us"]) if "p50_us" in line else "", show(line["p99_us"]) if "p99_us" in line else "",
                   f"{line['server_cpu']:.0%}" if "server_cpu" in line else "",
                   f"{line['server_us']:.2f}" if "server_us" in line else "",
                   "" if busy is None else f"{busy:.0%}", remarks(scenario, line))


PEERS = ("libuv", "uvloop", "asyncio", "socat", "ncat", "nginx", "haproxy")


def summary_rows(results, scenarios):
    """A row for each scenario: tenon, the best bare loop, the others."""
    yield ("what one core serves", "unit", "tenon", "best bare loop", *PEERS)
    for scenario in scenarios:
        names = scenario.contenders()
        if scenario.loads or scenario.frame or not results.values(scenario, "tenon"):
            continue
        floors = [value for name in names if name.startswith("floor")
                  and (value := results.median(scenario, name)) is not None]
        best = (min if scenario.lower_is_better else max)(floors, default=None)
        yield (re.sub(r"[;(].*", "", scenario.about).strip(), scenario.unit,
               f"**{show(results.median(scenario, 'tenon'))}**", show(best),
               *[show(results.median(scenario, name)) if name in names else "" for name in PEERS])


def format_text(rows):
    rows = [HEAD, *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    left = {0, 1, 3, len(HEAD) - 1}
    lines = []
    for number, row in enumerate(rows):
        if number and row[0]:
            lines.append("")
        cells = [cell.ljust(width) if column in left else cell.rjust(width)
                 for column, (cell, width) in enumerate(zip(row, widths))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def format_markdown(rows):
    head, *body = rows
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *body])


def describe(facts):
    """The machine and the versions, as sentences."""
    programs = ", ".join(f"{name} {text}" for name, text in facts["versions"].items())
    return (f"{facts['cpu']}, {facts['cores']} cores, Linux {facts['kernel']}, {facts['when']}; "
            f"{facts['rounds']} rounds of {facts['duration_s']:g} s, medians. "
            f"Load before it began: {facts['load_average']:.1f}. {programs}.")


def report_markdown(results, scenarios, facts):
    return f"""# Measured

{describe(facts)}

{format_markdown(list(summary_rows(results, scenarios)))}

Rates are higher the better; times (`us`) and memory (`B`) the lower. `-`: not in this run, or failed; empty: does not
apply.

## Every contender

How to read it: [bench/README.md](../README.md).

{format_markdown([HEAD, *all_rows(results, scenarios)])}
"""


def document(results, scenarios, facts):
    """All of it for programs."""
    return dict(facts, scenarios=[
        {"name": scenario.name, "about": scenario.about, "kind": scenario.kind, "proto": scenario.proto,
         "mode": scenario.mode, "conns": scenario.conns, "size": scenario.size, "depth": scenario.depth,
         "client_spins": scenario.spin, "frame": scenario.frame, "target": scenario.target(),
         "reference": results.reference(scenario), "skipped": results.skipped[scenario.name],
         "summary": results.summaries(scenario), "runs": results.runs[scenario.name]} for scenario in scenarios])


# The machine


def first_line(command, pattern=r"\S.*"):
    """What a program says about its version; some say it on standard error, some exit with 1."""
    path = shutil.which(command[0], path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    try:
        done = subprocess.run([path or command[0], *command[1:]], capture_output=True, encoding="utf-8",
                              errors="replace", timeout=10, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(pattern, done.stdout + done.stderr, re.M)
    return found[found.lastindex or 0].strip() if found else None


def versions(tools):
    number = r"(\d+\.[\w.+-]+)"
    found = {
        "tenon": first_line([str(tools.tenon), "--version"], number),
        "libuv": first_line([str(tools.programs / "libuv_echo"), "--version"], number),
        "python": first_line([PYTHON, "--version"], number),
        "uvloop": first_line([PYTHON, "-c", "import uvloop; print(uvloop.__version__)"], r"^(\d\S*)$"),
        "openssl": first_line(["openssl", "version"], number),
        "socat": first_line(["socat", "-V"], rf"socat version {number}"),
        "ncat": first_line(["ncat", "--version"], rf"Version {number}"),
        "nginx": first_line(["nginx", "-v"], number),
        "haproxy": first_line(["haproxy", "-v"], number),
    }
    return {name: text for name, text in found.items() if text}


def cpu_model():
    found = re.search(r"^model name\s*:\s*(.+)$", text_of("/proc/cpuinfo"), re.M)
    return found[1] if found else platform.machine()


def sysctl(name):
    try:
        return text_of("/proc/sys/" + name.replace(".", "/")).strip()
    except OSError:
        return None


def gather_facts(tools, settings):
    return {"when": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "kernel": platform.release(), "cpu": cpu_model(),
            "cores": os.cpu_count(), "server_core": tools.server_core, "client_core": tools.client_core,
            "congestion": sysctl("net.ipv4.tcp_congestion_control"), "load_average": os.getloadavg()[0],
            "rounds": settings.rounds, "duration_s": settings.duration, "warmup_s": settings.warmup,
            "convert_mib": settings.convert_mib, "load": settings.load, "versions": versions(tools)}


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_json(path, results, scenarios, facts):
    write(path, json.dumps(document(results, scenarios, facts), indent=1) + "\n")
