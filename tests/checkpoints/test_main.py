import shutil

import pytest

from checkpoints import __main__ as cli
from checkpoints.catalogue import BUNDLED
from checkpoints.locate import FALLBACK
from tests.converters import layout_twins as twins


def test_list_names_every_checkpoint_and_its_state(capsys):
    assert cli.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:5] == ["name", "family", "size", "here", "sha256"]
    row = next(line for line in lines if line.startswith(FALLBACK["hifigan"]))
    assert "bundled" in row
    assert "known" in row


def test_path_and_verify_of_what_is_here(capsys):
    assert cli.main(["path", FALLBACK["hifigan"]]) == 0
    assert capsys.readouterr().out.strip().endswith(FALLBACK["hifigan"])
    assert cli.main(["verify", FALLBACK["hifigan"]]) == 0
    assert "as it should be" in capsys.readouterr().out


def test_what_is_not_here_or_not_known_is_a_sentence(capsys):
    assert cli.main(["path", "vctk_vits"]) == 2
    assert "python -m checkpoints fetch vctk_vits" in capsys.readouterr().err
    assert cli.main(["fetch", "vctk_vit"]) == 2
    assert "did you mean 'vctk_vits'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["fetsh"])


def test_inspect_says_what_a_path_holds_and_how_it_is_converted(tmp_path, capsys):
    folder = twins.write_jik876(tmp_path / "my vocoder")
    assert cli.main(["inspect", str(folder)]) == 0
    page = capsys.readouterr().out
    assert "holds     HiFi-GAN of jik876/hifi-gan" in page
    assert f"python -m convert model=hifigan checkpoint.source='{folder}'" in page
    assert "20 bands, 0 to 4000 Hz, of audio at 8000 Hz" in page
    assert "ln of at least 1e-05" in page
    (folder / "config.json").unlink()
    assert cli.main(["inspect", str(folder / "g_00010000")]) == 2
    assert "it looks like a HiFi-GAN's generator: it lacks its config.json" in capsys.readouterr().out


def test_inspect_says_plainly_what_is_not_converted(tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"model": "xtts", "model_args": {}}')
    (tmp_path / "model.pth").touch()
    assert cli.main(["inspect", str(tmp_path)]) == 2
    page = capsys.readouterr().out
    assert "XTTS of Coqui" in page
    assert "no family that samples codes from a transformer" in page
    assert cli.main(["inspect", str(tmp_path / "nothing")]) == 2
    assert "there is no such path" in capsys.readouterr().err


def test_inspect_of_coqui_s_own_layout_and_of_a_damaged_one(tmp_path, capsys):
    shutil.copytree(BUNDLED / FALLBACK["hifigan"], tmp_path / "ours")
    assert cli.main(["inspect", str(tmp_path / "ours")]) == 0
    assert "hifigan_generator of Coqui" in capsys.readouterr().out
    (tmp_path / "ours" / "model.safetensors").write_bytes(b"damaged")
    assert cli.main(["inspect", str(tmp_path / "ours")]) == 2
    assert "converts  no: " in capsys.readouterr().out
