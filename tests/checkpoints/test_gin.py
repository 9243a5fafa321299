"""gin configs are read as data: what they bind, and what no reader of data follows."""

import pytest

from checkpoints import CheckpointError
from checkpoints.gin import read_gin

RUN = """
from __gin__ import dynamic_registration
import cached_conv as cc

# Macros:
# ====
CAPACITY = 96
RATIOS = [4, %LAST]
LAST = 2

# Parameters for discriminator.Combine:
discriminator.Combine.parts = \\
    [@discriminator.First,
     @scope/discriminator.Second()]
cc.Conv1d.bias = False
variational/blocks.EncoderV2.capacity = %CAPACITY
variational/blocks.EncoderV2.ratios = %RATIOS

blocks.Block:
    kernel_size = (5, 1)
    weights = {
        'reg': 1e-2,
        }
blocks.After.name = 'centered'
"""


@pytest.fixture
def read(tmp_path):
    def read(text):
        (tmp_path / "config.gin").write_text(text)
        return read_gin(tmp_path / "config.gin")

    return read


def test_bindings_are_literals_with_their_macros_in_place(read):
    assert read(RUN) == {
        "CAPACITY": 96,
        "RATIOS": [4, 2],
        "LAST": 2,
        "Combine.parts": ["@First", "@scope/Second"],
        "Conv1d.bias": False,
        "variational/EncoderV2.capacity": 96,
        "variational/EncoderV2.ratios": [4, 2],
        "Block.kernel_size": [5, 1],
        "Block.weights": {"reg": 0.01},
        "After.name": "centered",
    }


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('include "configs/v1.gin"\n', "includes 'configs/v1.gin'|includes \"configs/v1.gin\".*config.gin"),
        ("A.b = open('/etc/passwd')\n", "cannot be read as a gin config"),
        ("A.b = %MISSING\n", "does not say what %MISSING is"),
        ("X = %Y\nY = %X\n", "stand for each other"),
        ("A = [%B, %B, %B, %B, %B, %B, %B, %B, %B, %B]\n" + "".join(
            f"{a} = [{', '.join([f'%{b}'] * 10)}]\n" for a, b in zip("BCDEFGH", "CDEFGHI")) + "I = 1\n", "each other"),
        ("what is this\n", "binds nothing"),
        ("A.b = [1,\n", "cannot be read as a gin config"),
        ("A.b = " + "[" * 5000 + "\n", "cannot be read as a gin config"),
    ],
    ids=["include", "call", "macro", "loop", "many", "prose", "cut", "deep"],
)  # fmt: skip
def test_what_is_no_data_is_a_sentence(read, text, sentence):
    with pytest.raises(CheckpointError, match=sentence):
        read(text)
