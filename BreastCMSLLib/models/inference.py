"""Run a bundle's network on one preprocessed exam: device and precision chosen, checked, and said."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from ..core.errors import InputError
from ..network.resnet import BreastNet
from .bundle import Bundle
from .folding import FoldedStem, folded


@dataclass(frozen=True)
class Prediction:
    """features: float32 (C, LR, AP, SI) on the feature grid, CPU. logit: calibrated. cell_weight: w of the head (C,)."""

    logit: float
    probability: float
    features: torch.Tensor
    cell_weight: torch.Tensor


def choose_device(wanted: str = "auto") -> tuple[torch.device, str]:
    """A device that has just run a small kernel, and why it was chosen. wanted: "auto", "cpu", "cuda", "cuda:1", "mps"."""
    if wanted in ("auto", "cuda") or wanted.startswith("cuda"):
        if torch.cuda.is_available():
            try:
                device = torch.device("cuda" if wanted == "auto" else wanted)
                torch.nn.functional.conv3d(torch.ones(1, 1, 4, 4, 4, device=device), torch.ones(1, 1, 3, 3, 3, device=device)).sum().item()
                return device, f"GPU {torch.cuda.get_device_name(device)}"
            except (RuntimeError, AssertionError) as error:
                reason = f"the GPU did not run a test ({str(error).splitlines()[0][:80]})"
        else:
            reason = "this PyTorch has no CUDA support" if torch.version.cuda is None else "no usable NVIDIA GPU was found"
        if wanted != "auto":
            raise InputError(f"The device {wanted} cannot be used: {reason}; choose cpu or auto.")
        return torch.device("cpu"), f"CPU, because {reason}"
    if wanted == "cpu":
        return torch.device("cpu"), "CPU, as asked"
    try:
        device = torch.device(wanted)
        torch.ones(1, device=device).sum().item()
        return device, f"{wanted}, as asked"
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"The device {wanted} cannot be used on this computer; choose cpu or auto.") from error


def _fast_precision(device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type == "cpu" and torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.bfloat16
    return torch.float32


class Predictor:
    """A network on a device, in half precision where that was checked against float32 first, else in float32."""

    def __init__(self, bundle: Bundle, device: str = "auto", precision: str = "auto"):
        self.bundle = bundle
        self.wanted_precision = precision
        self.device, self.device_reason = choose_device(device)
        try:
            self._prepare(precision)
        except torch.OutOfMemoryError:
            if device != "auto":
                raise InputError(f"The device {device} has too little free memory; close other programs, or choose cpu.") from None
            self._move_to_cpu()

    def _move_to_cpu(self) -> None:
        self.device, self.device_reason = torch.device("cpu"), "CPU, because the GPU's memory was full"
        self._prepare(self.wanted_precision)

    def _prepare(self, precision: str) -> None:
        wanted = {"auto": _fast_precision(self.device), "float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
        self._network, self.precision_note, self.dtype = None, "", wanted
        self._fast = self._checked(wanted)
        if self._fast is None and wanted != torch.float32:
            self.dtype = torch.float32
            self._fast = self._checked(torch.float32)

    @property
    def precision(self) -> str:
        return str(self.dtype).removeprefix("torch.")

    @property
    def network(self) -> BreastNet:
        """The network itself, layer by layer as trained, on the device and in the precision of this predictor."""
        if self._network is None:
            self._network = self._place(self.dtype)
        return self._network

    def _place(self, dtype: torch.dtype) -> BreastNet:
        with torch.device("meta"):
            network = BreastNet(self.bundle.network.settings)
        state = {
            name: tensor.to(self.device, dtype if name.startswith(("stem.", "stages.")) and tensor.is_floating_point() else tensor.dtype)
            for name, tensor in self.bundle.network.state_dict().items()
        }  # the head stays in float32
        network.load_state_dict(state, assign=True)
        return network.eval().to(memory_format=torch.channels_last_3d)

    def _checked(self, dtype: torch.dtype) -> BreastNet | None:
        """A fast network of that precision, None when its logit of a fixed test input is not that of the plain one in float32:
        some libraries return wrong half-precision convolutions.
        """
        plain = self.bundle.network if self.device.type == "cpu" else self._place(torch.float32)
        fast = folded(plain, self.device, dtype) or self._place(dtype)
        size = self.bundle.contract.size if self.device.type == "cuda" else (40, 40, 40)  # still two cells along each axis at stride 32
        values = torch.rand((1, self.bundle.contract.phases, *size), generator=torch.Generator().manual_seed(7)) * 2
        expected = self._run(plain, torch.float32, values)[0]
        try:
            difference = abs(expected - self._run(fast, dtype, values)[0])
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:  # this PyTorch, or this processor, has no such convolution
            difference = float("inf")
        if difference <= (0.25 if dtype != torch.float32 else 0.01):
            return fast
        if dtype == torch.float32:
            return plain
        self.precision_note = f"{str(dtype).removeprefix('torch.')} changed a test logit by {difference:.2f}, so float32 is used."
        return None

    @torch.inference_mode()
    def _run(self, network: BreastNet, dtype: torch.dtype, batch: torch.Tensor) -> tuple[float, torch.Tensor]:
        batch = batch.to(self.device, dtype)
        if not isinstance(network.stem[0], FoldedStem):  # which rearranges the exam itself
            batch = batch.contiguous(memory_format=torch.channels_last_3d)
        features = network.feature_map(batch).float()
        return float(network.logit(features)[0]), features[0].cpu()

    def predict(self, array: np.ndarray | torch.Tensor) -> Prediction:
        """array: (phases, LR, AP, SI) as ``preprocess`` makes it."""
        batch = torch.as_tensor(array)[None]
        try:
            logit, features = self._run(self._fast, self.dtype, batch)
        except torch.OutOfMemoryError:
            if self.device.type == "cpu":
                raise
            self._move_to_cpu()
            logit, features = self._run(self._fast, self.dtype, batch)
        if not np.isfinite(logit):
            raise InputError("The network's answer was not a number; the exam's intensities are out of range: check the volumes.")
        logit /= self.bundle.temperature
        return Prediction(logit, float(1.0 / (1.0 + np.exp(-logit))), features, self._fast.weight.detach().float().cpu())


class Preparing:
    """A :class:`Predictor` in the making, on another thread: its verified bundle is all that preprocessing needs."""

    def __init__(self, bundle: Bundle, device: str = "auto"):
        self.bundle = bundle
        if device != "auto":
            choose_device(device)  # raises InputError before the work begins
        threads = torch.get_num_threads()  # of this thread, known from here on whatever others set

        def make() -> Predictor:
            torch.set_num_threads(1)  # preprocessing keeps the others busy
            try:
                return Predictor(bundle, device)
            finally:
                torch.set_num_threads(threads)  # what threads to come begin with

        beside = ThreadPoolExecutor(1)
        self._made = beside.submit(make)
        beside.shutdown(wait=False)

    def predictor(self) -> Predictor:
        """Waits for it; raises what making it raised."""
        return self._made.result()
