"""Damage to bytes."""

from __future__ import annotations

import random


def damage_bytes(rng: random.Random, size: int, reach: int | None = None) -> list:
    """One operation on ``size`` bytes: [name, position, …].

    Parameters
    ----------
    reach
        Only the first so many bytes, as those of a header.
    """

    def here() -> int:
        return rng.randrange(max(1, min(size, reach or size)))

    name = rng.choice(["flip", "flip", "flip", "set", "zero", "cut", "double", "delete", "swap", "shuffle"])
    if name == "flip":
        return [name, here(), rng.randrange(8)]
    if name == "set":
        return [
            name,
            here(),
            bytes(
                rng.choice([0, 255, 127, 10, 32, rng.randrange(256)]) for _ in range(rng.randint(1, 8))
            ).hex(),
        ]
    if name == "cut":
        return [name, here()]
    return [name, here(), rng.choice([1, 2, 4, 8, 64, 512])]


def apply_bytes(data: bytes, operations: list) -> bytes:
    data = bytearray(data)
    for name, position, *rest in operations:
        if not data:
            break
        position = min(position, len(data) - 1)
        if name == "flip":
            data[position] ^= 1 << rest[0]
        elif name == "set":
            value = bytes.fromhex(rest[0])
            data[position : position + len(value)] = value
        elif name == "cut":
            del data[position:]
        elif name == "zero":
            data[position : position + rest[0]] = bytes(len(data[position : position + rest[0]]))
        elif name == "double":
            data[position:position] = data[position : position + rest[0]]
        elif name == "delete":
            del data[position : position + rest[0]]
        elif name == "swap":
            data[position : position + rest[0]] = data[position : position + rest[0]][::-1]
        elif name == "shuffle":
            block = bytearray(data[position : position + rest[0]])
            random.Random(position).shuffle(block)
            data[position : position + rest[0]] = block
    return bytes(data)
