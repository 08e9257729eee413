# SPDX-License-Identifier: Apache-2.0
"""Clients that misbehave, by kind: each function is that many of them, and says what the server owes
them. None of them waits longer than WAIT_S."""

import json
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import numpy as np
import tritonclient.http as client
import tritonclient.utils.shared_memory as shm

import oip

WAIT_S = 60
LARGE = 1 << 20  # bytes of a tensor that fills every socket's buffer
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def connect(place, receive_bytes=0):
    """Buffers are small before the connection is there, so that large answers wait."""
    host, port = place.rsplit(":", 1)
    opened = socket.socket()
    opened.settimeout(WAIT_S)
    if receive_bytes:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    opened.connect((host, int(port)))
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened


def request_bytes(model="simple", body=None, headers=""):
    body = body if body is not None else json.dumps(oip.json_body(oip.simple())).encode()
    return (f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: localhost\r\n{headers}"
            f"Content-Length: {len(body)}\r\n\r\n").encode() + body


def large_request():
    """Answered with as many bytes as it brings."""
    text = json.dumps({"parameters": {"binary_data_output": True}, "inputs": [
        {"name": "INPUT0", "datatype": "FP32", "shape": [LARGE // 4],
         "parameters": {"binary_data_size": LARGE}}]}).encode()
    return request_bytes("identity_fp32", text + bytes(LARGE),
                         f"Inference-Header-Content-Length: {len(text)}\r\n")


def ended(opened):
    """All that still comes; the server has to end it."""
    received = b""
    try:
        while piece := opened.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return received


def reset(opened):
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    opened.close()


def open_all(stack, place, count, first=b""):
    opened = [stack.enter_context(closing(connect(place))) for _ in range(count)]
    for one in opened:
        one.sendall(first)
    return opened


def silent(server, count):
    """Connected, and nothing more: the server hangs up."""
    with ExitStack() as stack:
        for one in open_all(stack, server.http, count):
            assert ended(one) == b""


def half_a_header(server, count):
    with ExitStack() as stack:
        for one in open_all(stack, server.http, count, request_bytes()[:40]):
            assert ended(one) == b""


def half_a_body(server, count):
    with ExitStack() as stack:
        for one in open_all(stack, server.http, count, request_bytes()[:-40]):
            assert ended(one) == b""


def half_a_tensor(server, count):
    """The JSON is whole and its slot is taken."""
    with ExitStack() as stack:
        for one in open_all(stack, server.http, count, large_request()[:-LARGE // 2]):
            assert ended(one) == b""


def byte_by_byte(server, count):
    """As slow as allowed: answered like everyone."""
    content = request_bytes()
    with ExitStack() as stack:
        opened = open_all(stack, server.http, count)
        for place in range(len(content)):
            for one in opened:
                one.sendall(content[place:place + 1])
        for one in opened:
            one.shutdown(socket.SHUT_WR)
            answer = ended(one)
            assert answer.startswith(b"HTTP/1.1 200") and b"OUTPUT1" in answer, answer[:200]


def ever_more_slowly(server, count):
    """A byte now and then keeps no connection open."""
    with ExitStack() as stack:
        opened = open_all(stack, server.http, count)
        until = time.monotonic() + WAIT_S
        left = list(opened)
        while left and time.monotonic() < until:
            for one in list(left):
                try:
                    one.sendall(b"G")
                except OSError:
                    left.remove(one)
            time.sleep(0.05)
        assert not left, f"{len(left)} are still heard"


def gone_in_mid_answer(server, count):
    for _ in range(count):
        with closing(connect(server.http, 4096)) as one:
            one.sendall(large_request())
            assert one.recv(100).startswith(b"HTTP/1.1 200")


def never_reading(server, count):
    """The answer waits in the server until its time is over."""
    with ExitStack() as stack:
        opened = [stack.enter_context(closing(connect(server.http, 4096))) for _ in range(count)]
        for one in opened:
            one.sendall(large_request())
        before = oip.metrics(server)["takt_http_timeouts_total"]
        until = time.monotonic() + WAIT_S
        while oip.metrics(server)["takt_http_timeouts_total"] < before + count:
            assert time.monotonic() < until, "a client that reads nothing is waited for"
            time.sleep(0.05)


def resets(server, count):
    """At every point of a request, on every port."""
    content = large_request()
    parts = (b"", content[:30], content[:400], content[:LARGE // 2], content,
             request_bytes(), request_bytes("slow"))
    for number in range(count):
        one = connect(server.grpc if number % 8 == 7 else server.http)
        one.sendall(parts[number % len(parts)] if number % 8 < 7 else PREFACE)
        reset(one)


def gone_from_the_queue(server, count):
    """`slow` takes far longer than they wait."""
    with ExitStack() as stack:
        open_all(stack, server.http, count, request_bytes("slow"))
        time.sleep(0.1)


@contextmanager
def silent_on_grpc(server, count):
    """From beginning to end: gRPC's time for a handshake is longer than the others."""
    with ExitStack() as stack:
        opened = open_all(stack, server.grpc, count)
        yield count
        for one in opened:
            ended(one)


def http2_frame(kind, flags, stream, content=b"", length=None):
    length = len(content) if length is None else length
    return length.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + content


SETTINGS = http2_frame(4, 0, 0)
GARBAGE = [
    b"\0" * 64, bytes(range(256)) * 8, PREFACE[:10], PREFACE + b"\xff" * 100,
    request_bytes(), b"GET / HTTP/1.0\r\n\r\n",
    PREFACE + SETTINGS + http2_frame(0, 1, 1, b"data of no stream"),
    PREFACE + SETTINGS + http2_frame(1, 4, 1, b"\xff" * 50),  # headers that can't be decoded
    PREFACE + SETTINGS + http2_frame(1, 4, 2, b""),  # an even stream
    PREFACE + SETTINGS + http2_frame(9, 4, 1, b"x"),  # a continuation of nothing
    PREFACE + SETTINGS + http2_frame(8, 0, 0, b"\0\0\0\0"),  # a window of 0
    PREFACE + SETTINGS + http2_frame(0, 0, 1, b"", 0xffffff),  # a frame beyond the limit
    PREFACE + SETTINGS + http2_frame(6, 0, 0, b"12345678") * 200,  # pings
    PREFACE + SETTINGS * 500,
]


def http2_garbage(server, count):
    for number in range(count):
        with closing(connect(server.grpc)) as one:
            try:
                one.sendall(GARBAGE[number % len(GARBAGE)])
                one.settimeout(0.01)
                one.recv(4096)
            except OSError:
                pass


def client_hello():
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="takt")
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def tls_hello(server, count):
    hello = client_hello()
    places = (server.http, server.metrics, server.grpc)
    for number in range(count):
        with closing(connect(places[number % 3])) as one:
            one.sendall(hello)
            if number % 3 == 2:
                continue
            answer = ended(one)
            assert answer.startswith(b"HTTP/1.1 400") and b"not an HTTP/1.1 request" in answer


STREAMS = """
import sys, time
import numpy as np
import tritonclient.grpc as client
alone = [("grpc.use_local_subchannel_pool", 1)]
opened = [client.InferenceServerClient(sys.argv[1], channel_args=alone)
          for _ in range(int(sys.argv[2]))]
given = [client.InferInput(name, [1, 16], "INT32") for name in ("INPUT0", "INPUT1")]
for one in given:
    one.set_data_from_numpy(np.ones((1, 16), dtype=np.int32))
for one in opened:
    one.start_stream(lambda result, error: None)
    for number in range(20):
        one.async_stream_infer("slow" if number % 4 else "simple", given)
print("streaming", flush=True)
time.sleep(600)
"""


def killed_streams(server, count):
    """Processes with ten streams each, in the middle of which they are killed."""
    for _ in range(0, count, 10):
        with subprocess.Popen([sys.executable, "-c", STREAMS, server.grpc, "10"],
                              stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
            assert process.stdout.readline() == b"streaming\n"
            process.send_signal(signal.SIGKILL)


# shm_open, but for Python's own tidying up after a process that was killed.
REGISTERED = """
import os, signal, sys
import numpy as np
import tritonclient.http as client
with open("/dev/shm" + sys.argv[2], "wb") as memory:
    memory.write(np.arange(1024, dtype=np.int32).tobytes())
client.InferenceServerClient(sys.argv[1]).register_system_shared_memory("orphan", sys.argv[2], 4096)
os.kill(os.getpid(), signal.SIGKILL)
"""


def placed(name, place, size=64):
    request = oip.simple()
    request.inputs[0].region = {"shared_memory_region": name, "shared_memory_byte_size": size,
                                "shared_memory_offset": place}
    return request


def senders():
    return (oip.send_json, oip.send_binary, oip.send_grpc)


def orphaned_memory(server, count):
    """Whoever registered it was killed. It can be used until it is unregistered, unlinked or not."""
    for number in range(count):
        key = f"/takt_e2e_orphan_{os.getpid()}"
        done = subprocess.run([sys.executable, "-c", REGISTERED, server.http, key],
                              stdin=subprocess.DEVNULL, timeout=WAIT_S)
        assert done.returncode == -signal.SIGKILL
        (Path("/dev/shm") / key[1:]).unlink()
        for send in senders():
            answer = send(server, placed("orphan", 0))
            assert answer.status in ("200", "OK"), answer.message
        answer = oip.http_request(
            server.http, "POST", "/v2/systemsharedmemory/region/orphan/unregister")
        assert answer.status == "200", number
        answer = oip.send_json(server, placed("orphan", 0))
        assert answer.status == "400" and "Unable to find" in answer.message


def shrunk_memory(server, count):
    """Truncated after it was registered: the client's error, and nobody's crash."""
    for _ in range(count):
        memory = shm.create_shared_memory_region("shrunk", "/takt_e2e_shrunk", 8192)
        shm.set_shared_memory_region(memory, [np.ones(16, dtype=np.int32)], offset=4096)
        with client.InferenceServerClient(server.http) as triton:
            triton.register_system_shared_memory("shrunk", "/takt_e2e_shrunk", 8192)
            os.truncate("/dev/shm/takt_e2e_shrunk", 4096)
            into = oip.simple()
            into.outputs = [("OUTPUT0", {"shared_memory_region": "shrunk",
                                         "shared_memory_byte_size": 64,
                                         "shared_memory_offset": 4096})]
            for send in senders():
                for request in (placed("shrunk", 4096), into):
                    answer = send(server, request)
                    assert answer.status in ("400", "INVALID_ARGUMENT"), answer.status
                    assert "has become smaller" in answer.message, answer.message
            triton.unregister_system_shared_memory("shrunk")
        shm.destroy_shared_memory_region(memory)


# Of a hundred clients.
KINDS = [(silent, 10), (half_a_header, 10), (half_a_body, 8), (half_a_tensor, 4), (byte_by_byte, 5),
         (ever_more_slowly, 3), (gone_in_mid_answer, 10), (never_reading, 2), (resets, 18),
         (gone_from_the_queue, 10), (http2_garbage, 14), (tls_hello, 4), (shrunk_memory, 1)]
# Costly ones, that many of any number.
FEW = [(killed_streams, 10), (orphaned_memory, 1)]


def all_kinds(server, hundreds):
    """The number of clients."""
    number = 0
    for kind, share in KINDS:
        kind(server, share * hundreds)
        number += share * hundreds
    return number
