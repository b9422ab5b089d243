"""The checksum CRC-32C (Castagnoli) of RFC 3720, fast enough in NumPy for files of some hundred megabytes."""

from __future__ import annotations

import functools

import numpy as np

_POLYNOMIAL = 0x82F63B78  # bits reversed
_LANES = 4096


def crc32c(data: bytes) -> int:
    """The checksum of `data`.

    The register after `data` is linear in the register before it and in `data`. So many stretches of equal length are
    run side by side from an empty register, and joined: `advanced` carries a register over a stretch of zeros.
    """
    register = 0xFFFFFFFF
    length = len(data) // _LANES
    if length:
        lanes = np.frombuffer(data, np.uint8, _LANES * length).reshape(_LANES, length)
        registers = np.zeros(_LANES, np.uint32)
        table = _table()
        for column in np.ascontiguousarray(lanes.T):
            registers = table[(registers ^ column) & 0xFF] ^ (registers >> 8)
        carry = _advanced(length).tolist()
        for after in registers.tolist():
            register = functools.reduce(
                lambda total, k: total ^ carry[k][register >> 8 * k & 0xFF],
                range(4),
                after,
            )
    table = _table().tolist()
    for byte in data[_LANES * length :]:
        register = table[(register ^ byte) & 0xFF] ^ register >> 8
    return register ^ 0xFFFFFFFF


@functools.cache
def _table() -> np.ndarray:
    """[256] uint32: the register after one byte, from an empty one."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ _POLYNOMIAL, table >> 1).astype(np.uint32)
    return table


@functools.lru_cache(maxsize=64)
def _advanced(length: int) -> np.ndarray:
    """[4, 256] uint32: what `length` zero bytes make of each byte of the register; xor the four."""
    rows = np.uint32(1) << np.arange(32, dtype=np.uint32)
    table = _table()
    step = table[rows & 0xFF] ^ rows >> 8  # where one zero byte carries each single bit
    power, result = length, rows
    while power:
        if power & 1:
            result = _applied(step, result)
        step = _applied(step, step)
        power >>= 1
    values = np.arange(256, dtype=np.uint32)
    return np.stack([_applied(result, values << np.uint32(8 * k)) for k in range(4)])


def _applied(matrix: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """A linear map of registers, given by the images of the 32 single bits."""
    out = np.zeros_like(vectors)
    for bit in range(32):
        out ^= np.where(vectors >> np.uint32(bit) & 1, matrix[bit], 0).astype(np.uint32)
    return out
