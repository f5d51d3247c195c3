"""The usual stack, as a user would put it together from libraries: ``python -m Testing.benchmark.baseline
EXAM OUTPUT``.

SimpleITK or pydicom reads, ``scipy.ndimage.zoom`` resamples (linear, as ours), scikit-image's ``frangi``
finds edges slice by slice (for bright and for dark ridges, as ours), MONAI's ``resnet34`` runs in float32,
COAM is the row sum of the explicit Gram matrix. The same strides, input and steps as ours, so that the same
work is compared.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

SIGMAS = (1, 2)


def read_nrrd(folder: Path) -> tuple[list[np.ndarray], np.ndarray | None, np.ndarray]:
    """Dynamic volumes and T1 as float32 [k, j, i], and the spacing along them (mm)."""
    import SimpleITK as sitk

    names = sorted(folder.glob("dynamic_*.nrrd"))
    images = [sitk.ReadImage(str(name)) for name in names]
    t1 = sitk.ReadImage(str(folder / "t1.nrrd")) if (folder / "t1.nrrd").exists() else None
    arrays = [sitk.GetArrayFromImage(image).astype(np.float32) for image in images]
    return (
        arrays,
        None if t1 is None else sitk.GetArrayFromImage(t1).astype(np.float32),
        np.array(images[0].GetSpacing())[::-1],
    )


def read_dicom(folder: Path) -> tuple[list[np.ndarray], None, np.ndarray]:
    """As ``read_nrrd``, from the series of a folder that are the largest and of one size."""
    import pydicom

    series: dict[str, list] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            image = pydicom.dcmread(path)
            series.setdefault(image.SeriesInstanceUID, []).append(image)
    most = max(len(images) for images in series.values())
    arrays, spacing = [], None
    for images in sorted(
        (s for s in series.values() if len(s) == most), key=lambda s: int(s[0].SeriesNumber)
    ):
        images.sort(key=lambda image: float(image.ImagePositionPatient[2]))
        arrays.append(np.stack([image.pixel_array for image in images]).astype(np.float32))
        step = abs(float(images[1].ImagePositionPatient[2]) - float(images[0].ImagePositionPatient[2]))
        spacing = np.array([step, *[float(v) for v in images[0].PixelSpacing]])
    return arrays, None, spacing


def resample(array: np.ndarray, factors: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    return ndimage.zoom(array, factors, order=1)


def hessian(image: np.ndarray, sigma: float) -> list[np.ndarray]:
    """Second derivatives of each slice [k, j, i]: along j twice, mixed, along i twice; scipy's filters."""
    from scipy import ndimage

    orders = ((0, 2, 0), (0, 1, 1), (0, 0, 2))
    return [ndimage.gaussian_filter(image, (0, sigma, sigma), o, mode="nearest", truncate=4) for o in orders]


def structure(image: np.ndarray, sigma: float) -> float:
    """Frangi's c as ours takes it: half of the largest Hessian norm of all slices at one scale."""
    along_j, mixed, along_i = hessian(image, sigma)
    return 0.5 * float(np.sqrt((along_j**2 + 2 * mixed**2 + along_i**2).max()))


def edges(
    image: np.ndarray, gammas: tuple[float | None, ...] = (None,), both: bool = True, sigmas: tuple = SIGMAS
) -> np.ndarray:
    """Frangi's measure of each slice [k, j, i], the largest over scales (sigmas, in voxels).

    gammas: for each scale; None takes scikit-image's own, half of the slice's largest Hessian norm. both:
    bright and dark ridges, as ours; else bright ones only.
    """
    from skimage.filters import frangi

    out = np.zeros(image.shape, np.float32)
    groups = [((sigma,), gamma) for sigma, gamma in zip(sigmas, gammas)]
    if gammas[0] is None:
        groups = [(sigmas, None)]
    for k, plane in enumerate(image):
        for scales, gamma in groups:
            options = {"sigmas": scales, "gamma": gamma, "mode": "nearest"}
            for black in (False, True) if both else (False,):
                np.maximum(out[k], frangi(plane, black_ridges=black, **options), out=out[k])
    return out


def mask(image: np.ndarray, spacing_mm: float = 1.1, both: bool = True) -> np.ndarray:
    """Breast mask: edges, small ones dropped, filled slice by slice, smoothed.

    Parameters
    ----------
    image
        [k, j, i].
    both
        As in :func:`edges`.

    Returns
    -------
    ndarray
        0 to 1.
    """
    from scipy import ndimage

    compressed = np.sqrt(np.clip(image, 0, np.percentile(image, 99.5)))
    edge = edges(compressed / max(1e-6, float(compressed.max())), both=both) > 0.12
    labels, _ = ndimage.label(edge, ndimage.generate_binary_structure(3, 3))
    edge &= (np.bincount(labels.ravel()) * spacing_mm**3 > 1500)[labels]
    filled = np.stack([ndimage.binary_fill_holes(plane) for plane in edge])
    return ndimage.gaussian_filter(filled.astype(np.float32), 1.6 / spacing_mm)


