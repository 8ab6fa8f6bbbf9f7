#!/usr/bin/env python3
"""Measures tenon beside bare loops and its peers with `tenon bench`: server on one core, load on another, interleaved.

README.md in this folder says what is measured and how the table is read.
"""

import argparse
import os
import pathlib
import re
import resource
import signal
import sys
import tempfile

import loads
import programs
import results as told
from scenarios import SCENARIOS, TIMED_RUNS
from servers import HERE, Absent, Server, Tools

QUIET = False


def note(text):
    if not QUIET:
        print(text, file=sys.stderr, flush=True)


def parse_settings():
    parser = argparse.ArgumentParser(description="Measure tenon beside bare loops and peers.")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of every contender (5)")
    parser.add_argument("--duration", type=float, default=2.0, help="seconds that count in each run (2)")
    parser.add_argument("--warmup", type=float, default=0.4, help="seconds before that (0.4)")
    parser.add_argument("--patience", type=int, default=2, help="times a run disturbed by others is repeated (2)")
    parser.add_argument("--convert-mib", type=int, default=64, help="size of the file that is converted, MiB (64)")
    parser.add_argument("--load", choices=["tenon", "bare"], default="tenon",
                        help="what loads the servers: tenon bench or, to see whether it makes a difference, the bare "
                             "load")
    parser.add_argument("--only", metavar="REGEX", default="", help="only the scenarios this matches")
    parser.add_argument("--contenders", metavar="REGEX", default="", help="only the contenders this matches")
    parser.add_argument("--list", action="store_true", help="list scenarios and contenders and stop")
    parser.add_argument("--json", metavar="FILE", type=pathlib.Path, help="where all runs are written")
    parser.add_argument("--markdown", metavar="FILE", type=pathlib.Path, help="write the tables as Markdown too")
    parser.add_argument("--publish", action="store_true",
                        help="write them to results/README.md and results/published.json, which are kept")
    parser.add_argument("--build", metavar="DIR", type=pathlib.Path, default=HERE.parent / "build-bench",
                        help="build folder (build-bench)")
    parser.add_argument("--before", metavar="FILE", type=pathlib.Path,
                        help="an earlier build of the command: measures nothing but the two, in turns, and their ratio")
    parser.add_argument("--tenon", metavar="FILE", type=pathlib.Path, help="the command (tenon in the build folder)")
    parser.add_argument("--quiet", action="store_true", help="no progress lines")
    settings = parser.parse_args()
    if settings.rounds < 1 or settings.duration <= 0 or settings.warmup < 0 or settings.convert_mib < 1:
        parser.error("--rounds, --duration and --convert-mib must be positive")
    return settings


def list_scenarios(scenarios):
    for scenario in scenarios:
        print(f"{scenario.name:22} {scenario.about}{'; target ' + scenario.target() if scenario.limit else ''}")
        print(f"{'':22} {' '.join(scenario.contenders())}")


def warn_about_machine(tools):
    if tools.server_core == tools.client_core:
        note("warning: one core only: server and client share it, the ratios mean little")
    if os.getloadavg()[0] > 0.5:
        note(f"warning: the machine is busy (load {os.getloadavg()[0]:.1f}): do not trust these figures")


