"""One run: `tenon bench` (or, to check it, the bare load) against one server, and what both cost the machine."""

import csv
import json
import os
import resource
import subprocess
import time

from servers import HERE, Server, need_command, need_file, spawn, stop, text_of

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
    if scenario.deflate:
        keys.append("deflate=on")
    if scenario.joined:
        keys += ["gso=on", "gro=on"]
    if server.proto == "tls":
        keys.append("verify=off")
    command = [need_file(server.tools.tenon), "bench", server.url(*keys), "--json", "--mode", scenario.mode,
               "--conns", str(scenario.conns), "--duration", f"{settings.duration}s", "--warmup", f"{settings.warmup}s"]
    if scenario.mode == "request":
        command += ["--payload", str(HERE / "peers" / scenario.payload)] if scenario.payload else \
            ["--size", str(scenario.size)]
        # A datagram is lost after that; at the end of a run a slow server still has all its replies to give
        command += ["--depth", str(scenario.depth), "--timeout", "200ms" if scenario.proto == "udp" else "5s",
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
    command = [need_file(server.tools.load), *before, *server.bare_target(), *behind, "--conns", str(scenario.conns),
               "--size", str(scenario.size), "--depth", str(scenario.depth), "--duration", str(settings.duration),
               "--warmup", str(settings.warmup)]
    if server.framed:
        command += ["--frame", scenario.frame]
    return command + (["--spin"] if scenario.spin else []) + (["--ack"] if scenario.proto == "udp" else [])


def redis_benchmark(server, settings):
    scenario = server.scenario
    return [need_command("redis-benchmark"), "-h", "127.0.0.1", "-p", server.where, "-t", scenario.mode, "--csv",
            "-P", str(scenario.depth), "-c", str(scenario.conns), "-d", str(scenario.size),
            "-n", str(redis_requests(settings))]


def redis_requests(settings):
    """It counts requests, not seconds."""
    return int(400_000 * settings.duration)


def read_redis_benchmark(out, settings):
    row = next(csv.DictReader(out.splitlines()))
    count = redis_requests(settings)
    return {"load": "redis-benchmark", "rate": float(row["rps"]), "messages": count, "total": count, "errors": 0,
            "lost": 0, **{f"{name}_us": float(row[f"{name}_latency_ms"]) * 1000 for name in ("p50", "p99", "max")}}


def nats_load(server, settings):
    """conns: subscribers of each topic; depth: topics, each with one publisher."""
    scenario = server.scenario
    return [need_file(server.tools.programs / "nats_load"), server.where, str(scenario.depth), str(scenario.conns),
            str(scenario.size), str(settings.duration), str(settings.warmup)]


def nats_requests(server, settings):
    """conns: clients, of which each asks one thing at a time."""
    scenario = server.scenario
    return [need_file(server.tools.programs / "nats_load"), server.where, "requests", str(scenario.conns),
            str(scenario.size), str(settings.duration), str(settings.warmup)]


SATURATED = {}  # deliveries a second that nats-server carried, of a scenario


def nats_paced(server, settings):
    """0.7 of the most deliveries that nats-server carries, which is measured first, once for all contenders."""
    name = server.scenario.name
    if name not in SATURATED:
        folder = server.folder / "saturated"
        folder.mkdir(exist_ok=True)
        with Server(server.tools, "nats-server", server.scenario, folder) as judge:
            SATURATED[name] = measure_load(judge, settings, "nats").get("rate", 0)
    if not SATURATED[name]:
        raise RuntimeError("what nats-server carries could not be measured")
    return [*nats_load(server, settings), str(0.7 * SATURATED[name])]


# What makes its command, and what reads its last words
LOADS = {
    "tenon": (tenon_bench, read_tenon_bench),
    "bare": (bare_load, lambda out, settings: dict(json.loads(out), load="bare")),
    "nats": (nats_load, lambda out, settings: dict(json.loads(out), load="nats")),
    "nats-requests": (nats_requests, lambda out, settings: dict(json.loads(out), load="nats")),
    "nats-paced": (nats_paced, lambda out, settings: dict(json.loads(out), load="nats")),
    "redis-benchmark": (redis_benchmark, read_redis_benchmark),
}


def measure_load(server, settings, load):
    """What the load tells of one run, and what the server and the rest of the machine used meanwhile."""
    cores = {server.tools.server_core, server.tools.client_core}
    command_of, read = LOADS[load]
    command = command_of(server, settings)
    limit = settings.warmup + settings.duration + 90
    before, target, machine, began = server.cpu_s(), server.target_cpu_s(), machine_cpu_s(cores), time.monotonic()
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
    server_s, target_s = server.cpu_s() - before, server.target_cpu_s() - target
    foreign = (machine_cpu_s(cores) - machine - server_s - target_s - client_s) / (wall * len(cores))
    if not out.strip():
        return {"failed": err.strip() or f"the load ended with {client.returncode}"}
    run = read(out, settings)
    if not server.forks:
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
        holder = spawn([need_file(server.tools.load), "hold", *server.bare_target(), "--conns", str(scenario.conns),
                        *["--deflate"] * scenario.deflate],
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
