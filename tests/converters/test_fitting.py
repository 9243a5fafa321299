"""A config that describes more than its file holds is refused; what a conversion registers again is not more."""

import types

import pytest
import torch
from torch import nn

from checkpoints import CheckpointError
from converters import fitting as subject
from converters.fitting import SettingsError, check_number, fitting


@pytest.fixture
def checkpoint(monkeypatch):
    monkeypatch.setattr(subject, "_SPARE", 0)
    located = types.SimpleNamespace(is_random=False, family="hifigan")
    return types.SimpleNamespace(name="small", config={}, weights={"weight": torch.zeros(10, 10)}, located=located)


def test_a_network_beyond_its_weights_is_refused(checkpoint):
    with fitting(checkpoint):
        nn.Linear(10, 39, bias=False)
    with pytest.raises(CheckpointError, match="describes a network of over 410 weights"), fitting(checkpoint):
        nn.Linear(10, 41, bias=False)


def test_the_same_weights_in_many_modules_count_once(checkpoint):
    """Reading a network's receptive field exports it, which registers its parameters again."""
    with fitting(checkpoint):
        layer = nn.Linear(10, 10, bias=False)
        for _ in range(20):
            nn.Module().register_parameter("weight", layer.weight)
    with pytest.raises(CheckpointError), fitting(checkpoint):
        nn.ModuleList(nn.Linear(10, 10, bias=False) for _ in range(20))


def test_a_layer_has_a_stride_and_may_have_no_padding():
    check_number("config", "upsample_output_paddings", [1, 0])
    with pytest.raises(SettingsError, match=r"config\.upsample_factors is 0"):
        check_number("config", "upsample_factors", [1, 0])
    with pytest.raises(SettingsError, match=r"config\.upsample_paddings is -1"):
        check_number("config", "upsample_paddings", [-1])