def allow_descriptors(scenarios):
    """Children inherit the limit. Fewer descriptors than connections: fewer connections, and it is said."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for scenario in scenarios:
        if hard != resource.RLIM_INFINITY and scenario.conns > hard - 100:
            note(f"{scenario.name}: {hard} descriptors are allowed, so {hard - 100} connections instead of "
                 f"{scenario.conns}")
            scenario.conns = hard - 100


def take_turns(scenario, names, rounds, results, measure):
    """Round after round, each contender once in each, every round begun by another one."""
    for turn in range(rounds):
        shift = turn % max(len(names), 1)
        for name in names[shift:] + names[:shift]:
            if results.is_skipped(scenario, name):
                continue
            try:
                run = dict(measure(name), round=turn + 1)
            except Absent as why:
                results.skip(scenario, name, why)
                continue
            results.add(scenario, name, run)
            note(f"{scenario.name} {turn + 1}/{rounds} {name}: {run.get('failed') or told.show(run[scenario.value])}")


def run_conversions(conversions, scenario, names, rounds, results):
    for name in names:
        try:
            conversions.check(name)
        except Absent as why:
            results.skip(scenario, name, why)
    take_turns(scenario, names, 1 if scenario.kind == "growth" else rounds, results,
               lambda name: conversions.measure(scenario, name))


def run_scenario(tools, scenario, settings, folder, conversions, results):
    names = [name for name in scenario.contenders() if re.search(settings.contenders, name)]
    if scenario.kind in ("convert", "growth"):
        run_conversions(conversions, scenario, names, settings.rounds, results)
    elif scenario.kind == "fanout":
        take_turns(scenario, names, settings.rounds, results,
                   lambda name: programs.measure_fanout(tools, name, scenario))
    elif scenario.kind == "threads":
        take_turns(scenario, names, settings.rounds, results, lambda name: programs.measure_threads(tools, name))
    elif scenario.kind in ("sent", "received"):
        take_turns(scenario, names, settings.rounds, results,
                   lambda name: programs.measure_oneway(tools, name, scenario, settings))
    elif scenario.kind == "time":
        with Server(tools, "tenon" if tools.tenon.exists() else "floor-epoll", scenario, folder) as server:
            take_turns(scenario, names, TIMED_RUNS, results,
                       lambda name: programs.measure_send(tools, name, server.where, folder))
    else:
        rounds = min(settings.rounds, 3) if scenario.kind == "memory" else settings.rounds
        take_turns(scenario, names, rounds, results,
                   lambda name: programs.measure_ring(tools, scenario, settings) if name == "floor-ring" else
                   loads.measure_quietly(tools, scenario, name, folder, settings))


def run_all(tools, scenarios, settings, results):
    with tempfile.TemporaryDirectory(prefix="tenon-bench-") as path:
        folder = pathlib.Path(path)
        conversions = programs.Conversions(tools, folder, settings.convert_mib << 20)
        for scenario in scenarios:
            try:
                run_scenario(tools, scenario, settings, folder, conversions, results)
            except Absent as why:
                note(f"{scenario.name} is left out: {why}")


def report(scenarios, settings, results, facts):
    print(told.format_text(told.all_rows(results, scenarios)))
    partial = settings.only or settings.contenders or settings.before
    path = settings.json or HERE / "results" / ("partial.json" if partial else "latest.json")
    told.write_json(path, results, scenarios, facts)
    if settings.markdown:
        told.write(settings.markdown, told.report_markdown(results, scenarios, facts))
    if settings.publish:
        told.write_json(HERE / "results" / "published.json", results, scenarios, facts)
        told.write(HERE / "results" / "README.md", told.report_markdown(results, scenarios, facts))
    note(f"all runs: {os.path.relpath(path)}")


def main():
    global QUIET
    settings = parse_settings()
    QUIET = settings.quiet
    scenarios = [scenario for scenario in SCENARIOS if re.search(settings.only, scenario.name)]
    if not scenarios:
        sys.exit(f"no scenario matches {settings.only!r}; --list shows them")
    if settings.before:
        scenarios = [scenario for scenario in scenarios if scenario.beside_before()]
    if settings.list:
        list_scenarios(scenarios)
        return 0
    tools = Tools(settings.build.resolve(), (settings.tenon or settings.build / "tenon").resolve(),
                  settings.before and settings.before.resolve())
    if not tools.tenon.exists():
        sys.exit(f"{os.path.relpath(tools.tenon)} is not built: `make bench` builds and runs everything")
    warn_about_machine(tools)
    allow_descriptors(scenarios)
    facts, results = told.gather_facts(tools, settings), told.Results(note)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # either way the servers are stopped
    try:
        run_all(tools, scenarios, settings, results)
    except KeyboardInterrupt:
        note("stopped: the table shows what was measured until now")
    finally:  # what has been measured is not lost by a failure of what comes after it
        report(scenarios, settings, results, facts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
