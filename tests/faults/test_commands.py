"""Every command, given every kind of damaged file in every place of a file: a sentence and exit code 2, or its work."""

import importlib
import shutil
import sys

import numpy as np
import pytest
import soundfile

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 123456\n"

# `{x}` is what is damaged; the other names are sound.
COMMANDS = {
    "runtime": [
        "info {x}",
        "lower {x}",
        "run {x} {arrays} {out}",
        "run {bundle} {x} {out}",
        "run {bundle} {arrays} {x}",
        "vocode {x} {recording} {out}",
        "vocode {bundle} {x} {out}",
        "vocode {bundle} {recording} {x}/out.wav",
        "convert-voice {recording} {out} --bundle {x}",
        "convert-voice {recording} {out} --bundle {bundle} --target {x}",
        "target {recording} {out}.npz --bundle {x}",
        "target {x} {out}.npz --bundle {bundle}",
        "embed {recording} --bundle {x}",
        "embed {x} --bundle {bundle}",
        "speak hello {out} --voice {x}",
        "speak hello {out} --voice {bundle} --vocoder {x}",
        "live {x} --in {recording} --out {out}",
        "live {streaming} --in {x} --out {out}",
        "measure {x} --no-timing",
        "audit {x}",
        "audit {bundle}/generator.mlpackage --inputs {x}",
        "diff {x} {bundle}",
        "diff {bundle} {x}",
        "bench {x} --quick",
        "mac-check {x} --out {out}",
    ],
    "reports": [
        "html {x}",
        "sync {x}",
        "bench {x} --uri=",
        "mac-check {x} --uri=",
        "audit {x}",
        "precisions {x} {bundle} --uri=",
        "precisions {bundle} {x} --uri=",
        "upsampling {x} --out {out}",
        "upsampling {bundle} --mac-check {x} --out {out}",
        "promote {x} --reason because --uri sqlite:///{store}",
        "promote --suite {x} --first --uri sqlite:///{store}",
        "judge {x} --uri sqlite:///{store}",
    ],
    "convert": [
        "checkpoint.source={x} tracking=off output={out}",
        "checkpoint.source=bundled tracking=off output={x}/bundles measure.engines=[mil] measure.bench_seconds=0",
    ],
}  # fmt: skip
DAMAGED = ["absent", "folder", "empty", "text", "zeros", "pickle", "lfs", "brackets", "list", "cut zip", "one array",
           "bundle of brackets", "bundle of a list", "bundle without files", "bundle with a link",
           "no name"]  # fmt: skip
FOLDERS = {kind for kind in DAMAGED if kind == "folder" or kind.startswith("bundle")}


def damaged(kind, folder, bundle):
    """Makes what is called so below `folder` and gives its path."""
    path = folder / "damaged"
    if kind.startswith("bundle"):
        path.mkdir()
        manifest = (bundle / "manifest.json").read_text()
        text = {"bundle of brackets": "[" * 100_000, "bundle of a list": "[]"}.get(kind, manifest)
        (path / "manifest.json").write_text(text)
        if kind == "bundle with a link":
            shutil.copytree(bundle, path, dirs_exist_ok=True)
            (path / "link").symlink_to("/etc")
    elif kind == "folder":
        path.mkdir()
    elif kind == "one array":
        path = folder / "damaged.npy"
        np.save(path, np.zeros(3))
    elif kind == "no name":
        return "\x01\x1b[31m"
    elif kind != "absent":
        content = {
            "empty": b"",
            "text": b"hello\xff",
            "zeros": bytes(4096),
            "pickle": b"\x80\x02cos\nsystem\nq\0.",
            "lfs": LFS.encode(),
            "brackets": b"[" * 100_000,
            "list": b"[]",
            "cut zip": b"PK\x03\x04" + bytes(60),
        }
        path.write_bytes(content[kind])
    return str(path)


@pytest.fixture(scope="module")
def sound(fp16, stateful, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    bundle = fp16.bundle
    soundfile.write(folder / "in.wav", np.zeros(22050), 22050)
    case = bundle.goldens(bundle.component())[0]
    np.savez(folder / "in.npz", mel=case.inputs["mel"][:, :, :64])
    streaming = stateful.bundle.path
    return {
        "bundle": bundle.path,
        "streaming": streaming,
        "recording": folder / "in.wav",
        "arrays": folder / "in.npz",
        "store": folder / "mlflow.db",
    }


def cases():
    for program, commands in COMMANDS.items():
        for command in commands:
            # a job can make its folder: only a file in its place is wrong
            kinds = ["text", "cut zip"] if "output={x}" in command else DAMAGED
            yield from ((program, command, kind) for kind in kinds)


@pytest.mark.parametrize(("program", "command", "kind"), cases())
def test_a_damaged_input_is_a_sentence_and_exit_code_2(sound, tmp_path, monkeypatch, capfd, program, command, kind):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [program])
    places = {**sound, "out": tmp_path / "out", "x": damaged(kind, tmp_path, sound["bundle"])}
    arguments = [part.format(**places) for part in command.split(" ")]
    try:
        code = importlib.import_module(f"{program}.__main__").main(arguments)
    except SystemExit as stop:
        code = stop.code
    said = capfd.readouterr().err
    assert "Traceback" not in said
    assert "fault of voxport" not in said
    assert "\x1b" not in said
    if may_work(command, kind):
        assert code in (0, 2), said
        return
    assert code == 2, said
    assert "error" in said


def may_work(command, kind):
    """Whether the place is one to write in, or the folder of no bundles at all."""
    is_target = command.endswith(("{arrays} {x}", "{x}/out.wav"))
    return is_target or (command == "sync {x}" and kind in FOLDERS)
