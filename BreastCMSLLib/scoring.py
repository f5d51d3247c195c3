"""Both readings of one exam: the network's of the whole, and that of every candidate place; the score and the places they give.

Slicer, the command line and evaluation read exams here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from .candidates import regions as localisation
from .candidates.classifier import SNAP_MM, exam_logit, propose
from .candidates.peaks import Peak, normalise
from .core.errors import InputError
from .models.bundle import Bundle
from .models.inference import Prediction, Predictor
from .network.attention import DEFAULT_MAP, MAPS, attention_map, upsample
from .network.resnet import NetworkSettings
from .preprocessing import enhancement

LESION_MAP = "LESION"  # the map of the second reading
EDGE = 2  # voxels over which a region's edge may fall off
NEARLY = 0.95  # of the highest probability: between places this close the larger comes first, as a reader names the index lesion
LEAST_CHANCE = 0.02  # places less probable are not listed, unless they come first
LEAST_HEIGHT = 0.1  # nor are places where a map of the network is lower than this
Place = tuple[Peak, localisation.Component | None]


@dataclass(frozen=True)
class Reading:
    """prediction: of the network that reads the whole exam. logit, probability: the exam's, calibrated, from both readings.

    places: most suspicious first, each with the probability that it is a cancer (as the second reading gives it: only the exam's is
    calibrated, and is not made of these, see ``candidates``), at the centre of the bright region there (None where nothing stands
    out); None when the model has no second reading.
    """

    prediction: Prediction
    logit: float
    probability: float
    places: list[Place] | None


def read(
    predictor: Predictor,
    array: np.ndarray,
    inside: np.ndarray,
    affine: np.ndarray,
    minutes: float | None,
    signal: np.ndarray | None = None,
) -> Reading:
    """Read a preprocessed exam: array (phases, LR, AP, SI), inside (LR, AP, SI) boolean, affine index → RAS mm.

    minutes: ``preprocessing.minutes_of`` the exam. signal: the early enhancement on the same grid, if it is known already.
    Raises InputError.
    """
    bundle = predictor.bundle
    prediction = predictor.predict(array)
    if bundle.candidates is None:
        return Reading(prediction, prediction.logit, prediction.probability, None)
    proposals = propose(array, inside, affine, minutes, bundle.candidates.settings)
    logits, of_places = bundle.candidates.logits(proposals)
    logit = exam_logit(prediction.logit * bundle.temperature, logits, bundle.candidates.settings) / bundle.temperature
    chances = 1.0 / (1.0 + np.exp(-of_places))
    highest = max(float(chances.max(initial=0.0)), 1e-6)
    order = _order(chances, [0.0 if part is None else part.volume_ml for part in proposals.parts])
    ranked = []
    for rank, n in enumerate(order):
        value = min(float(chances[n]) / highest / NEARLY, 1.0)
        if rank >= localisation.COUNT and value < LEAST_HEIGHT:
            continue  # neither listed nor seen on the map
        why = bundle.candidates.reasons(proposals, n) if rank < localisation.COUNT else {}
        estimate = {"value": value, "probability": float(chances[n]), "reasons": tuple(why.items())}
        ranked.append(replace(proposals.peaks[n], **estimate))
    if signal is None:
        signal = enhancement.signal_of(array, enhancement.early(len(array)))
    places = [
        (replace(peak, map_ras_mm=peak.ras_mm), part)  # this reading's map is drawn about its places
        for peak, part in localisation.snap(ranked, signal, inside, affine, search_mm=SNAP_MM, within_mm=localisation.FAR_MM)
    ]
    return Reading(prediction, logit, float(1.0 / (1.0 + np.exp(-logit))), places)


def _order(chances: np.ndarray, volumes_ml: Sequence[float]) -> list[int]:
    """Places by probability, but the largest of those within ``NEARLY`` of the highest first."""
    order = [int(n) for n in np.argsort(-chances, kind="stable")]
    close = [n for n in order if chances[n] >= NEARLY * chances[order[0]]]
    first = max(close, key=lambda n: volumes_ml[n], default=None)
    return order if first is None else [first, *(n for n in order if n != first)]


def lesion_map(places: Sequence[Place], signal: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Float32 map on the model's grid, 0–1: each place's bright region, as high as its probability relative to the highest.

    Beyond a region's edge the height falls off with the signal, from half of the region's height to its background.
    """
    heat = np.zeros(inside.shape, dtype=np.float32)
    for peak, part in places:
        if part is None:
            window = tuple(slice(max(n - 1, 0), n + 2) for n in peak.index)
            heat[window] = np.maximum(heat[window], peak.value * inside[window])
            continue
        window = tuple(slice(max(a - EDGE, 0), a + n + EDGE) for a, n in zip(part.start, part.inside.shape))
        region = np.zeros(heat[window].shape, dtype=bool)
        region[tuple(slice(a - s.start, a - s.start + n) for a, s, n in zip(part.start, window, part.inside.shape))] = part.inside
        region = ndimage.binary_fill_holes(region)  # a dark centre belongs to the lesion
        near = ndimage.binary_dilation(region, iterations=EDGE) & inside[window]
        height = np.clip(2.0 * (signal[window] - part.background) / max(part.peak - part.background, 1e-6), 0.0, 1.0)
        height[region] = 1.0
        heat[window] = np.maximum(heat[window], peak.value * height * near)
    return heat


# --- maps by name, and the places they point at ---


def map_names(bundle: Bundle) -> tuple[str, ...]:
    """The maps that a model can make, its default first."""
    return (LESION_MAP, *MAPS) if bundle.candidates is not None else tuple(MAPS)


def default_map(bundle: Bundle) -> str:
    return LESION_MAP if bundle.candidates is not None else DEFAULT_MAP


def check_map(name: str, bundle: Bundle) -> None:
    """Raise InputError when the model makes no map of that name."""
    if name not in map_names(bundle):
        raise InputError(f"The model {bundle.name} makes no map called {name!r}; choose one of {', '.join(map_names(bundle))}.")


def heat_of(
    name: str, reading: Reading, settings: NetworkSettings, signal: np.ndarray, inside: np.ndarray, affine: np.ndarray
) -> np.ndarray:
    """The named map on the model's grid: float32, 0–1 inside the breast mask, 0 outside."""
    if name == LESION_MAP:
        return lesion_map(reading.places, signal, inside)
    cells = attention_map(name, reading.prediction.features, reading.prediction.cell_weight, settings.pooling)
    return normalise(upsample(cells, affine, settings.total_stride, inside.shape), inside)


def places_of(name: str, heat: np.ndarray, reading: Reading, signal: np.ndarray, inside: np.ndarray, affine: np.ndarray) -> list[Peak]:
    """The places to show for a named map, most suspicious first, at least one: those of the second reading with their
    probabilities, or the peaks of the network's map.
    """
    if name == LESION_MAP and reading.places:
        peaks = [peak for peak, _ in reading.places[: localisation.COUNT]]
        return [peak for n, peak in enumerate(peaks) if n == 0 or peak.probability >= LEAST_CHANCE]
    peaks = [peak for peak, _ in localisation.find_places(name, heat, signal, inside, affine)]
    return [peak for n, peak in enumerate(peaks) if n == 0 or peak.value >= LEAST_HEIGHT]
