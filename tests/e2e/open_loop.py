#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Requests at their times, whatever becomes of those before: an open loop over HTTP or gRPC.

Runs as a process of its own, one a protocol:

    open_loop.py http|grpc PLACE PLAN_JSON

with the plan's fields; prints a line of JSON: [flow, due, sent, done, status, shed] for each request,
in seconds of CLOCK_MONOTONIC. `status` is 200, 503 and so on, for both protocols; 0 is no answer; a 503
without Retry-After is -503. `shed`: it was accepted, and gave way to a more urgent one.
"""

import json
import random
import select
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field

ANSWER_S = 30  # how long it waits for the last ones
STEP_S = 0.0002  # how often it looks for answers while nothing is due
GAVE_WAY = "gave way to a more urgent request"
HTTP_OF = {"OK": 200, "RESOURCE_EXHAUSTED": 503, "DEADLINE_EXCEEDED": 504, "UNAVAILABLE": 503,
           "INVALID_ARGUMENT": 400}


@dataclass
class Flow:
    """A Poisson process of requests that are all alike."""
    name: str
    per_second: float
    parameters: dict = field(default_factory=dict)  # of the request: priority, timeout


@dataclass
class Plan:
    model: str
    flows: list[Flow]
    start: float  # of CLOCK_MONOTONIC
    seconds: float
    seed: int = 1

    def arrivals(self):
        """(due, flow's index), in order."""
        draw = random.Random(self.seed)
        due = []
        for index, flow in enumerate(self.flows):
            at = draw.expovariate(flow.per_second)
            while at < self.seconds:
                due.append((self.start + at, index))
                at += draw.expovariate(flow.per_second)
        return sorted(due)


@dataclass
class Sample:
    flow: str
    due: float
    sent: float
    done: float
    status: int
    shed: bool

    @property
    def took(self):
        """By the server's fault: a request that was sent late hasn't waited for it."""
        return self.done - self.sent


# HTTP --------------------------------------------------------------------------------------------

def http_request(plan, flow):
    tensors = [{"name": name, "datatype": "INT32", "shape": [1, 16], "data": [1] * 16}
               for name in ("INPUT0", "INPUT1")]
    body = json.dumps({"inputs": tensors, "parameters": flow.parameters},
                      separators=(",", ":")).encode()
    return (f"POST /v2/models/{plan.model}/infer HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Length: {len(body)}\r\n\r\n").encode() + body


class HttpClients:
    """As many kept-alive connections as requests are on their way at once."""

    def __init__(self, place):
        host, port = place.rsplit(":", 1)
        self.address = (host, int(port))
        self.epoll = select.epoll()
        self.idle = []
        self.busy = {}  # descriptor -> [socket, what was received, sample]

    def send(self, content, sample):
        opened = self.idle.pop() if self.idle else self.connect()
        self.busy[opened.fileno()] = [opened, b"", sample]
        opened.sendall(content)

    def connect(self):
        opened = socket.create_connection(self.address)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.epoll.register(opened.fileno(), select.EPOLLIN)
        return opened

    def receive(self):
        for descriptor, _ in self.epoll.poll(0):
            entry = self.busy.get(descriptor)
            if entry is None:  # closed while it was idle
                gone = [one for one in self.idle if one.fileno() == descriptor]
                self.idle = [one for one in self.idle if one not in gone]
                self.drop(gone[0])
                continue
            opened, received, sample = entry
            piece = opened.recv(65536)
            entry[1] = received + piece
            status = status_of(entry[1])
            if status is None and piece:
                continue
            del self.busy[descriptor]
            sample[3:] = time.monotonic(), status or 0, GAVE_WAY.encode() in entry[1]
            if piece:
                self.idle.append(opened)
            else:
                self.drop(opened)

    def drop(self, opened):
        self.epoll.unregister(opened.fileno())
        opened.close()


def status_of(received):
    """None: not all is there."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = received[:end].lower()
    length = int(head.split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
    if len(received) < end + 4 + length:
        return None
    status = int(received[9:12])
    return -status if status == 503 and b"\r\nretry-after: " not in head else status


def run_http(place, plan):
    clients = HttpClients(place)
    requests = [http_request(plan, flow) for flow in plan.flows]
    samples = []

    def send(due, index):
        samples.append([plan.flows[index].name, due, time.monotonic(), 0.0, 0, False])
        clients.send(requests[index], samples[-1])
    pace(plan, send, clients.receive)
    until = time.monotonic() + ANSWER_S
    while clients.busy and time.monotonic() < until:
        clients.receive()
        time.sleep(STEP_S)
    return samples


def pace(plan, send, meanwhile):
    for due, index in plan.arrivals():
        while (left := due - time.monotonic()) > 0:
            meanwhile()
            time.sleep(min(left, STEP_S))
        send(due, index)
        meanwhile()


# gRPC --------------------------------------------------------------------------------------------

def run_grpc(place, plan):
    import grpc
    from tritonclient.grpc import service_pb2_grpc as services

    import oip
    messages = []
    for flow in plan.flows:
        request = oip.simple()
        request.model, request.parameters = plan.model, flow.parameters
        messages.append(oip.grpc_message(request))
    samples, calls = [], []
    with grpc.insecure_channel(place) as channel:
        stub = services.GRPCInferenceServiceStub(channel)

        def send(due, index):
            sample = [plan.flows[index].name, due, time.monotonic(), 0.0, 0, False]
            samples.append(sample)
            call = stub.ModelInfer.future(messages[index], timeout=ANSWER_S)

            def note(done, sample=sample):
                sample[3:] = (time.monotonic(), HTTP_OF.get(done.code().name, 500),
                              GAVE_WAY in (done.details() or ""))
            call.add_done_callback(note)
            calls.append(call)
        pace(plan, send, lambda: None)
        until = time.monotonic() + ANSWER_S
        while any(not sample[4] for sample in samples) and time.monotonic() < until:
            time.sleep(0.01)
    return samples


# Elsewhere ---------------------------------------------------------------------------------------

def start(protocol, place, plan):
    return subprocess.Popen([sys.executable, __file__, protocol, place, json.dumps(asdict(plan))],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)


def finish(process, timeout_s):
    out, _ = process.communicate(timeout=timeout_s)
    assert process.returncode == 0, "the load could not be generated"
    return [Sample(*sample) for sample in json.loads(out)]


def main():
    protocol, place, text = sys.argv[1:]
    fields = json.loads(text)
    plan = Plan(**(fields | {"flows": [Flow(**flow) for flow in fields["flows"]]}))
    json.dump((run_http if protocol == "http" else run_grpc)(place, plan), sys.stdout)


if __name__ == "__main__":
    main()
