"""What a method is: a network, its loss, what it needs of an exam, and the maps that it offers."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn

from BreastCMSLLib.network.losses import sigmoid_loss
from BreastCMSLLib.network.resnet import NetworkSettings
from training.recipes import Config

Targets = dict[str, torch.Tensor]  # "label" of every exam, and what the method needs besides


@dataclass(frozen=True)
class Reading:
    """What a network says of one exam.

    Parameters
    ----------
    logit : float
        Positive towards malignant.
    maps : dict
        Name → (cells, stride): a 3-D tensor whose cell i is centred on input voxel stride · i.
    pooled, weight : torch.Tensor, optional
        (C,) feature and weight of the head, of methods that have an angle between the two.
    """

    logit: float
    maps: dict[str, tuple[torch.Tensor, int]] = field(default_factory=dict)
    pooled: torch.Tensor | None = None
    weight: torch.Tensor | None = None


class Method:
    """A way to learn from exams; the one object of a class holds no state.

    Attributes
    ----------
    name, title : str
        On the command line, and in tables; a method of Luo et al. 2019 has its title there.
    start : str
        The method whose run it starts from in a comparison; "" for none.
    strong : bool
        Whether it learns from lesions' places, and not from labels of exams alone.
    needs : tuple of str
        Of every exam besides the label: "grade", "patches", "soft labels".
    planar : bool
        Whether its network is two-dimensional.
    staged : bool
        Whether its parts begin to learn one after the other, at rates that fall in steps, without the cosine.
    fresh : bool
        Whether much of its network is new, so that it learns at the rate of a new network.
    flips : tuple of tuple of int
        Axes of (B, phases, LR, AP, SI) that an exam is mirrored along when it is read; the logits are
        averaged.
    """

    name = title = ""
    start = "base"
    strong = False
    needs: tuple[str, ...] = ()
    planar = fresh = staged = False
    flips: tuple[tuple[int, ...], ...] = ((),)

    def network(self, settings: NetworkSettings, spacing_mm: float) -> nn.Module:
        """A new network; ``settings`` are those of its trunk, and stay as its attribute; mm of its voxels."""
        raise NotImplementedError

    def take_over(self, network: nn.Module, other: nn.Module, trunk: dict[str, torch.Tensor]) -> None:
        """Start from another method's network, whose trunk's weights are given for this network's spacing."""
        trunk_of(network).load_state_dict(trunk, strict=False)  # a cosine head has no bias

    def loss(self, output, targets: Targets, config: Config, epoch: int) -> torch.Tensor:
        """Mean loss of a batch's output, a scalar in float32; epochs are counted from 0."""
        return sigmoid_loss(self.logit(output), targets["label"])

    def logit(self, output) -> torch.Tensor:
        """(B,) float32, of what the network's ``forward`` returns."""
        return output

    def judged(self, output, targets: Targets) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits and labels that an epoch is judged by, each (B, …)."""
        return self.logit(output), targets["label"]

    def read(self, network: nn.Module, array: torch.Tensor, size: tuple[int, ...]) -> Reading:
        """Read one exam.

        Parameters
        ----------
        network : nn.Module
            In evaluation mode.
        array : torch.Tensor, shape (1, phases, LR, AP, SI)
            All of the exam.
        size : tuple of int
            Of the window in training.

        Returns
        -------
        Reading
        """
        raise NotImplementedError

    def margin(self, config: Config, epoch: int) -> float:
        """Of the loss in an epoch, for the record."""
        return 0.0

    def part(self, name: str, settings: NetworkSettings) -> str:
        """Which part the parameter of that name belongs to; parts may learn at rates of their own."""
        return ""

    def rate(self, part: str, progress: float, config: Config) -> float:
        """Factor of a part's learning rate, when that share of the run is done."""
        return 1.0

    def complete(self, config: Config, epoch: int) -> bool:
        """Whether all of the network has begun to learn, so that an epoch may be the best."""
        return True


def trunk_of(network: nn.Module) -> nn.Module:
    """The 3-D ResNet in a method's network, which may be all of it."""
    return getattr(network, "trunk", network)
