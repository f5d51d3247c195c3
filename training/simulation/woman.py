"""What a woman is drawn from: age and weight, then the sizes of torso, breasts and arms, in mm.

Older women have less glandular tissue, heavier ones larger breasts and more fat over muscle. All ranges are
chosen, by eye beside public exams, unless a source stands beside them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .grid import ramp


@dataclass(frozen=True)
class Breast:
    """A breast hanging from the chest.

    The body F = (x/rx)² + (z/rz)² + (1 − m)(y/ry)² + m (y/ry)⁴ ≤ 1 around its centre, sheared sideways and
    along the body with its depth.

    Attributes
    ----------
    side : int
        −1 left, +1 right.
    centre, radii : tuple of float
        mm.
    fullness : float
        m: 0 an ellipsoid, 1 parallel sides and a round end.
    lean : tuple of float
        Shift towards x and z for each mm of depth.
    """

    side: int
    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    fullness: float
    lean: tuple[float, float]

    def point(self, angle, share, depth_mm=0.0) -> np.ndarray:
        """(n, 3) mm: at an angle around the axis (0 lateral, π/2 towards the head), a share of the way from
        the chest (0) to the nipple (1), and below the skin."""
        angle, share, depth = np.broadcast_arrays(
            *(np.asarray(v, dtype=float) for v in (angle, share, depth_mm))
        )
        rx, ry, rz = self.radii
        back = -self.centre[1] / ry  # the level of the skin over the sternum
        t = back + (1 - back) * np.clip(share, 0, 1)
        m, level = self.fullness, self.centre[1] + ry * t
        width = np.sqrt(np.clip(1 - (1 - m) * t**2 - m * t**4, 0, 1))
        y = level - self.centre[1] - np.minimum(depth, 0.9 * ry) * t**3
        x = self.side * np.cos(angle) * np.maximum(rx * width - depth, 0.0)
        z = np.sin(angle) * np.maximum(rz * width - depth, 0.0)
        return self.placed(np.stack([x, y, z], -1))

    def placed(self, own: np.ndarray) -> np.ndarray:
        """From the breast's own frame (its centre, no lean) to the woman's, mm."""
        shift = np.stack([self.lean[0] * own[..., 1], 0 * own[..., 1], self.lean[1] * own[..., 1]], -1)
        return np.asarray(self.centre) + own + shift

    @property
    def nipple(self) -> np.ndarray:
        """(3,) mm, on the skin."""
        return self.placed(np.array([0.0, self.radii[1], 0.0]))


@dataclass(frozen=True)
class Arms:
    """Shoulder and upper arm of the right side, mirrored on the left, mm: a capsule from the shoulder."""

    shoulder: tuple[float, float, float]
    way: tuple[float, float, float]
    radius: float


@dataclass(frozen=True)
class Woman:
    """Her sizes in mm.

    Attributes
    ----------
    age, bmi : float
        Years and kg/m².
    half_width, half_depth : float
        Of the torso at the level of the breasts.
    cover, side_cover : float
        From the skin to the muscle over the sternum and beside the chest.
    muscle_mm : float
        Depth of the pectoral muscles.
    middle_z : float
        Level of the breasts.
    belly : float
        How far the skin comes forward below them.
    breasts : tuple of Breast
        Left and right.
    arms : Arms
        In view in exams that reach up to them.
    skin_mm : float
        Thickness of the skin.
    density : float
        0 fatty to 1 dense.
    vascularity : float
        Factor of number and width of vessels, around 1.
    """

    age: float
    bmi: float
    half_width: float
    half_depth: float
    cover: float
    side_cover: float
    muscle_mm: float
    middle_z: float
    belly: float
    breasts: tuple[Breast, Breast]
    arms: Arms
    skin_mm: float
    density: float
    vascularity: float

    def skin(self, z) -> tuple[np.ndarray, np.ndarray, float]:
        """Half width, front and half depth (mm) of the torso's skin at levels z; an ellipse."""
        up, down = self._levels(z)
        return self.half_width * (1 - 0.12 * up), self.belly * down - 22.0 * up, self.half_depth

    def wall(self, z) -> tuple[np.ndarray, np.ndarray, float]:
        """The same of the chest wall: the surface of the muscles."""
        width, front, depth = self.skin(z)
        _, down = self._levels(z)
        behind = self.cover + 0.6 * self.belly * down
        return width - self.side_cover, front - behind, depth - self.cover

    def ribs(self, z) -> tuple[np.ndarray, np.ndarray, float]:
        """The same of the rib cage, which narrows towards the head and leaves room for the axilla."""
        width, front, depth = self.wall(z)
        up, _ = self._levels(z)
        return (width - self.muscle_mm) * (1 - 0.36 * up), front - self.muscle_mm, depth - self.muscle_mm

    def _levels(self, z) -> tuple[np.ndarray, np.ndarray]:
        """How much a level belongs to the shoulders and to the belly."""
        above = np.asarray(z) - self.middle_z
        return ramp(above, 30.0, 150.0), ramp(-above, 40.0, 150.0)

    def on_chest(self, angle, z, above_mm=0.0, surface: str = "ribs") -> np.ndarray:
        """(n, 3) mm: a point above a surface of the chest, at an angle from the front (positive: right)."""
        width, front, depth = getattr(self, surface)(z)
        x = np.sin(angle) * (width + above_mm)
        y = front - depth + np.cos(angle) * (depth + above_mm)
        return np.stack(np.broadcast_arrays(x, y, z), -1)


