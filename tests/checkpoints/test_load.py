import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrizations

from checkpoints import CheckpointError
from checkpoints.load import LoadedCheckpoint, fold_weight_norm, read_weights
from checkpoints.locate import LocatedCheckpoint


def layer(kind=nn.Conv1d):
    torch.manual_seed(0)
    return kind(3, 5, 4)


def old_layout(module: nn.Module) -> dict[str, torch.Tensor]:
    """weight_g / weight_v, as torch.nn.utils.weight_norm used to store them."""
    state = module.state_dict()
    return {
        "weight_g": state["parametrizations.weight.original0"],
        "weight_v": state["parametrizations.weight.original1"] * 3,  # the direction's length is free
        "bias": state["bias"],
    }


@pytest.mark.parametrize("kind", [nn.Conv1d, nn.ConvTranspose1d])
def test_both_layouts_of_weight_norm_fold_to_the_same_weight(kind):
    plain = layer(kind)
    normed = parametrizations.weight_norm(layer(kind))
    for state in (normed.state_dict(), old_layout(normed), plain.state_dict()):
        folded = fold_weight_norm(state)
        assert set(folded) == {"weight", "bias"}
        torch.testing.assert_close(folded["weight"], plain.weight.detach())


def test_half_a_weight_norm_is_a_sentence():
    with pytest.raises(CheckpointError, match=r"conv\.weight_v has no gain"):
        fold_weight_norm({"conv.weight_v": torch.ones(2, 2, 2)})


@pytest.mark.parametrize("wrap", [lambda s: {"model": s}, lambda s: {"generator": s}, lambda s: s])
def test_the_state_dict_is_found_where_trainers_put_it(tmp_path, wrap):
    torch.save(wrap({"w": torch.ones(2)}), tmp_path / "c.pth")
    assert torch.equal(read_weights(tmp_path / "c.pth")["w"], torch.ones(2))


def test_safetensors_are_read_and_a_damaged_one_is_a_sentence(tmp_path):
    save_file({"w": torch.ones(2)}, tmp_path / "c.safetensors")
    assert torch.equal(read_weights(tmp_path / "c.safetensors")["w"], torch.ones(2))
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "c.safetensors").read_bytes()[:20])
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        read_weights(tmp_path / "cut.safetensors")


def test_a_checkpoint_without_tensors_is_a_sentence(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "c.pth")
    with pytest.raises(CheckpointError, match="holds no tensors; its keys are: epoch"):
        read_weights(tmp_path / "c.pth")


def checkpoint(weights, tmp_path) -> LoadedCheckpoint:
    return LoadedCheckpoint(LocatedCheckpoint("c", "hifigan", "?", "?", "0", tmp_path, {}), weights)


def test_weights_are_found_under_any_of_the_prefixes(tmp_path):
    module = layer()
    state = {f"model_g.{key}": value for key, value in module.state_dict().items()} | {"model_d.x": torch.ones(1)}
    assert set(checkpoint(state, tmp_path).weights_for(module, ("", "model_g."))) == {"weight", "bias"}


def test_missing_and_misshapen_weights_are_named(tmp_path):
    module = layer()
    with pytest.raises(CheckpointError, match=r"1 of 2 are missing, such as weight"):
        checkpoint({"bias": torch.ones(5)}, tmp_path).weights_for(module, ("",))
    wrong = {"bias": torch.ones(5), "weight": torch.ones(5, 3, 7)}
    with pytest.raises(CheckpointError, match=r"weight has shape \(5, 3, 7\), its config asks for \(5, 3, 4\)"):
        checkpoint(wrong, tmp_path).weights_for(module, ("",))
