"""Run a bundle's network on one preprocessed exam: device and precision chosen, checked, and said."""

from __future__ import annotations

import platform
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from ..core.errors import InputError
from ..network.resnet import BreastNet
from .bundle import Bundle
from .folding import FoldedStem, folded
from .pooling import pooled_cells


@dataclass(frozen=True)
class Prediction:
    """What the network says of one exam.

    Parameters
    ----------
    logit, probability : float
        Calibrated.
    features : torch.Tensor, shape (C, LR, AP, SI), float32
        On the feature grid, on the CPU.
    cell_weight : torch.Tensor, shape (C,), float32
        w of the head, on the CPU.
    pooled : torch.Tensor, shape (LR, AP, SI), bool, or None
        The cells that the logit is pooled over (:func:`pooled_cells`); None for all of them.
    """

    logit: float
    probability: float
    features: torch.Tensor
    cell_weight: torch.Tensor
    pooled: torch.Tensor | None = None

    @property
    def pooled_features(self) -> torch.Tensor:
        """(C, cells) that the logit is pooled over."""
        return self.features.flatten(1) if self.pooled is None else self.features[:, self.pooled]


def choose_device(wanted: str = "auto") -> tuple[torch.device, str]:
    """A device that has just run a small kernel, and why it was chosen.

    Parameters
    ----------
    wanted : str
        "auto", "cpu", "cuda", "cuda:1", "mps".

    Returns
    -------
    device : torch.device
    reason : str
        For a person.

    Raises
    ------
    InputError
        The wanted device cannot be used; never for "auto".
    """
    if wanted == "cpu":
        return torch.device("cpu"), "CPU, as asked"
    if wanted == "auto" or wanted.startswith("cuda"):
        return _choose_gpu(wanted)
    try:
        device = torch.device(wanted)
        torch.ones(1, device=device).sum().item()
        return device, f"{wanted}, as asked"
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(
            f"The device {wanted} cannot be used on this computer; choose cpu or auto."
        ) from error


def _choose_gpu(wanted: str) -> tuple[torch.device, str]:
    if torch.cuda.is_available():
        try:
            device = torch.device("cuda" if wanted == "auto" else wanted)
            image, kernel = (torch.ones(1, 1, n, n, n, device=device) for n in (4, 3))
            torch.nn.functional.conv3d(image, kernel).sum().item()
            return device, f"GPU {torch.cuda.get_device_name(device)}"
        except (RuntimeError, AssertionError) as error:
            reason = f"the GPU did not run a test ({str(error).splitlines()[0][:80]})"
    elif torch.version.cuda is None:
        reason = "this PyTorch has no CUDA support"
    else:
        reason = "no usable NVIDIA GPU was found"
    if wanted != "auto":
        raise InputError(f"The device {wanted} cannot be used: {reason}; choose cpu or auto.")
    return torch.device("cpu"), f"CPU, because {reason}"


def fast_precision(device: torch.device) -> torch.dtype:
    """The fastest precision that the device computes convolutions in: bfloat16, or else float32."""
    runs = (
        torch.cuda.is_bf16_supported() if device.type == "cuda" else device.type == "cpu" and cpu_bfloat16()
    )
    return torch.bfloat16 if runs else torch.float32


def cpu_bfloat16() -> bool:
    """Whether this processor computes in bfloat16.

    oneDNN says so of every one with AVX-512, but emulates it where the processor has no instructions for it,
    in twice the time of float32.
    """
    if not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return False
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # newer than PyTorch 2.5
    return native is None or platform.machine().lower() not in ("x86_64", "amd64") or bool(native())


