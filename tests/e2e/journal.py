# SPDX-License-Identifier: Apache-2.0
"""Reads the journal's segments by their format, so that tests know what a killed program had
promised. A segment is a header of 64 bytes, then records: payload bytes (u32), CRC-32 of type and
payload (u32), type (u64), payload in CBOR padded to 8 bytes; no bytes means the end."""

import struct
import zlib

ACCEPT, VERDICT = 2, 3


def read_cbor(data, at=0):
    """(value, end) of what nlohmann::json::to_cbor writes."""
    major, info = data[at] >> 5, data[at] & 31
    at += 1
    if major == 7:
        simple = {20: False, 21: True, 22: None}
        if info in simple:
            return simple[info], at
        code, size = {25: ("e", 2), 26: ("f", 4), 27: ("d", 8)}[info]
        return struct.unpack(">" + code, data[at:at + size])[0], at + size
    if info >= 24:
        size = 1 << (info - 24)
        info, at = int.from_bytes(data[at:at + size], "big"), at + size
    if major in (0, 1):
        return (info if major == 0 else -1 - info), at
    if major == 3:
        return data[at:at + info].decode("utf-8", "replace"), at + info
    assert major in (4, 5), f"CBOR major type {major}"
    values = []
    for _ in range(info * (major - 3)):
        value, at = read_cbor(data, at)
        values.append(value)
    return (values if major == 4 else dict(zip(values[::2], values[1::2]))), at


def records(segment):
    data, at = segment.read_bytes(), 64
    while at + 16 <= len(data):
        size, checksum, kind = struct.unpack("<IIQ", data[at:at + 16])
        payload = data[at + 16:at + 16 + size]
        # A record that is torn by the kill ends the segment.
        if size == 0 or zlib.crc32(struct.pack("<Q", kind) + payload) != checksum:
            return
        yield kind, read_cbor(payload)[0]
        at += 16 + (size + 7) // 8 * 8


def frames(folder):
    """Sequence numbers: ({accepted}, {seq: verdict}) of every segment in a store's folder."""
    accepted, answered = set(), {}
    for segment in sorted((folder / "journal").glob("segment-*.journal")):
        for kind, record in records(segment):
            if kind == ACCEPT:
                accepted.add(record["seq"])
            elif kind == VERDICT:
                answered[record["seq"]] = record["verdict"]
    return accepted, answered
