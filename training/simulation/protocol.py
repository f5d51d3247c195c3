"""Protocols: vendor, field strength, timing, contrast agent, fat suppression and acquired resolution.

Everything is drawn in mm, s and ms, without regard to the woman, her lesions or the grid. Ultrafast protocols
and spectroscopic or diffusion sequences are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import kinetics

FAT = ("none", "spectral", "water")  # kinds of fat suppression; "water": water excitation, Dixon
INJECTION_S = 60.0  # from the centre of k-space of the phase before contrast

# T1 at 3 T over that at 1.5 T, and where it was not measured that of muscle. Fat 367 and 296 ms, glandular
# tissue 1445 and 1266 ms: Rakow-Penner et al., J Magn Reson Imaging 2006;23:87–91 (Edden et al., J Magn Reson
# Imaging 2010;32:982–987, found 423 and 1680 ms at 3 T). Others: Stanisz et al., Magn Reson Med
# 2005;54:507–512, table 1. Fibrous tissue is taken as muscle, lesions and nodes as glandular tissue, since
# tumours stay below it: Chen et al., Radiology 2019;290:33–40
_MUSCLE, _GLANDULAR = 1412.0 / 1008.0, 1445.0 / 1266.0
T1_RATIO = {
    "fat": 367.0 / 296.0,
    "glandular": _GLANDULAR,
    "muscle": _MUSCLE,
    "blood": 1932.0 / 1441.0,
    "liver": 812.0 / 576.0,
    "bone": 586.0 / 549.0,
    "node": _GLANDULAR,
    "lesion": _GLANDULAR,
    "implant": 1.0,
}

# r1 in plasma at 37 °C, /mM/s, at 1.5 and 3 T. Gadopentetate: Rohrer et al., Invest Radiol 2005;40:715–724,
# table 3. Macrocyclic agents (gadobutrol, gadoteridol, gadoterate): Szomolanyi et al., Invest Radiol
# 2019;54:559–564
_RELAXIVITY = ((kinetics.RELAXIVITY, 3.7), (4.78, 4.97), (3.80, 3.28), (3.32, 3.00))


@dataclass(frozen=True)
class _Vendor:
    """Ranges that a vendor's protocols are drawn from; ``fat``: shares of the kinds in ``FAT``."""

    tr_ms: tuple[float, float]
    flip_deg: tuple[float, float]
    spacing_s: tuple[float, float]
    posts: tuple[int, int]
    fat: tuple[float, float, float]


# Chosen around protocols that are published: at least one phase a minute or two, a peak within 2 min (Mann et
# al., Eur Radiol 2015;25:3669–3678); TR 4.1 ms, 12°, 121 s a phase in a public Siemens exam
VENDORS = {
    "GE": _Vendor((4.5, 7.0), (10, 12), (80, 125), (3, 5), (0.0, 0.85, 0.15)),
    "Siemens": _Vendor((3.8, 5.5), (10, 15), (60, 125), (4, 7), (0.35, 0.40, 0.25)),
    "Philips": _Vendor((4.0, 7.0), (10, 12), (60, 95), (5, 7), (0.10, 0.65, 0.25)),
}


@dataclass(frozen=True)
class Protocol:
    """How an exam is scanned: a spoiled 3-D gradient echo.

    Attributes
    ----------
    vendor : str
        Of ``VENDORS``.
    tesla : float
        1.5 or 3.
    fat : str
        Kind of fat suppression, of ``FAT``.
    times_s, minutes : numpy.ndarray
        Of all phases from the first; of those after contrast, from injection.
    spacing_s : float
        From phase to phase.
    tr_ms, flip_deg, t1_tr_ms, t1_flip_deg : float
        Of the dynamic phases, and of the T1 without fat suppression.
    relaxivity : float
        Of the contrast agent, /mM/s.
    acquired_mm : tuple of float
        Resolution along x, y, z before the scanner interpolates.
    phase_axis : int
        Direction of the phase encoding: 0 from side to side, 1 from front to back.
    dual_source : bool
        Whether the transmitted field is shimmed, at 3 T.
    """

    vendor: str
    tesla: float
    fat: str
    times_s: np.ndarray
    minutes: np.ndarray
    spacing_s: float
    tr_ms: float
    flip_deg: float
    t1_tr_ms: float
    t1_flip_deg: float
    relaxivity: float
    acquired_mm: tuple[float, float, float]
    phase_axis: int
    dual_source: bool

    def t1_ms(self, tissue: str, at_1_5_t: float | None = None) -> float:
        """T1 of a tissue at the field strength; ``at_1_5_t`` replaces its T1 at 1.5 T."""
        t1 = kinetics.T1_MS[tissue] if at_1_5_t is None else at_1_5_t
        return t1 * (T1_RATIO.get(tissue, _MUSCLE) if self.tesla > 2 else 1.0)

    @property
    def facts(self) -> dict:
        """As numbers."""
        return {
            "vendor": list(VENDORS).index(self.vendor),
            "tesla": self.tesla,
            "fat_suppression": FAT.index(self.fat),
            "phases": len(self.minutes),
            "first_s": self.times_s[1] - INJECTION_S,
            "spacing_s": self.spacing_s,
            "tr_ms": self.tr_ms,
            "flip_deg": self.flip_deg,
            "relaxivity": self.relaxivity,
            "acquired_mm": float(np.prod(self.acquired_mm)) ** (1 / 3),
            "phase_axis": self.phase_axis,
        }


def draw_protocol(rng: np.random.Generator, posts: int | None = None) -> Protocol:
    """Draw a protocol.

    Parameters
    ----------
    rng : numpy.random.Generator
        Of all that is random.
    posts : int, optional
        Phases after contrast; None: as drawn.

    Returns
    -------
    Protocol
        The same number of draws for each.
    """
    u = rng.uniform
    name = str(rng.choice(list(VENDORS)))
    vendor, tesla = VENDORS[name], 3.0 if u() < 0.45 else 1.5
    fat = str(rng.choice(FAT, p=vendor.fat))
    drawn = int(rng.integers(vendor.posts[0], vendor.posts[1] + 1))
    spacing_s, agent = u(*vendor.spacing_s), int(rng.integers(len(_RELAXIVITY)))
    # the centre of k-space lies about the middle of a phase, which begins with the injection or a bit later
    first_s = spacing_s * u(0.4, 0.6) + u(0, 25)
    times_s = INJECTION_S + first_s + spacing_s * np.arange(drawn if posts is None else posts)
    return Protocol(
        vendor=name,
        tesla=tesla,
        fat=fat,
        times_s=np.array([0.0, *times_s]),
        minutes=(times_s - INJECTION_S) / 60.0,
        spacing_s=spacing_s,
        tr_ms=u(*vendor.tr_ms),
        flip_deg=u(*vendor.flip_deg),
        t1_tr_ms=u(5, 9),  # chosen: bright fat
        t1_flip_deg=u(14, 22),
        relaxivity=_RELAXIVITY[agent][tesla > 2],
        # chosen, so that neighbours in 1.1–1.4 mm correlate as in public exams (0.28 to 0.49)
        acquired_mm=(u(1.2, 1.9), u(1.2, 1.9), u(1.3, 2.4)),
        phase_axis=int(u() < 0.3),  # side to side keeps the heart's ghosts out of the breasts
        dual_source=bool(u() < 0.5),
    )
