import subprocess
import sys


def test_coqui_and_the_python_half_of_torchaudio_import_in_a_fresh_process():
    program = """
from converters.upstream.coqui import import_coqui
assert import_coqui("TTS.vocoder.models.hifigan_generator").HifiganGenerator
import torch, torchaudio
resampled = torchaudio.transforms.Resample(48000, 24000)(torch.zeros(1, 4800))
assert resampled.shape == (1, 2400), resampled.shape
mel = torchaudio.transforms.MelSpectrogram(16000, n_fft=512, n_mels=40)(torch.zeros(1, 16000))
assert mel.shape[1] == 40
assert not hasattr(torchaudio, "no_such_part")
from importlib.metadata import packages_distributions
assert packages_distributions()["numpy"] == ["numpy"], "afterwards every package is known again"
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True)
