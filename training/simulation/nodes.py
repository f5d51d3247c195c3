"""Lymph nodes: a cortex that enhances around a hilum of fat, in the axilla and sometimes in the breast."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .grid import rotation
from .woman import Woman

_INTRAMAMMARY = 0.25  # share of breasts with a node of their own (chosen; most lie in the upper outer part)


@dataclass(frozen=True)
class Node:
    """Centre and radii in mm, directions of the radii, and the hilum's offset along the second one."""

    centre: np.ndarray
    radii: np.ndarray
    turn: np.ndarray
    hilum: float

    def hilum_of(self) -> tuple[np.ndarray, np.ndarray]:
        """Centre and radii of the fat in it; it opens to one side as a bean does."""
        return self.centre + self.hilum * self.radii[1] * self.turn[1], self.radii * [0.72, 0.62, 0.6]


def draw_nodes(rng: np.random.Generator, woman: Woman) -> list[Node]:
    """Nodes of both sides: 4 to 12 in each axilla, short axes 2.5 to 9 mm (chosen; a normal node's is below
    10 mm), and a small one in some breasts."""
    nodes = []
    for breast in woman.breasts:
        side = breast.side
        for _ in range(int(rng.integers(4, 13))):
            z = woman.middle_z + rng.uniform(35, 125)
            angle, above = side * rng.uniform(0.75, 1.5), rng.uniform(5, 26)
            centre = woman.on_chest(angle, z, above)
            nodes.append(_draw_node(rng, centre, float(np.clip(2.7 * np.exp(rng.normal(0, 0.35)), 1.2, 4.5))))
        small, where = rng.random() < _INTRAMAMMARY, (rng.uniform(0.2, 1.2), rng.uniform(0.1, 0.5))
        centre, short = breast.point(*where, rng.uniform(8, 16)), rng.uniform(1.3, 2.6)
        node = _draw_node(rng, centre, short)
        nodes += [node] * small
    return nodes


def _draw_node(rng: np.random.Generator, centre: np.ndarray, short: float) -> Node:
    radii = short * np.array([rng.uniform(1.5, 2.6), 1.0, rng.uniform(1.0, 1.5)])
    return Node(centre, radii, rotation(rng), rng.uniform(0.2, 0.6))
