"""Inside the chest: heart with chambers, great vessels, liver, upper abdomen, spine; lungs fill the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .grid import Grid, turned_ellipsoid
from .muscle import CAGE_MM
from .woman import Woman


@dataclass(frozen=True)
class Organ:
    """An ellipsoid: centre, radii (mm), directions of the radii, and shares of the tissues it is made of."""

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    turn: np.ndarray
    tissues: dict[str, float]


_STRAIGHT = np.eye(3)
_BLOOD, _LIVER, _BONE = {"blood": 1.0}, {"liver": 1.0}, {"bone": 1.0}
_MYOCARDIUM = {"muscle": 0.72, "blood": 0.28}  # more perfused than muscle at rest (chosen)
_GUT = {"muscle": 0.5, "fat": 0.5}


def draw_organs(rng: np.random.Generator, woman: Woman) -> list[Organ]:
    """Organs in the order in which they are laid down: a later one lies in the earlier. Sizes chosen."""
    u, z = rng.uniform, woman.middle_z - rng.uniform(-8, 20)
    back = -(woman.cover + woman.muscle_mm + CAGE_MM)  # behind the breastbone
    deep = -2 * woman.half_depth
    size = u(0.88, 1.1)
    axis = _heart_axis(rng)

    def at(along: float, aside: float, up: float) -> tuple:
        """From the heart's middle, mm, along its axis and across."""
        middle = np.array([-22.0, back - 42.0 * size, z])
        return tuple(middle + size * (along * axis[0] + aside * axis[1] + up * axis[2]))

    def heart(centre, radii, tissues) -> Organ:
        return Organ(centre, tuple(size * r for r in radii), axis, tissues)

    upper = woman.middle_z - u(15, 60)  # dome of the diaphragm
    abdomen = [
        Organ((0, back - 85, upper - 140), (135, 90, 130), _STRAIGHT, _GUT),
        Organ(
            (u(40, 60), back - u(68, 78), upper - 90), (u(82, 98), u(62, 74), u(86, 96)), _STRAIGHT, _LIVER
        ),
        Organ(
            (-u(10, 30), back - u(35, 45), upper - 72), (u(50, 65), u(32, 40), u(50, 60)), _STRAIGHT, _LIVER
        ),
        Organ(
            (-u(75, 95), back - u(95, 115), upper - 70), (32, 45, 50), _STRAIGHT, {"liver": 0.7, "blood": 0.3}
        ),
    ]
    chambers = [
        heart(at(0, 0, 0), (58, 43, 44), {"fat": 1.0}),  # in its fatty sac
        heart(at(14, -6, -2), (44, 31, 33), _MYOCARDIUM),
        heart(at(16, -7, -2), (34, 18, 20), _BLOOD),  # left ventricle
        heart(at(6, 24, -4), (42, 15, 29), _BLOOD),  # right ventricle, in front
        heart(at(-34, -14, 8), (20, 24, 26), _BLOOD),  # left atrium
        heart(at(-34, 22, -2), (24, 20, 27), _BLOOD),  # right atrium
    ]
    trunks = [
        Organ((u(6, 14), back - 30 * size, z + 52), (14, 14, 40), _STRAIGHT, _BLOOD),  # ascending aorta
        Organ((-u(10, 18), back - 25 * size, z + 46), (15, 15, 26), _STRAIGHT, _BLOOD),  # pulmonary trunk
        Organ((0, back - 52 * size, z + 42), (44, 10, 11), _STRAIGHT, _BLOOD),  # its branches
        Organ((-5, back - 52, z + 82), (12, 42, 12), _STRAIGHT, _BLOOD),  # arch
        Organ((u(24, 32), back - 40, z + 320), (9.5, 9.5, 310), _STRAIGHT, _BLOOD),  # upper vena cava
        Organ((u(18, 26), back - 75, z - 370), (13, 12, 365), _STRAIGHT, _BLOOD),  # lower vena cava
        Organ((-u(14, 24), deep + 72, 0.0), (11, 11, 900), _STRAIGHT, _BLOOD),  # descending aorta
        Organ((0, deep + 45, 0.0), (21, 19, 900), _STRAIGHT, _BONE),  # spine
    ]
    middle = Organ((0, back - 35, z + 75), (38, 42, 70), _STRAIGHT, {"fat": 0.8, "muscle": 0.2})
    return [*abdomen, middle, *chambers, *trunks]


def _heart_axis(rng: np.random.Generator) -> np.ndarray:
    """Rows: towards the apex (left, forward, down), towards the front, up."""
    long = np.array([-0.72, 0.55, -0.42]) + rng.normal(0, 0.08, 3)
    long /= np.linalg.norm(long)
    up = np.array([0.0, 0.0, 1.0]) - long[2] * long
    up /= np.linalg.norm(up)
    return np.stack([long, np.cross(long, up), up])


def fill(organs: list[Organ], grid: Grid, rows: slice, device: torch.device | str) -> dict[str, torch.Tensor]:
    """Shares of the tissues in the chest, one lying in the other; lung where no organ is.

    Parameters
    ----------
    organs : list of Organ
        In the order in which they are laid down.
    grid : Grid
        To draw on.
    rows : slice
        Of the second axis, from the first one on; all others are left out.
    device : torch.device or str
        Of the result.

    Returns
    -------
    dict of torch.Tensor
        (i, rows, k) float32, adding up to 1.
    """
    names = {"lung", *(name for organ in organs for name in organ.tissues)}
    shape = (grid.shape[0], rows.stop, grid.shape[2])
    shares = {name: torch.zeros(shape, device=device) for name in sorted(names)}
    shares["lung"] += 1
    for organ in organs:
        (x, y, z), share = turned_ellipsoid(grid, organ.centre, organ.radii, organ.turn, device)
        share = share[:, : max(0, rows.stop - y.start)]
        window = (x, slice(y.start, min(y.stop, rows.stop)), z)
        for name, whole in shares.items():
            part = whole[window]
            part *= 1 - share
            if name in organ.tissues:
                part += organ.tissues[name] * share
    return shares
