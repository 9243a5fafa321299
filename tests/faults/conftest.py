import json

import pytest


@pytest.fixture(scope="session")
def tiny_voice(tmp_path_factory):
    """Somebody's own HiFi-GAN checkpoint of few layers, drawn at random: it converts in seconds."""
    import torch

    from checkpoints.catalogue import BUNDLED
    from checkpoints.locate import FALLBACK
    from converters.upstream.coqui import import_coqui

    folder = tmp_path_factory.mktemp("checkpoints") / "tiny_voice"
    folder.mkdir()
    config = json.loads((BUNDLED / FALLBACK["hifigan"] / "config.json").read_text())
    config["generator_model_params"] |= {
        "upsample_initial_channel": 16,
        "upsample_factors": [16, 16],
        "upsample_kernel_sizes": [32, 32],
        "resblock_kernel_sizes": [3],
        "resblock_dilation_sizes": [[1, 3, 5]],
    }
    torch.manual_seed(0)
    module = import_coqui("TTS.vocoder.models.hifigan_generator").HifiganGenerator(**config["generator_model_params"])
    torch.save({"model": module.state_dict()}, folder / "model_file.pth")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


_ROWS = pytest.StashKey[list]()


@pytest.fixture
def fault_row(request):
    """Adds a row to the table of faults, which is printed at the end: what was done, how often, what came of it."""
    rows = request.config.stash.setdefault(_ROWS, [])
    return lambda fault, count, outcome: rows.append((fault, str(count), outcome))


def pytest_terminal_summary(terminalreporter, config):
    rows = [("fault", "times", "outcome"), *config.stash.get(_ROWS, [])]
    if len(rows) > 1:
        widths = [max(map(len, column)) for column in zip(*rows)]
        terminalreporter.section("faults")
        for fault, count, outcome in rows:
            terminalreporter.write_line(f"{fault:<{widths[0]}}  {count:>{widths[1]}}  {outcome}")
