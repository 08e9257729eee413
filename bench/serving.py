#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""takt beside NVIDIA's Triton: the same requests, by turns, on this machine.

Starts the peer (see --peer) with its native backend and `takt serve` with the same models, in thread
and in process isolation, drives them with wrk and h2load at 1, 8 and 64 connections and writes
bench/results/serving-DATE.json. Only worth something on an idle machine.
"""

import argparse
import json
import os
import re
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tritonclient.grpc import service_pb2 as messages

from _results import ROOT, Goals

CONNECTIONS = (1, 8, 64)
JUDGED = 8  # connections
LARGE_ELEMENTS = 150_528  # FP32: 588 KiB
LOAD_ROUNDS = 3  # times as many at one load: of all figures a p99 varies most
OFFERED_SHARE = 0.6  # of what the slowest server took, for the latencies at one load
TICKS = os.sysconf("SC_CLK_TCK")
SERVERS = ("triton", "takt", "takt-process")

WRK = """
wrk.method = "POST"
local file = io.open(os.getenv("SERVING_BODY"), "rb"); wrk.body = file:read("*a"); file:close()
wrk.headers["Content-Type"] = os.getenv("SERVING_TYPE")
local json = os.getenv("SERVING_JSON_BYTES")
if json ~= "" then wrk.headers["Inference-Header-Content-Length"] = json end
done = function(summary, latency)
  io.write(string.format("SERVING %d %d %d %f %f\\n", summary.requests, summary.duration,
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write
    + summary.errors.timeout, latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass
class Payload:
    name: str
    protocol: str  # http, grpc
    model: str
    body: Path
    content_type: str = ""
    json_bytes: str = ""

    def path(self, server):
        if self.protocol == "grpc":
            return "/inference.GRPCInferenceService/ModelInfer"
        return f"/v2/models/{self.model + server.suffix}/infer"


@dataclass
class Server:
    name: str
    process: subprocess.Popen | None
    pid: int
    http: str
    grpc: str
    suffix: str = ""  # of model names

    def cpu_seconds(self):
        """Of its process and all below."""
        children: dict[int, list[int]] = {}
        used = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
            used[int(entry.name)] = (int(fields[11]) + int(fields[12])) / TICKS
        total, waiting = 0.0, [self.pid]
        while waiting:
            pid = waiting.pop()
            total += used.get(pid, 0)
            waiting += children.get(pid, [])
        return total


@dataclass
class Run:
    per_second: float
    p50_us: float
    p99_us: float
    cpu_us: float  # of the server, a request
    errors: int


@dataclass
class Row:
    payload: Payload
    connections: int
    runs: dict[str, list[Run]] = field(default_factory=dict)

    def median(self, server, what):
        return statistics.median(getattr(run, what) for run in self.runs[server])


def arrays(kind):
    if kind == "simple":
        return {"INPUT0": np.arange(16, dtype=np.int32).reshape(1, 16),
                "INPUT1": np.ones((1, 16), dtype=np.int32)}
    return {"INPUT0": (np.arange(LARGE_ELEMENTS) % 1000).astype(np.float32)}


def datatype(array):
    return {"int32": "INT32", "float32": "FP32"}[str(array.dtype)]


def make_payloads(folder, suffix):
    payloads = []
    for kind, model in (("simple", "simple"), ("identity", "identity_fp32")):
        tensors = arrays(kind)
        outputs = ["OUTPUT0", "OUTPUT1"] if kind == "simple" else ["OUTPUT0"]

        def save(form, content, kind=kind):
            path = folder / f"{kind}{suffix}.{form}"
            path.write_bytes(content)
            return path

        as_json = json.dumps({"inputs": [
            {"name": name, "shape": list(array.shape), "datatype": datatype(array),
             "data": array.ravel().tolist()} for name, array in tensors.items()]},
            separators=(",", ":")).encode()
        payloads.append(Payload(f"{kind} JSON", "http", model, save("json", as_json),
                                "application/json"))
        head = json.dumps({"inputs": [
            {"name": name, "shape": list(array.shape), "datatype": datatype(array),
             "parameters": {"binary_data_size": array.nbytes}} for name, array in tensors.items()],
            "outputs": [{"name": name, "parameters": {"binary_data": True}} for name in outputs]},
            separators=(",", ":")).encode()
        binary = head + b"".join(array.tobytes() for array in tensors.values())
        payloads.append(Payload(f"{kind} binary", "http", model, save("binary", binary),
                                "application/octet-stream", str(len(head))))
        request = messages.ModelInferRequest(model_name=model + suffix)
        for name, array in tensors.items():
            request.inputs.add(name=name, datatype=datatype(array), shape=array.shape)
            request.raw_input_contents.append(array.tobytes())
        for name in outputs:
            request.outputs.add(name=name)
        wire = request.SerializeToString()
        payloads.append(Payload(f"{kind} gRPC", "grpc", model,
                                save("grpc", b"\0" + struct.pack(">I", len(wire)) + wire)))
    return {payload.name: payload for payload in payloads}


def start_takt(folder, isolation):
    models = folder / "models"
    if not models.exists():
        subprocess.run([sys.executable, ROOT / "tests/models/make_triton_models.py", models],
                       check=True, stdout=subprocess.DEVNULL)
    config = folder / f"takt-{isolation}.yaml"
    config.write_text(
        f"models: {{repository: {models}, cache: {folder / 'cache'}}}\n"
        "server:\n"
        f"  isolation: {isolation}\n"
        "  models: [simple, identity_fp32]\n"
        "  http: {port: 0}\n  grpc: {port: 0}\n  metrics: {enabled: false}\n", encoding="utf-8")
    log = folder / f"takt-{isolation}.log"
    with log.open("w", encoding="utf-8") as out:
        process = subprocess.Popen([ROOT / "build/takt", "serve", config], stdout=out,
                                   stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                   env={**os.environ, "HOME": str(folder)})
    until = time.monotonic() + 120
    while "serving;" not in log.read_text(encoding="utf-8"):
        if process.poll() is not None or time.monotonic() > until:
            sys.exit(f"serving: takt does not serve:\n{log.read_text(encoding='utf-8')}")
        time.sleep(0.05)
    places = dict(re.findall(r"^takt: (http|grpc): (?:\w+://)?(\S+)$", log.read_text(encoding="utf-8"),
                             re.MULTILINE))
    name = "takt" if isolation == "thread" else "takt-process"
    return Server(name, process, process.pid, places["http"], places["grpc"])


def start_triton(script, folder):
    ports = ("18700", "18701", "18702")
    environment = {**os.environ, "PEER_DIR": str(folder)}
    for step in ("setup", "start"):
        subprocess.run(["bash", script, step, *ports], check=True, env=environment,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return Server("triton", None, int((folder / "pid").read_text()), f"127.0.0.1:{ports[0]}",
                  f"127.0.0.1:{ports[1]}", suffix="_native")


def stop(server, script, folder):
    if server.process is None:
        subprocess.run(["bash", script, "stop"], env={**os.environ, "PEER_DIR": str(folder)},
                       stdin=subprocess.DEVNULL, check=False)
        return
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(timeout=60)


def run_wrk(server, payload, connections, seconds, script):
    before = server.cpu_seconds()
    done = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", script,
         f"http://{server.http}{payload.path(server)}"], capture_output=True, text=True,
        timeout=seconds + 60, stdin=subprocess.DEVNULL,
        env={**os.environ, "SERVING_BODY": str(payload.body), "SERVING_TYPE": payload.content_type,
             "SERVING_JSON_BYTES": payload.json_bytes})
    cpu = server.cpu_seconds() - before
    found = re.search(r"^SERVING (.*)$", done.stdout, re.MULTILINE)
    if not found:
        sys.exit(f"serving: wrk failed:\n{done.stdout}{done.stderr}")
    requests, micros, errors, p50, p99 = map(float, found[1].split())
    requests = max(requests, 1)
    return Run(requests / micros * 1e6, p50, p99, cpu / requests * 1e6, int(errors))


def run_h2load(server, payload, connections, requests, folder, rate=None):
    """By count, because ending by time cuts requests short; `rate` is of all connections."""
    log = folder / "h2load.log"
    log.unlink(missing_ok=True)
    command = ["h2load", "-t1", f"-c{connections}", "-m1", f"-n{requests}", f"-d{payload.body}",
               f"--log-file={log}"]
    if rate:
        command.append(f"--rps={rate / connections:.3f}")
    if payload.protocol == "grpc":
        command += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
        address = server.grpc
    else:
        command += ["--h1", "-H", f"Content-Type: {payload.content_type}"]
        if payload.json_bytes:
            command += ["-H", f"Inference-Header-Content-Length: {payload.json_bytes}"]
        address = server.http
    before = server.cpu_seconds()
    done = subprocess.run([*command, f"http://{address}{payload.path(server)}"],
                          capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)
    cpu = server.cpu_seconds() - before
    if not log.exists() or not log.stat().st_size:
        sys.exit(f"serving: h2load failed:\n{done.stdout}{done.stderr}")
    times = np.loadtxt(log, dtype=np.int64, ndmin=2)
    good = times[times[:, 1] == 200]
    span = (times[:, 0] + times[:, 2]).max() - times[:, 0].min()
    return Run(len(good) / span * 1e6, float(np.percentile(good[:, 2], 50)),
               float(np.percentile(good[:, 2], 99)), cpu / len(times) * 1e6,
               requests - len(good))


class Bench:
    def __init__(self, servers, payloads, folder, seconds):
        self.servers, self.payloads = servers, payloads
        self.folder, self.seconds = folder, seconds
        self.script = folder / "serving.lua"
        self.script.write_text(WRK)

    def once(self, server, name, connections):
        payload = self.payloads[server.suffix][name]
        if payload.protocol == "http":
            return run_wrk(server, payload, connections, self.seconds, self.script)
        probe = run_h2load(server, payload, connections, 200, self.folder)
        requests = max(200, int(probe.per_second * self.seconds))
        return run_h2load(server, payload, connections, requests, self.folder)

    def row(self, name, connections, rounds):
        row = Row(self.payloads[""][name], connections, {s.name: [] for s in self.servers})
        for round_ in range(rounds + 1):  # the first warms up
            for server in self.servers:
                run = self.once(server, name, connections)
                if round_:
                    row.runs[server.name].append(run)
        return row

    def at_one_load(self, name, rate, rounds):
        """Latencies at the same offered load."""
        row = Row(self.payloads[""][name], JUDGED, {s.name: [] for s in self.servers})
        for _ in range(rounds):
            for server in self.servers:
                payload = self.payloads[server.suffix][name]
                row.runs[server.name].append(run_h2load(
                    server, payload, JUDGED, max(200, int(rate * self.seconds)), self.folder, rate))
        return row


def show(row, what=""):
    label = f"{row.payload.name}, {row.connections} connections{what}"
    for server in row.runs:
        runs = row.runs[server]
        low, high = min(r.per_second for r in runs), max(r.per_second for r in runs)
        print(f"{label:<38} {server:<13} {row.median(server, 'per_second'):9.0f}/s "
              f"[{low:.0f}, {high:.0f}]  p50 {row.median(server, 'p50_us'):7.0f} us  "
              f"p99 {row.median(server, 'p99_us'):8.0f} us  "
              f"CPU {row.median(server, 'cpu_us'):6.1f} us  "
              f"errors {sum(r.errors for r in runs)}", flush=True)


def judge(goals, rows, loads):
    def ratio(name, what):
        row = rows[name, JUDGED]
        return row.median("takt", what) / row.median("triton", what)

    for name, cpu_max, rate_min in (("simple JSON", 0.5, 1.45), ("simple binary", 0.5, 1.45),
                                    ("simple gRPC", 0.8, 1.15), ("identity binary", 0.8, None),
                                    ("identity gRPC", 0.8, None)):
        if (name, JUDGED) not in rows:
            continue
        cpu = ratio(name, "cpu_us")
        goals.judge(f"{name} CPU", cpu <= cpu_max,
                    f"{name}: {cpu:.2f} of Triton's CPU a request; goal {cpu_max}")
        if rate_min:
            rate = ratio(name, "per_second")
            goals.judge(f"{name} rate", rate >= rate_min,
                        f"{name}: {rate:.2f} of Triton's requests/s; goal {rate_min}")
    for row in loads:
        takt, triton = row.median("takt", "p99_us"), row.median("triton", "p99_us")
        goals.judge(f"{row.payload.name} p99", takt <= triton,
                    f"{row.payload.name}: p99 {takt:.0f} us, Triton's {triton:.0f} us at one load")
    errors = sum(run.errors for row in rows.values() for name in ("takt", "takt-process")
                 for run in row.runs.get(name, []))
    goals.judge("errors", errors == 0, f"{errors} requests to takt failed")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", type=Path, default=ROOT.parent / "shared/peers/triton/triton_peer.sh")
    parser.add_argument("--seconds", type=int, default=3, help="a run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, nargs="*", default=list(CONNECTIONS))
    parser.add_argument("--payloads", nargs="*", help='such as "simple JSON"')
    options = parser.parse_args()
    for tool in ("wrk", "h2load"):
        if not shutil.which(tool):
            sys.exit(f"serving: {tool} is not there; apt-get install wrk nghttp2-client")
    goals = Goals("serving")
    peer_folder = Path(tempfile.gettempdir()) / "triton_peer"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        servers = []
        try:
            servers.append(start_triton(options.peer, peer_folder))
            servers += [start_takt(folder, isolation) for isolation in ("thread", "process")]
            payloads = {suffix: make_payloads(folder, suffix) for suffix in ("", "_native")}
            bench = Bench(servers, payloads, folder, options.seconds)
            rows = {}
            for payload in options.payloads or payloads[""]:
                for connections in options.connections:
                    rows[payload, connections] = bench.row(payload, connections, options.rounds)
                    show(rows[payload, connections])
            loads = []
            for payload in ("simple JSON", "simple gRPC", "identity binary"):
                if (payload, JUDGED) not in rows:
                    continue
                slowest = min(rows[payload, JUDGED].median(s.name, "per_second") for s in servers)
                loads.append(bench.at_one_load(payload, OFFERED_SHARE * slowest,
                                                LOAD_ROUNDS * options.rounds))
                show(loads[-1], f", {OFFERED_SHARE * slowest:.0f}/s")
        finally:
            for server in servers:
                stop(server, options.peer, peer_folder)
    judge(goals, rows, loads)
    return goals.finish({
        "peer": "Triton 2.51.0, native backend",
        "rows": [{"payload": row.payload.name, "connections": row.connections,
                  "runs": {s: [vars(r) for r in runs] for s, runs in row.runs.items()}}
                 for row in rows.values()],
        "at_one_load": [{"payload": row.payload.name,
                         "runs": {s: [vars(r) for r in runs] for s, runs in row.runs.items()}}
                        for row in loads]})


if __name__ == "__main__":
    sys.exit(main())