def gram(features: np.ndarray) -> np.ndarray:
    """COAM as eq. 5 is written, M_i = Σ_j ⟨x_i, x_j⟩ of features (C, …), by the whole N × N matrix."""
    x = features.reshape(len(features), -1).T
    return (x @ x.T).sum(axis=1).reshape(features.shape[1:])


def network(width: int = 64, phases: int = 6):
    """MONAI's resnet34 with the strides of He et al.; its own 1 in the stem would take four times as long."""
    import torch
    from monai.networks.nets import ResNet
    from monai.networks.nets.resnet import ResNetBlock

    torch.manual_seed(0)
    planes = [width * 2**stage for stage in range(4)]
    resnet = ResNet(
        ResNetBlock,
        [3, 4, 6, 3],
        planes,
        spatial_dims=3,
        n_input_channels=phases,
        num_classes=1,
        conv1_t_stride=2,
    )
    return resnet.eval()


def forward(resnet, batch):
    """(logit, features) of a MONAI ResNet."""
    import torch

    with torch.inference_mode():
        x = resnet.maxpool(resnet.act(resnet.bn1(resnet.conv1(batch))))
        x = resnet.layer4(resnet.layer3(resnet.layer2(resnet.layer1(x))))
        return float(resnet.fc(resnet.avgpool(x).flatten(1))[0, 0]), x[0]


def crop_or_pad(array: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """The last three axes centred in ``size``."""
    pads, cuts = [], []
    for have, want in zip(array.shape[-3:], size):
        before = max(0, (want - have) // 2)
        pads.append((before, max(0, want - have - before)))
        start = max(0, (have - want) // 2)
        cuts.append(slice(start, start + want))
    lead = array.ndim - 3
    return np.pad(array[(slice(None),) * lead + tuple(cuts)], [(0, 0)] * lead + pads)


def analyze(
    exam: Path, output: Path, spacing_mm: float, size: tuple[int, int, int], width: int
) -> dict[str, float]:
    """Read, mask, resample, run, map, save; seconds of each. size: of the network's input, [k, j, i]."""
    import SimpleITK as sitk
    import torch
    from scipy import ndimage

    seconds, clock = {}, time.perf_counter()

    def lap(name: str) -> None:
        nonlocal clock
        seconds[name] = time.perf_counter() - clock
        clock = time.perf_counter()

    arrays, t1, spacing = read_nrrd(exam) if any(exam.glob("*.nrrd")) else read_dicom(exam)
    lap("read")
    resnet = network(width)
    lap("model")
    own, factors = arrays[0].shape, spacing / spacing_mm
    arrays = [resample(array, factors) for array in arrays]
    breasts = mask(resample(t1, factors) if t1 is not None else arrays[0], spacing_mm)
    lap("mask and resampling")
    stack = np.stack([post - arrays[0] for post in arrays[1:]])
    if len(stack) != 6:
        places = np.linspace(0, len(stack) - 1, 6)
        low = np.minimum(places.astype(int), len(stack) - 2)
        stack = np.stack([stack[a] * (1 - (p - a)) + stack[a + 1] * (p - a) for a, p in zip(low, places)])
    inside = breasts > 0.5
    scale = np.percentile(stack.mean(axis=0)[inside], 99) if inside.any() else stack.max()
    stack = np.clip(stack * breasts / scale, -1, 10)
    stack = crop_or_pad(stack, size).astype(np.float32)
    lap("subtraction and scaling")
    logit, features = forward(resnet, torch.from_numpy(stack)[None])
    lap("network")
    heat = gram(features.numpy())
    heat = ndimage.zoom(heat, np.array(size) / heat.shape, order=1)
    heat = crop_or_pad(heat, arrays[0].shape) * inside
    peak = np.unravel_index(int(heat.argmax()), heat.shape)
    heat = ndimage.zoom(heat, np.array(own) / heat.shape, order=1)
    lap("map")
    output.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(heat), str(output / "heatmap.nrrd"), True)
    (output / "result.json").write_text(json.dumps({"logit": logit, "peak": [int(n) for n in peak]}))
    lap("save")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("exam", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--spacing", type=float, default=1.1)
    parser.add_argument(
        "--size", type=int, nargs=3, default=(128, 220, 340), help="of the network's input, slices first"
    )
    parser.add_argument("--width", type=int, default=64)
    o = parser.parse_args()
    print(json.dumps(analyze(o.exam, o.output, o.spacing, tuple(o.size), o.width)))


if __name__ == "__main__":
    main()
