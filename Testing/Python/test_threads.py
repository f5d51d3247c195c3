"""Work on several threads."""

import numpy as np
import pytest
import torch

from BreastCMSLLib.core.geometry import Volume
from BreastCMSLLib.core.resampling import resample


@pytest.mark.parametrize("inference", [False, True])
def test_threads_write_where_networks_are_read(inference, monkeypatch):
    """PyTorch's inference mode is each thread's own, and a tensor made in it is written within it alone."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    volume = Volume(np.arange(20.0**3, dtype=np.float32).reshape(20, 20, 20), np.eye(4))
    with torch.inference_mode(inference):
        resampled = resample(volume, (20, 20, 20), np.eye(4))
    assert np.array_equal(resampled.array, volume.array)
