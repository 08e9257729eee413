# SPDX-License-Identifier: Apache-2.0
"""Small pictures of boards, and files that are none."""

import struct
import zlib

import numpy as np
from PIL import Image

SIDE = 64
CELL = 8


def golden(seed=0):
    """A board of 64x64 pixels: each cell of 8x8 is bare (black) or copper (white)."""
    cells = np.random.default_rng(seed).integers(0, 2, (SIDE // CELL, SIDE // CELL), np.uint8)
    return np.kron(cells * 255, np.ones((CELL, CELL), np.uint8))


def with_defect(board, row, column):
    """Inverts one cell: missing copper is an `open`, surplus copper a `short`."""
    area = np.s_[row * CELL:(row + 1) * CELL, column * CELL:(column + 1) * CELL]
    changed = board.copy()
    changed[area] = 255 - changed[area]
    return changed, ("open" if board[area].all() else "short")


def box_of(row, column):
    return [column * CELL, row * CELL, (column + 1) * CELL, (row + 1) * CELL]


def write_pair(folder, name, test, temp, suffix=".png"):
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(test).save(folder / f"{name}_test{suffix}")
    Image.fromarray(temp).save(folder / f"{name}_temp{suffix}")


def write_boards(folder, count, defective=lambda i: i % 3 == 0):
    """`count` pairs named 0000, 0001, ...; returns {frame: (row, column, class) or None}."""
    truth = {}
    for i in range(count):
        board, defect = golden(i), None
        if defective(i):
            row, column = i % 8, i // 8 % 8
            board, kind = with_defect(golden(i), row, column)
            defect = (row, column, kind)
        write_pair(folder, f"{i:04}", board, golden(i))
        truth[f"{i:04}_test"] = defect
    return truth


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width, height):
    """A PNG that says how large it is and holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) +
            png_chunk(b"IDAT", zlib.compress(b"\0" * 64)) + png_chunk(b"IEND", b""))


def truncated(file):
    whole = file.read_bytes()
    file.write_bytes(whole[:len(whole) * 2 // 3])


def flip_bytes(file):
    """Damage in the middle of the pixels: the checksums no longer fit."""
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle:middle + 8] = bytes(255 - byte for byte in data[middle:middle + 8])
    file.write_bytes(bytes(data))
