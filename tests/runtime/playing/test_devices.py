"""Sound cards: with a fake PortAudio on a thread of its own everywhere, against PulseAudio where there is one."""

import os
import shutil
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

import runtime.playing.devices
from runtime.__main__ import main
from runtime.errors import AudioError
from runtime.playing.devices import SoundCard, loopback, probe, probe_delays
from runtime.playing.live import Session

RATE = 8000


class Echo:
    """A chain that gives its input back in chunks."""

    sample_rate, chunk = RATE, 400

    def __init__(self):
        self.reset()

    def reset(self):
        self.held = np.zeros(0, np.float32)

    def push(self, samples):
        self.held = np.concatenate([self.held, samples])
        ready = len(self.held) // self.chunk * self.chunk
        out, self.held = self.held[:ready], self.held[ready:]
        return out

    def flush(self):
        return self.held


class FakeStream:
    """Calls back from a thread, in real time at most; what is played comes back `delay` samples later."""

    played: list = []  # noqa: RUF012 - of the newest stream
    delay = 100
    status = ""

    def __init__(self, samplerate, blocksize, device, channels, dtype, latency, callback, kind="both"):
        self.rate, self.block, self.callback, self.kind = samplerate, blocksize, callback, kind
        self.latency = (0.01, 0.02) if kind == "both" else 0.01
        FakeStream.played = []

    def __enter__(self):
        self.running = True
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def __exit__(self, *_):
        self.running = False
        self.thread.join()

    def run(self):
        line = np.zeros(self.delay, np.float32)
        began, count = time.monotonic(), 0
        while self.running:
            given, wanted = line[: self.block, None].copy(), np.full((self.block, 1), np.nan, np.float32)
            arguments = {"both": (given, wanted), "in": (given,), "out": (wanted,)}[self.kind]
            if self.kind == "in":
                given[:, 0] = np.arange(count * self.block, (count + 1) * self.block) / 1e5
            self.callback(*arguments, self.block, None, self.status)
            line = np.concatenate([line, wanted[:, 0]])[self.block :]
            FakeStream.played.append(wanted[:, 0])
            count += 1
            time.sleep(max(0.0, began + count * self.block / self.rate - time.monotonic()))
            card = getattr(self.callback, "__self__", None)
            while card is not None and card.session.waiting and self.running:
                time.sleep(0.001)  # a busy machine makes this card slow, not the test fail


@pytest.fixture
def portaudio(monkeypatch):
    fake = SimpleNamespace(
        Stream=FakeStream,
        InputStream=lambda **options: FakeStream(**options, kind="in"),
        OutputStream=lambda **options: FakeStream(**options, kind="out"),
        PortAudioError=RuntimeError,
        _terminate=lambda: None,
        _initialize=lambda: None,
    )
    monkeypatch.setattr(runtime.playing.devices, "_sounddevice", lambda: fake)
    return fake


def test_a_file_is_played_whole_after_the_declared_delay(portaudio):
    source = np.arange(1, 4001, dtype=np.float32)
    session = Session(Echo(), 80, prefill=800)
    card = SoundCard(session, [source[:900], source[900:]], tail=0.5)
    ticks = []
    card.run(ticks.append, every=0.1)
    played = np.concatenate(FakeStream.played)
    start = int(np.flatnonzero(played)[0])
    assert start == session.delay
    assert np.array_equal(played[start : start + 4000], source)
    assert session.counters.underruns == session.counters.drops == 0
    assert len(ticks) >= 5
    assert len(card.costs) >= 10


def test_a_microphone_is_recorded_and_an_interrupt_leaves_a_whole_file(portaudio, tmp_path):
    session = Session(Echo(), 80, prefill=800)
    card = SoundCard(session, record=tmp_path / "out.wav")

    def interrupt(card):
        raise KeyboardInterrupt

    card.run(interrupt, every=0.6)
    heard, rate = soundfile.read(tmp_path / "out.wav")
    assert rate == RATE
    assert os.listdir(tmp_path) == ["out.wav"]
    assert heard[: session.delay].max() < 1e-4
    steps = np.diff(heard[session.delay + 100 :])
    assert len(steps) > 1000
    assert np.abs(steps - 1e-5).max() < 5e-5, "no seam: each sample is the next"


def test_what_the_device_says_it_lost_is_counted(portaudio, monkeypatch):
    monkeypatch.setattr(FakeStream, "status", "output underflow")
    card = SoundCard(Session(Echo(), 80), seconds=0.3)
    card.run()
    assert card.session.counters.device_xruns == card.session.counters.blocks > 0
    assert card.device_latency == (0.01, 0.02)


def test_a_device_that_goes_away_is_waited_for_and_the_call_goes_on(portaudio, monkeypatch):
    """Unplugged after 20 blocks, absent for two attempts, then back."""
    monkeypatch.setattr(runtime.playing.devices, "SILENT_SECONDS", 0.2)
    monkeypatch.setattr(runtime.playing.devices, "RETRY_SECONDS", 0.05)
    opened, looked = [], []

    class Unplugged(FakeStream):
        def run(self):
            count = 0
            while self.running and count < 20:
                given, wanted = np.zeros((self.block, 1), np.float32), np.zeros((self.block, 1), np.float32)
                self.callback(given, wanted, self.block, None, "")
                count += 1
                time.sleep(self.block / self.rate)

    def stream(**options):
        opened.append(options)
        if len(opened) in (2, 3):
            raise RuntimeError("Device unavailable")
        return (Unplugged if len(opened) == 1 else FakeStream)(**options)

    portaudio.Stream, portaudio._initialize = stream, lambda: looked.append(1)
    card = SoundCard(Session(Echo(), 80), seconds=1.5)
    ticks = []
    card.run(ticks.append, every=0.1)
    assert card.session.counters.device_losses == 1
    assert len(opened) == 4 and len(looked) == 3
    assert card.session.counters.blocks > 40, "it went on"


