"""3D ResNet + NSL (Luo et al. 2019, eq. 3): cross-entropy of σ(s·cos θ), θ between the feature and w.

Follows the source, with its s = 20. Started from the cross-entropy's network, w is that network's.
"""

from __future__ import annotations

from .resnet_3d import ResNet3d


class NormalisedSigmoid(ResNet3d):
    """Cross-entropy on the cosine, without a margin."""

    name, title = "nsl", "3D ResNet + NSL"
    head = "cosine"
