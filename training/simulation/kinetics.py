"""Contrast agent: arterial input, extended Tofts model, relaxation and spoiled gradient-echo signal.

Times in minutes from injection, concentrations in mM, relaxation times in ms.
"""

from __future__ import annotations

import numpy as np

# Parker et al., Magn Reson Med 2006;56:993–1000, table 1: population arterial input function (two Gaussians,
# sigmoid)
_A, _T, _S = (0.809, 0.330), (0.17046, 0.365), (0.0563, 0.132)
_ALPHA, _BETA, _SIGMOID, _TAU = 1.050, 0.1685, 38.078, 0.483
HAEMATOCRIT = 0.42  # Parker 2006, same table

# Parker's data end after about 6 min and his exponential then falls too fast. From there on the plasma curve
# of Weinmann et al., Physiol Chem Phys Med NMR 1984;16:167–172 in the form of Tofts and Kermode, Magn Reson
# Med 1991;17:357–367 (kg/l and 1/min), scaled to meet Parker's (by 1.07)
_PARKER_ENDS = 6.0
_WEINMANN = ((3.99, 0.144), (4.78, 0.0111))

# r1 of gadopentetate in plasma at 1.5 T, 37 °C: Rohrer et al., Invest Radiol 2005;40:715–724, table 3 (4.1
# /mM/s). Macrocyclic agents lie on both sides: 3.3 to 4.8 (Szomolanyi et al., Invest Radiol 2019;54:559–564)
RELAXIVITY = 4.1

T1_MS = {  # at 1.5 T
    "fat": 296.0,  # Rakow-Penner et al., J Magn Reson Imaging 2006;23:87–91
    "glandular": 1266.0,  # the same
    "muscle": 1008.0,  # Stanisz et al., Magn Reson Med 2005;54:507–512, table 1
    "blood": 1441.0,  # the same
    "liver": 576.0,  # the same
    "skin": 887.0,  # dermis: Richard et al., J Invest Dermatol 1991;97:120–125
    "lung": 1000.0,  # chosen: lung gives almost no signal here
    # chosen: below glandular tissue by as much as Chen et al., Radiology 2019;290:33–40 found at 3 T (1183
    # against 1256 ms)
    "lesion": 1190.0,
}


def arterial_input(minutes: np.ndarray) -> np.ndarray:
    """Plasma concentration after 0.1 mmol/kg of gadolinium.

    Parker's curve (2006, eq. 2) to 6 min, Weinmann's decay after it; 0 before injection.

    Parameters
    ----------
    minutes : numpy.ndarray
        From injection.

    Returns
    -------
    numpy.ndarray
        mM, of the shape of ``minutes``.
    """
    t = np.maximum(np.asarray(minutes, dtype=np.float64), 0.0)
    early, late = np.minimum(t, _PARKER_ENDS), np.maximum(t, _PARKER_ENDS)
    bolus = sum(
        a / (s * np.sqrt(2 * np.pi)) * np.exp(-((early - m) ** 2) / (2 * s**2)) for a, m, s in zip(_A, _T, _S)
    )
    blood = bolus + _ALPHA * np.exp(-_BETA * early) / (1 + np.exp(-_SIGMOID * (early - _TAU)))
    weinmann, meets = (sum(a * np.exp(-m * t) for a, m in _WEINMANN) for t in (late, _PARKER_ENDS))
    decay = weinmann / meets
    return np.where(np.asarray(minutes) > 0, blood * decay, 0.0) / (1 - HAEMATOCRIT)


def tofts(
    minutes: np.ndarray, ktrans: np.ndarray, ve: np.ndarray, vp: np.ndarray, step: float = 1 / 60
) -> np.ndarray:
    """Concentration in tissues by the extended Tofts model.

    C(t) = vp·Cp(t) + Ktrans ∫ Cp(τ) exp(−Ktrans/ve·(t−τ)) dτ (Tofts et al., J Magn Reson Imaging
    1999;10:223–232).

    Parameters
    ----------
    minutes : numpy.ndarray
        (times,) from injection.
    ktrans, ve, vp : numpy.ndarray
        (tissues,) transfer constant in 1/min, and fractions of extravascular space and plasma.
    step : float
        Of the integration, minutes.

    Returns
    -------
    numpy.ndarray
        (tissues, times) mM.
    """
    ktrans, ve, vp = (np.atleast_1d(np.asarray(v, dtype=np.float64))[:, None] for v in (ktrans, ve, vp))
    fine = np.arange(0.0, float(np.max(minutes)) + step, step)
    plasma = arterial_input(fine)
    decay = np.exp(-ktrans / ve * step)
    extra = np.zeros((len(ktrans), fine.size))
    for n in range(1, fine.size):
        extra[:, n] = extra[:, n - 1] * decay[:, 0] + 0.5 * step * (plasma[n - 1] * decay[:, 0] + plasma[n])
    total = vp * plasma + ktrans * extra
    curves = [np.interp(minutes, fine, curve) for curve in total]
    return np.array(curves).reshape(len(curves), np.size(minutes))


def spoiled_gradient_echo(r1_per_s, tr_ms: float, flip_deg: float):
    """Signal of a spoiled gradient echo per unit of proton density; T2* is neglected.

    Parameters
    ----------
    r1_per_s : numpy.ndarray or torch.Tensor
        Longitudinal relaxation rates.
    tr_ms, flip_deg : float
        Repetition time and flip angle.

    Returns
    -------
    numpy.ndarray or torch.Tensor
        As ``r1_per_s`` is.
    """
    angle = np.deg2rad(flip_deg)
    e1 = (
        (r1_per_s * (-tr_ms / 1000.0)).exp()
        if hasattr(r1_per_s, "exp")
        else np.exp(r1_per_s * (-tr_ms / 1000.0))
    )
    return np.sin(angle) * (1 - e1) / (1 - np.cos(angle) * e1)
