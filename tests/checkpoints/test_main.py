import pytest

from checkpoints import __main__ as cli
from checkpoints.locate import FALLBACK


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