def test_a_device_that_stays_away_ends_with_the_time(portaudio, monkeypatch):
    monkeypatch.setattr(runtime.playing.devices, "SILENT_SECONDS", 0.1)
    monkeypatch.setattr(runtime.playing.devices, "RETRY_SECONDS", 0.05)

    class Silent(FakeStream):
        def run(self):
            pass

    def stream(**options):
        if len(opened):
            raise RuntimeError("Device unavailable")
        opened.append(options)
        return Silent(**options)

    opened = []
    portaudio.Stream = stream
    card = SoundCard(Session(Echo(), 80), seconds=0.6)
    card.run()
    assert (card.session.counters.device_losses, card.session.counters.blocks) == (1, 0)


def test_loopback_finds_the_delay_of_the_way(portaudio):
    found = loopback(80, RATE, sounds=2)
    assert (found.sent, found.detected) == (2, 2)
    assert found.median_ms == pytest.approx(1e3 * FakeStream.delay / RATE)
    assert found.reported_ms == pytest.approx(30)


@pytest.mark.parametrize("delay", [0, 1, 77, 3000])
def test_sounds_are_recognised_through_noise_and_another_level(delay):
    played, starts = probe(3, RATE)
    rng = np.random.default_rng(1)
    heard = 0.2 * np.roll(played, delay) + rng.normal(0, 0.01, len(played)).astype(np.float32)
    assert probe_delays(played, heard, starts) == [delay] * 3


def test_where_nothing_comes_back_nothing_is_found():
    played, starts = probe(3, RATE)
    noise = np.random.default_rng(1).normal(0, 0.1, len(played)).astype(np.float32)
    assert probe_delays(played, noise, starts) == []
    assert probe_delays(played, np.zeros_like(played), starts) == []


def test_a_card_that_cannot_be_opened_and_no_portaudio_are_sentences(portaudio, monkeypatch, capsys):
    def refuse(**_):
        raise RuntimeError("Invalid sample rate")

    portaudio.Stream = refuse
    with pytest.raises(AudioError, match="cannot be opened at 8000 Hz: Invalid sample rate"):
        SoundCard(Session(Echo(), 80)).run()
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert main(["devices"]) == 2
    assert "pip install -e '.[live]'" in capsys.readouterr().err


@pytest.fixture
def pulse(tmp_path, monkeypatch):
    """A PulseAudio of our own with one null sink, whose monitor is the microphone."""
    if shutil.which("pulseaudio") is None:
        pytest.skip("there is no pulseaudio here")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("PULSE_SERVER", f"unix:{tmp_path}/native")
    command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--disable-shm=yes"]
    modules = ["module-null-sink sink_name=voxport rate=48000", f"module-native-protocol-unix socket={tmp_path}/native"]
    server = subprocess.Popen([*command, *(f"--load={module}" for module in modules)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while not (tmp_path / "native").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    yield
    server.kill()
    server.wait()


def run(*arguments):
    """In a process of its own: PortAudio finds its devices when it is loaded."""
    root = str(__import__("tests.conftest", fromlist=["ROOT"]).ROOT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "runtime", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)


def test_a_sound_goes_out_to_pulseaudio_and_comes_back(pulse):
    listed = run("devices")
    if "none" in listed.stdout or "PortAudio" in listed.stderr or "'.[live]'" in listed.stderr:
        pytest.skip("PortAudio has no way to PulseAudio here")
    assert listed.returncode == 0, listed.stderr
    assert "default input and output" in listed.stdout
    found = run("loopback", "--sounds", "3", "--block", "512", "--json")
    assert found.returncode == 0, found.stderr
    assert '"detected": 0' not in found.stdout


def test_live_plays_to_pulseaudio_in_real_time_and_ends_at_ctrl_c(pulse, stateful, tmp_path):
    import signal

    bundle = stateful.bundle.path
    if "default input" not in run("devices").stdout:
        pytest.skip("PortAudio has no way to PulseAudio here")
    command = [
        sys.executable,
        "-m",
        "runtime",
        "live",
        str(bundle),
        "--out",
        str(tmp_path / "out.wav"),
        "--threads",
        "1",
    ]

    def heed_ctrl_c():  # which a shell makes its background jobs ignore
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    live = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed_ctrl_c)
    seen = ""
    while "delay" not in seen and live.poll() is None:
        seen += live.stderr.read(1)
    time.sleep(1.5)
    live.send_signal(signal.SIGINT)
    out, _ = live.communicate(timeout=30)
    assert live.returncode == 0
    assert "delay_ms" in out
    assert soundfile.info(tmp_path / "out.wav").duration > 1.5
