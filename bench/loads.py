"""One run: `tenon bench` (or, to check it, the bare load) against one server, and what both cost the machine."""

import json
import os
import resource
import subprocess
import time

from servers import Server, need_file, spawn, stop, text_of

BUSY_SHARE = 0.05  # of the machine's time, used by others during a run: the run is called disturbed


def machine_cpu_s(cores):
    """CPU time of everybody on these cores, the hypervisor's share (steal) included."""
    total = 0
    for line in text_of("/proc/stat").splitlines():
        name, *fields = line.split()
        if name in {f"cpu{core}" for core in cores}:
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
            total += user + nice + system + irq + softirq + steal
    return total / os.sysconf("SC_CLK_TCK")


def tenon_bench(server, settings):
    scenario = server.scenario
    keys = ["spin=1s" if scenario.spin else "spin=0"]
    if server.framed:
        keys.append(f"frame={scenario.frame}")
    if server.proto == "tls":
        keys.append("verify=off")
    command = [need_file(server.tools.tenon), "bench", server.url(*keys), "--json", "--mode", scenario.mode,
               "--conns", str(scenario.conns), "--duration", f"{settings.duration}s", "--warmup", f"{settings.warmup}s"]
    if scenario.mode == "request":
        command += ["--size", str(scenario.size), "--depth", str(scenario.depth), "--timeout", "200ms",
                    "--expect", "any" if scenario.proto == "udp" else "echo"]
    return command


def read_tenon_bench(out, settings):
    """Its last line is the result. What is kept of it: all but the seconds and the histograms."""
    result = json.loads(out.splitlines()[-1])
    latency, generator = result["latency_us"] or {}, result["generator"]
    return {"load": "tenon bench", "rate": result["rate"], "bytes_per_second": result["bytes_per_second"],
            "messages": result["messages"], "total": result["rate"] * (settings.warmup + settings.duration),
            "errors": result["errors"], "errors_by_kind": result["errors_by_kind"],
            "lost": result.get("datagrams", {}).get("lost", 0),
            "cpu": generator["cpu_s"] / max(result["duration_s"], 1e-9), "busy": generator["busy"],
            "p50_us": latency.get("p50"), "p90_us": latency.get("p90"), "p99_us": latency.get("p99"),
            "p999_us": latency.get("p99.9"), "max_us": latency.get("max")}


def bare_load(server, settings):
    scenario = server.scenario
    modes = {"connect": (["handshakes"], []), "resumed": (["handshakes"], ["--resume"])}
    before, behind = modes.get(scenario.mode, ([], []))
    command = [need_file(server.tools.load), *before, *server.target(), *behind, "--conns", str(scenario.conns),
               "--size", str(scenario.size), "--depth", str(scenario.depth), "--duration", str(settings.duration),
               "--warmup", str(settings.warmup)]
    if server.framed:
        command += ["--frame", scenario.frame]
    return command + (["--spin"] if scenario.spin else []) + (["--ack"] if scenario.proto == "udp" else [])


def measure_load(server, settings, load):
    """What the load tells of one run, and what the server and the rest of the machine used meanwhile."""
    cores = {server.tools.server_core, server.tools.client_core}
    bare = load == "bare"
    command = (bare_load if bare else tenon_bench)(server, settings)
    limit = settings.warmup + settings.duration + 90
    before, machine, began = server.cpu_s(), machine_cpu_s(cores), time.monotonic()
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    client = spawn(command, server.tools.client_core, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                   stderr=subprocess.PIPE, encoding="utf-8", errors="replace")
    try:
        out, err = client.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        return {"failed": f"the load did not end within {limit:.0f} s"}
    finally:
        if client.poll() is None:
            stop(client)
    wall = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    client_s = used.ru_utime + used.ru_stime - spent.ru_utime - spent.ru_stime
    server_s = server.cpu_s() - before
    foreign = (machine_cpu_s(cores) - machine - server_s - client_s) / (wall * len(cores))
    if not out.strip():
        return {"failed": err.strip() or f"the load ended with {client.returncode}"}
    run = dict(json.loads(out), load="bare") if bare else read_tenon_bench(out, settings)
    if not server.silent:  # those fork for each connection, and what a child used is gone with it
        run.update(server_cpu=server_s / wall, server_us=server_s * 1e6 / max(run["total"], 1),
                   foreign=max(foreign, 0.0))
    if run["errors"] or not run["messages"]:
        run["failed"] = (err.strip() or
                         f"{run['messages']} messages, {run['errors']} errors {run.get('errors_by_kind', '')}")
    return run


def measure_memory(server):
    """Resident memory with the connections open against the same server without them."""
    scenario = server.scenario
    time.sleep(0.3)
    idle = server.resident_bytes()
    with open(server.folder / "hold", "wb") as out:
        holder = spawn([need_file(server.tools.load), "hold", *server.target(), "--conns", str(scenario.conns)],
                       server.tools.client_core, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.PIPE)
    try:
        until = time.monotonic() + 60
        while "holding" not in text_of(server.folder / "hold"):
            if holder.poll() is not None:
                return {"failed": holder.stderr.read().decode(errors="replace").strip()}
            if time.monotonic() > until:
                return {"failed": "the connections were not open within 60 s"}
            time.sleep(0.05)
        time.sleep(0.5)
        held = server.resident_bytes()
    finally:
        holder.stdin.close()
        stop(holder)
    return {"idle_bytes": idle, "held_bytes": held, "bytes_per_conn": (held - idle) / scenario.conns}


def measure_once(tools, scenario, name, folder, settings):
    with Server(tools, scenario.loads or name, scenario, folder) as server:
        if scenario.kind == "memory":
            return measure_memory(server)
        return measure_load(server, settings,
                            name.removeprefix("load-") if scenario.loads else scenario.load or settings.load)


def measure_quietly(tools, scenario, name, folder, settings):
    """Repeats a run that others disturbed, and keeps the quietest. Only that decides, never the figure."""
    best = measure_once(tools, scenario, name, folder, settings)
    for _ in range(settings.patience):
        if best.get("foreign", 0) <= BUSY_SHARE:
            break
        again = measure_once(tools, scenario, name, folder, settings)
        if again.get("foreign", 1) < best["foreign"]:
            best = again
    return best
