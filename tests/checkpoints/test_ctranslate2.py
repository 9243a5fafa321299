"""CTranslate2's format: what it holds comes back, and nothing else is believed."""

import struct

import numpy as np
import pytest
import torch

from checkpoints import CheckpointError
from checkpoints.ctranslate2 import is_ctranslate2, read_ctranslate2
from tests.small_whisper import small_whisper, write_ctranslate2


@pytest.fixture
def whole(tmp_path):
    path = tmp_path / "model.bin"
    write_ctranslate2(path, small_whisper(64, 1), {"decoder/embeddings/weight": "encoder/conv1/bias"})
    return path


def test_every_tensor_comes_back_as_float32_and_aliases_too(whole):
    tensors = read_ctranslate2(whole)
    for name, array in small_whisper(64, 1).items():
        np.testing.assert_array_equal(tensors[name].numpy(), array.astype(tensors[name].numpy().dtype))
    assert tensors["encoder/conv1/weight"].dtype == torch.float32
    assert torch.equal(tensors["decoder/embeddings/weight"], tensors["encoder/conv1/bias"])
    assert is_ctranslate2(whole)


def test_a_pickle_called_model_bin_is_none(tmp_path):
    path = tmp_path / "model.bin"
    torch.save({"model": {"a": torch.zeros(2)}}, path)
    assert not is_ctranslate2(path)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_damaged_is_a_sentence(whole, seed):
    """Cut off anywhere, or any bytes of the beginning changed: read as before, or refused."""
    content, random = whole.read_bytes(), np.random.default_rng(seed)
    for _ in range(100):
        damaged = bytearray(content)
        if random.random() < 0.4:
            del damaged[int(random.integers(len(damaged))) :]
        else:
            for at in random.integers(0, 400, 3):
                damaged[at] = int(random.integers(256))
        whole.write_bytes(damaged)
        try:
            tensors = read_ctranslate2(whole)
        except CheckpointError:
            continue
        assert sum(tensor.nbytes for tensor in tensors.values()) <= 4 * len(content)


def test_it_claims_no_memory_that_it_does_not_hold(whole):
    content = bytearray(whole.read_bytes())
    at = content.index(b"encoder/conv1/weight\0") + len(b"encoder/conv1/weight\0")
    content[at + 1 : at + 13] = struct.pack("<III", 2**31, 2**31, 3)
    whole.write_bytes(content)
    with pytest.raises(CheckpointError, match="takes"):
        read_ctranslate2(whole)


def test_integers_are_refused(tmp_path):
    write_ctranslate2(tmp_path / "model.bin", {"encoder/conv1/weight": np.zeros((2, 2), np.int8)})
    with pytest.raises(CheckpointError, match="quantised"):
        read_ctranslate2(tmp_path / "model.bin")


def test_bytes_behind_the_end_are_refused(whole):
    whole.write_bytes(whole.read_bytes() + b"\0")
    with pytest.raises(CheckpointError, match="after its end"):
        read_ctranslate2(whole)