def draw_woman(rng: np.random.Generator) -> Woman:
    """Draw the sizes of a woman; the same numbers whatever the grid."""
    u, normal = rng.uniform, rng.normal
    age = float(np.clip(normal(52, 12), 25, 82))
    bmi = float(np.clip(25.5 * np.exp(normal(0, 0.19)), 17, 45))
    weight = (bmi - 25.5) / 6  # about a standard deviation
    half_width = float(np.clip(150 + 9 * weight + normal(0, 8), 132, 188))
    half_depth = float(np.clip(100 + 7 * weight + normal(0, 6), 84, 128))
    cover = float(np.clip(12 + 4 * weight + normal(0, 3), 6, 28))
    side_cover = cover + float(np.clip(10 + 8 * weight + normal(0, 5), 3, 45))
    middle_z = u(-10, 10)
    breasts = _draw_breasts(rng, weight, middle_z)
    # breast CT, mean ± sd: Huang et al., Med Phys 2008;35:1199–1206
    skin_mm = float(np.clip(normal(1.45, 0.30), 0.8, 2.3))
    muscle_mm = float(np.clip(normal(15, 3.5), 8, 25))
    # dense breasts (the upper two of four grades): 74 % of women in their forties, 57 %, 44 % and 36 % in the
    # decades after it (Checka et al., AJR 2012;198:W292–295); heavier women have fattier breasts
    density = float(1 / (1 + np.exp(-(-1.1 - 0.055 * (age - 52) - 0.5 * weight + normal(0, 1.0)))))
    belly = float(np.clip(4 + 10 * weight + normal(0, 6), -12, 30))
    arms = _draw_arms(rng, half_width, half_depth, middle_z, weight)
    vascularity = float(np.clip(np.exp(normal(0, 0.3)), 0.5, 2.0))
    return Woman(
        age, bmi, half_width, half_depth, cover, side_cover, muscle_mm, middle_z, belly, breasts, arms,
        skin_mm, density, vascularity,
    )  # fmt: skip


def _draw_breasts(rng: np.random.Generator, weight: float, middle_z: float) -> tuple[Breast, Breast]:
    """Flat to long and pendulous: both together 0.4 to 5 l."""
    u, normal = rng.uniform, rng.normal
    size = float(np.clip(np.exp(0.10 * weight + normal(0, 0.10)), 0.78, 1.30))
    width, height = size * u(50, 60), size * u(56, 74)
    projection = float(np.clip(88 * np.exp(0.20 * weight + normal(0, 0.32)), 26, 160))
    middle_x = max(66.0, width + u(6, 26))
    fullness, spread, sag = u(0.1, 0.8), normal(0.04, 0.07), -abs(normal(0, 0.06))
    breasts = []
    for side in (-1, 1):
        back = 28 + u(0, 8)
        radii = (width * u(0.95, 1.05), projection * u(0.93, 1.07) + back, height * u(0.95, 1.05))
        centre = (side * middle_x * u(0.97, 1.03), -back, middle_z + u(-6, 6))
        lean = (side * spread + normal(0, 0.02), sag + normal(0, 0.02))
        breasts.append(Breast(side, centre, radii, fullness, lean))
    return tuple(breasts)


def _draw_arms(
    rng: np.random.Generator, half_width: float, half_depth: float, middle_z: float, weight: float
) -> Arms:
    """Two thirds lie with their arms above the head, the others with them beside the body (chosen)."""
    u = rng.uniform
    radius = float(np.clip(48 + 5 * weight + u(-5, 5), 38, 66))
    shoulder = (half_width - u(15, 32), -half_depth * u(0.35, 0.65), middle_z + u(100, 135))
    above = u() < 0.67
    way = (u(10, 60), u(40, 140), 200.0) if above else (u(20, 45), u(-40, 10), -260.0)
    return Arms(shoulder, way, radius)
