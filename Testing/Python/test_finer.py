"""Finer feature maps: the cells they share with the network's own are the same."""

import pytest
import torch

from BreastCMSLLib.network.resnet import BreastNet, NetworkSettings
from training.finer import stage_features, undecimated

SETTINGS = {"channels": 3, "width": 4, "blocks": (1, 2, 1), "stem_kernel": 3, "stem_stride": 1, "stem_pool": True}


@pytest.mark.parametrize("strides", [(1, 2, 1), (2, 1, 2)])
def test_every_second_cell_is_the_networks_own(strides):
    torch.manual_seed(0)
    network = BreastNet(NetworkSettings(**SETTINGS, strides=strides)).eval()
    for block in (block for stage in network.stages for block in stage):
        torch.nn.init.ones_(block.norm2.weight)  # a block starts as the identity: that would prove little
    x = torch.rand(1, 3, 20, 24, 17)
    finer, stride = undecimated(network)
    assert stride == network.settings.total_stride // 2
    with torch.inference_mode():
        own, dense = network.feature_map(x), finer.feature_map(x)
    assert dense.shape[2] > own.shape[2] and torch.allclose(dense[:, :, ::2, ::2, ::2], own, atol=1e-5)
    with torch.inference_mode():
        stages = stage_features(network, x)
    assert torch.equal(stages[-1][0], own[0]) and [s for _, s in stages][-1] == network.settings.total_stride and len(stages) == 3


def test_a_network_without_steps_cannot_be_made_finer():
    with pytest.raises(ValueError, match="stride"):
        undecimated(BreastNet(NetworkSettings(**SETTINGS, strides=(1, 1, 1))))