class Predictor:
    """A network on a device, in half precision where that was checked against float32 first, else in float32.

    Parameters
    ----------
    bundle : Bundle
    device : str
        As for :func:`choose_device`.
    precision : {"auto", "float32", "bfloat16"}
        "auto" takes :func:`fast_precision`.

    Attributes
    ----------
    device : torch.device
    device_reason : str
        Why this device.
    dtype : torch.dtype
        Of the convolutions; the head is always in float32.
    precision_note : str
        Why float32 is used in place of the wanted precision, or "".

    Raises
    ------
    InputError
        The device cannot be used, or has too little memory; never for "auto".
    """

    def __init__(self, bundle: Bundle, device: str = "auto", precision: str = "auto"):
        self.bundle = bundle
        self.wanted_precision = precision
        self.device, self.device_reason = choose_device(device)
        try:
            self._prepare()
        except torch.OutOfMemoryError:
            if device != "auto":
                raise InputError(
                    f"The device {device} has too little free memory; close other programs, or choose cpu."
                ) from None
            self._move_to_cpu()

    def _move_to_cpu(self) -> None:
        self.device, self.device_reason = torch.device("cpu"), "CPU, because the GPU's memory was full"
        self._prepare()

    def _prepare(self) -> None:
        wanted = self.wanted_precision
        self.dtype = fast_precision(self.device) if wanted == "auto" else getattr(torch, wanted)
        self._fast, self.precision_note = self._checked(self.dtype)
        if self._fast is None:
            self.dtype = torch.float32
            self._fast, _ = self._checked(torch.float32)

    @property
    def precision(self) -> str:
        """Name of the precision in use, "float32" or "bfloat16"."""
        return _name(self.dtype)

    def _place(self, dtype: torch.dtype) -> BreastNet:
        """The bundle's network on the device, its convolutions in that precision, its head in float32."""
        with torch.device("meta"):
            network = BreastNet(self.bundle.network.settings)
        state = {}
        for name, tensor in self.bundle.network.state_dict().items():
            convolution = name.startswith(("stem.", "stages.")) and tensor.is_floating_point()
            state[name] = tensor.to(self.device, dtype if convolution else tensor.dtype)
        network.load_state_dict(state, assign=True)
        return network.eval().to(memory_format=torch.channels_last_3d)

    def _checked(self, dtype: torch.dtype) -> tuple[BreastNet | None, str]:
        """A fast network of that precision, or None and the reason; in float32 at least the plain network.

        Some libraries return wrong half-precision convolutions, so the logit of a fixed test input has to be
        that of the plain network in float32.
        """
        plain = self.bundle.network if self.device.type == "cpu" else self._place(torch.float32)
        fast = folded(plain, self.device, dtype) or self._place(dtype)
        # on a CPU, still two cells along each axis at stride 32
        contract = self.bundle.contract
        size = contract.size if self.device.type == "cuda" else (40, 40, 40)
        values = torch.rand((1, contract.phases, *size), generator=torch.Generator().manual_seed(7)) * 2
        expected = self._run(plain, torch.float32, values)[0]
        try:
            difference = abs(expected - self._run(fast, dtype, values)[0])
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:  # there is no such convolution
            difference = None
        if difference is not None and difference <= (0.01 if dtype == torch.float32 else 0.25):
            return fast, ""
        if dtype == torch.float32:
            return plain, ""
        if difference is None:
            reason = f"{_name(dtype)} is not computed by this processor and PyTorch"
        elif np.isfinite(difference):
            reason = f"{_name(dtype)} changed a test logit by {difference:.2f}"
        else:
            reason = f"{_name(dtype)} gave no number for a test input"
        return None, f"{reason}, so float32 is used."

    @torch.inference_mode()
    def _run(
        self,
        network: BreastNet,
        dtype: torch.dtype,
        batch: torch.Tensor,
        pooled: torch.Tensor | None = None,
    ) -> tuple[float, torch.Tensor]:
        """Logit of a batch of one exam, over the pooled cells (None: all), and features (C, LR, AP, SI)."""
        batch = batch.to(self.device, dtype)
        if not isinstance(network.stem[0], FoldedStem):  # which rearranges the exam itself
            batch = batch.contiguous(memory_format=torch.channels_last_3d)
        features = network.feature_map(batch).float()
        cells = features if pooled is None else features[:, :, pooled.to(self.device)]
        return float(network.logit(cells)[0]), features[0].cpu()

    def predict(self, array: np.ndarray | torch.Tensor) -> Prediction:
        """Read one exam, all of it: the network is convolutional, so a larger exam has more cells.

        Parameters
        ----------
        array : ndarray or torch.Tensor, shape (phases, LR, AP, SI)
            As :func:`~BreastCMSLLib.preprocessing.model_input.preprocess` makes it.

        Returns
        -------
        Prediction

        Raises
        ------
        InputError
            The answer is not a number.
        """
        array = torch.as_tensor(array)
        settings = self.bundle.network.settings
        pooled = pooled_cells(array, self.bundle.contract.size, settings.total_stride)
        try:
            logit, features = self._run(self._fast, self.dtype, array[None], pooled)
        except torch.OutOfMemoryError:
            if self.device.type == "cpu":
                raise
            self._move_to_cpu()
            logit, features = self._run(self._fast, self.dtype, array[None], pooled)
        if not np.isfinite(logit):
            raise InputError(
                "The network's answer was not a number; the exam's intensities are out of range: "
                "check the volumes."
            )
        logit /= self.bundle.temperature
        weight = self._fast.weight.detach().float().cpu()
        return Prediction(logit, float(1.0 / (1.0 + np.exp(-logit))), features, weight, pooled)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


class Preparing:
    """A :class:`Predictor` being made on another thread; its verified bundle is all that preprocessing needs.

    Parameters
    ----------
    bundle : Bundle
    device : str
        As for :func:`choose_device`; one that was asked for is tried at once.

    Raises
    ------
    InputError
        The device cannot be used.
    """

    def __init__(self, bundle: Bundle, device: str = "auto"):
        self.bundle = bundle
        if device != "auto":
            choose_device(device)
        threads = torch.get_num_threads()  # of this thread, known from here on whatever others set

        def build() -> Predictor:
            torch.set_num_threads(1)  # preprocessing keeps the others busy
            try:
                return Predictor(bundle, device)
            finally:
                torch.set_num_threads(threads)  # what threads to come begin with

        executor = ThreadPoolExecutor(1)
        self._predictor = executor.submit(build)
        executor.shutdown(wait=False)

    def predictor(self) -> Predictor:
        """Waits for it; raises what making it raised."""
        return self._predictor.result()
