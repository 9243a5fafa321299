import json

import numpy as np
import pytest
import torch

from checkpoints import CheckpointError
from checkpoints.companions import companion_hashes, read_companions
from checkpoints.load import load
from checkpoints.locate import locate
from checkpoints.onnx_weights import read_onnx
from checkpoints.options import CheckpointOptions

WAVLM = "WavLM-Large.pt"


@pytest.mark.parametrize("name", ["speaker_ids.json", "speakers.pth"])
def test_names_of_speakers_come_from_json_or_pickle(tmp_path, name):
    names = {"ann": 0, "bob": 1}
    path = tmp_path / name
    path.write_text(json.dumps(names)) if name.endswith("json") else torch.save(names, path)
    (tmp_path / "language_ids.json").write_text('{"en": 0, "fr-fr": 1}')
    assert read_companions(tmp_path) == {"speaker_ids": names, "language_ids": {"en": 0, "fr-fr": 1}}
    assert set(companion_hashes(tmp_path)) == {name, "language_ids.json"}


def test_embeddings_of_recordings_become_their_speakers(tmp_path):
    recordings = {
        "a1.wav": {"name": "ann", "embedding": [1, 0]}, "b.wav": {"name": "bob", "embedding": [0, 2]},
        "a2.wav": {"name": "ann", "embedding": [0, 1]},
    }  # fmt: skip
    (tmp_path / "speakers.json").write_text(json.dumps(recordings))
    assert read_companions(tmp_path) == {"speaker_vectors": {"ann": [0.5, 0.5], "bob": [0, 2]}}


@pytest.mark.parametrize("text", ["[1]", "{}", "not JSON", '{"a": {"name": "x"}}', '{"a": null}'])
def test_a_damaged_companion_is_a_sentence(tmp_path, text):
    (tmp_path / "speakers.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"speakers\.json cannot be read"):
        read_companions(tmp_path)


def test_a_pickle_that_wants_to_run_something_is_refused(tmp_path):
    class Shell:
        def __reduce__(self):
            return print, ("run",)

    torch.save({"ann": Shell()}, tmp_path / "speakers.pth")
    with pytest.raises(CheckpointError, match="wants to run"):
        read_companions(tmp_path)


def test_companions_are_part_of_the_checkpoint(tmp_path):
    (tmp_path / "model_file.pth").write_bytes(b"weights")
    (tmp_path / "config.json").write_text("{}")
    configs = []
    for name in ("ann", "bob"):
        (tmp_path / "speaker_ids.json").write_text(json.dumps({name: 0}))
        configs.append(locate(CheckpointOptions(source=str(tmp_path)), "vits", "", print).config)
    assert configs[0] != configs[1]


def test_weights_in_another_file_are_refused(tmp_path):
    import onnx
    from onnx import helper, numpy_helper

    weight = numpy_helper.from_array(np.zeros((4, 4, 3), np.float32), "w")
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="/dec/Conv")
    model = helper.make_model(helper.make_graph([node], "g", [], [], [weight]))
    onnx.save_model(model, tmp_path / "voice.onnx", save_as_external_data=True, size_threshold=0, location="w.bin")
    with pytest.raises(CheckpointError, match="keeps w in another file"):
        read_onnx(tmp_path / "voice.onnx")
    weight = numpy_helper.from_array(np.zeros((4, 4, 3), np.float32), "w")
    weight.raw_data = weight.raw_data[:-5]
    onnx.save(helper.make_model(helper.make_graph([node], "g", [], [], [weight])), tmp_path / "short.onnx")
    with pytest.raises(CheckpointError, match=r"short\.onnx is damaged: w"):
        read_onnx(tmp_path / "short.onnx")


def test_weights_beside_are_part_of_a_checkpoint(tmp_path):
    """FreeVC's WavLM and speaker encoder, under the prefixes that its own modules have; what it holds itself stays."""
    torch.save({"model": {"dec.weight": torch.ones(2), "wavlm.b": torch.zeros(1)}}, tmp_path / "model.pth")
    torch.save({"cfg": {"encoder_layers": 3}, "model": {"a": torch.ones(3), "b": torch.ones(1)}}, tmp_path / WAVLM)
    torch.save({"model_state": {"lstm": torch.ones(4)}}, tmp_path / "speaker_encoder.pt")
    (tmp_path / "config.json").write_text("{}")
    assert set(companion_hashes(tmp_path)) == {WAVLM, "speaker_encoder.pt"}
    stored = load(locate(CheckpointOptions(source=str(tmp_path)), "freevc", "", print))
    assert set(stored.weights) == {"dec.weight", "wavlm.a", "wavlm.b", "enc_spk_ex.lstm"}
    assert stored.weights["wavlm.b"].item() == 0 and stored.settings == {"encoder_layers": 3}
    by_itself = load(locate(CheckpointOptions(source=str(tmp_path / WAVLM)), "knn_vc", "", print))
    assert set(by_itself.weights) == {"a", "b", "enc_spk_ex.lstm"} and by_itself.settings == stored.settings
