"""Trains FastSpeech 2 on packed recordings and their texts (recordings.py, texts.py, alignment.py), for a given time.

    python -m checkpoints.training.acoustic DATA OUT --minutes 9 --total 18

The network learns durations, pitch, energy and mels, in the end against judges of how sharp a mel is; on a GPU, or on a
CPU whose bfloat16 is fast (AMX). OUT holds the state, from which the same command goes on (`--total` is the whole
schedule, over all calls), and the network's moving average, `forward.pt`.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from checkpoints.training.forward import Forward, Judges
from checkpoints.training.mel import HOP, LogMel
from checkpoints.training.recordings import clips_of, held_names
from checkpoints.training.state import load_state, packed_optimiser, save_state, unpack_optimiser
from checkpoints.training.steps import SAVE_SECONDS, adam, average_into, captured, halved, rate_at

PREDICTIONS, JUDGED = 0.1, 0.1  # weights of the losses beside that of the mel


@dataclass
class Speech:
    """Clips side by side, padded: ids and durations (N, T), pitch and energy of every symbol (N, 1, T), mel
    (N, n_mels, F), how many symbols and frames of each clip are its own, whether no training may see it (N,)."""

    ids: Tensor
    durations: Tensor
    pitch: Tensor
    energy: Tensor
    symbols: Tensor
    mel: Tensor
    frames: Tensor
    is_held: Tensor

    @property
    def text_mask(self) -> Tensor:
        return (torch.arange(self.ids.shape[1], device=self.ids.device) < self.symbols[:, None]).float()

    @property
    def frame_mask(self) -> Tensor:
        return (torch.arange(self.mel.shape[2], device=self.ids.device) < self.frames[:, None]).float()

    def of(self, rows: Tensor) -> Speech:
        """Some of the clips; on a CPU no longer than the longest of them (a CUDA graph wants shapes that stay)."""
        picked = {name: value[rows] for name, value in vars(self).items()}
        if self.ids.device.type == "cpu":
            symbols, frames = int(picked["symbols"].max()), int(picked["frames"].max())
            picked |= {name: picked[name][..., :symbols] for name in ("ids", "durations", "pitch", "energy")}
            picked["mel"] = picked["mel"][..., :frames]
        return Speech(**picked)


def read_speech(folder: Path, most_frames: int, device: str) -> Speech:
    """Clips of up to `most_frames` frames; longer ones are left out."""
    texts, held, spectrum = json.loads((folder / "texts.json").read_text()), held_names(folder), LogMel()
    rows: list[dict[str, np.ndarray]] = []
    with np.load(folder / "pitch.npz") as pitches, np.load(folder / "durations.npz") as durations:
        for name, samples in clips_of(folder):
            waveform = torch.from_numpy(samples[: len(samples) // HOP * HOP]).float() / 32768
            if len(waveform) // HOP <= most_frames:
                rows.append({
                    "ids": np.array(texts[name]["ids"]), "durations": durations[name],
                    "pitch": pitches[name].astype(np.float32), "mel": spectrum(waveform[None])[0].numpy(),
                    "is_held": np.array(name in held),
                })  # fmt: skip
    voiced = np.log(np.concatenate([row["pitch"][row["pitch"] > 0] for row in rows]))
    levels = np.concatenate([row["mel"].mean(0) for row in rows])
    for row in rows:
        is_voiced = row["pitch"] > 0
        pitch = np.where(is_voiced, (np.log(np.maximum(row["pitch"], 1)) - voiced.mean()) / voiced.std(), 0)
        energy = (row["mel"].mean(0) - levels.mean()) / levels.std()
        starts = np.cumsum(row["durations"]) - row["durations"]
        row["pitch"] = np.add.reduceat(pitch, starts) / np.maximum(1, np.add.reduceat(is_voiced, starts, dtype=int))
        row["energy"] = np.add.reduceat(energy, starts) / row["durations"]

    def padded(name: str) -> Tensor:
        parts = [torch.from_numpy(row[name]) for row in rows]
        longest = max(part.shape[-1] for part in parts)
        return torch.stack([F.pad(part, (0, longest - part.shape[-1])) for part in parts])

    speech = Speech(
        padded("ids"), padded("durations").float(), padded("pitch").float()[:, None], padded("energy").float()[:, None],
        torch.tensor([len(row["ids"]) for row in rows]), padded("mel"),
        torch.tensor([row["mel"].shape[1] for row in rows]), torch.tensor([bool(row["is_held"]) for row in rows]),
    )  # fmt: skip
    return Speech(**{name: value.to(device) for name, value in vars(speech).items()})


def _mean_mel(speech: Speech) -> Tensor:
    return (speech.mel * speech.frame_mask[:, None]).sum((0, 2)) / speech.frames.sum()


class Training:
    """The network and its judges with their optimisers, a step of either phase, and the network's moving average."""

    def __init__(self, options: argparse.Namespace, speech: Speech) -> None:
        self.options, self.speech = options, speech
        self.device = speech.ids.device
        self.is_cuda = self.device.type == "cuda"
        torch.manual_seed(options.seed)
        self.network, self.judges = Forward().to(self.device), Judges().to(self.device)
        rows = torch.nonzero(~speech.is_held).ravel()
        self.rows = rows[speech.frames[rows].argsort()]
        with torch.no_grad():  # from silence it would take a thousand steps to the mean
            self.network.decoder.decoder.postnet[-1].bias.copy_(_mean_mel(speech.of(self.rows)))
        self.rate = torch.tensor(options.rate, device=self.device)
        self.optimiser, self.judges_optimiser = (
            adam(network, self.rate, betas)
            for network, betas in ((self.network, (0.9, 0.98)), (self.judges, (0.5, 0.9)))
        )
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.steps, self.spent, self.losses = 0, 0.0, torch.zeros(6, device=self.device)

    def _picked(self) -> Tensor:
        """Clips of a step: any on a GPU, some of about the same length on a CPU, where padding costs time."""
        if self.is_cuda:
            return self.rows[torch.randint(0, len(self.rows), (self.options.batch,), device=self.device)]
        first = int(torch.randint(1 - 2 * self.options.batch, len(self.rows), ()))
        near = self.rows[max(0, first) : first + 4 * self.options.batch]
        return near[torch.randperm(len(near))[: self.options.batch]]

    def step(self, is_judged: bool) -> None:
        speech = self.speech.of(self._picked())
        loss, parts, mel = self._losses(self.network, speech)
        where = torch.rand(len(mel), device=self.device)
        judging = fooling = loss.new_zeros(())
        if is_judged:
            with self._half():
                scores = self.judges(mel, speech.frames, where)
            fooling = torch.stack([(1 - score.float()).square().mean() for score in scores]).mean()
        self.optimiser.zero_grad(set_to_none=True)
        (loss + JUDGED * fooling).backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        if is_judged:
            self.judges_optimiser.zero_grad(set_to_none=True)
            with self._half():
                of_real = self.judges(speech.mel, speech.frames, where)
                of_render = self.judges(mel.detach(), speech.frames, where)
            judging = torch.stack(
                [(1 - yes.float()).square().mean() + no.float().square().mean() for yes, no in zip(of_real, of_render)]
            ).mean()
            judging.backward()
            self.judges_optimiser.step()
        self.losses.add_(torch.stack([*parts, fooling.detach(), judging.detach()]))

    def _losses(self, network: nn.Module, speech: Speech) -> tuple[Tensor, list[Tensor], Tensor]:
        """The loss, what it is made of (mel, durations, pitch, energy), the mel."""
        text_mask, frame_mask = speech.text_mask, speech.frame_mask
        with self._half():
            mel, log_durations, pitch, energy = network(
                speech.ids, text_mask, speech.durations, speech.pitch, speech.energy, frame_mask
            )
        mel = mel.float()
        off = ((mel - speech.mel).abs().mean(1) * frame_mask).sum() / frame_mask.sum()
        targets = (torch.log(1 + speech.durations)[:, None], speech.pitch, speech.energy)
        others = [
            ((prediction.float() - value).square()[:, 0] * text_mask).sum() / text_mask.sum()
            for prediction, value in zip((log_durations, pitch, energy), targets)
        ]
        parts = [off, *others]
        return off + PREDICTIONS * torch.stack(others).sum(), [part.detach() for part in parts], mel

    def _half(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False)

    def after_step(self) -> None:
        self.steps += 1
        average_into(self.average, self.network.state_dict(), self.steps)

    def set_rate(self) -> float:
        rate = rate_at(self.options.rate, self.steps, self.options.warm_up, self.spent / 60 / self.options.total)
        self.rate.fill_(rate)
        return rate

    @torch.no_grad()
    def held(self) -> list[float]:
        """Mel L1 and the losses of predictions of the moving average on clips that it was not trained on."""
        network = Forward().to(self.device).eval()
        network.load_state_dict(self.average)
        rows = torch.nonzero(self.speech.is_held).ravel()
        return [part.item() for part in self._losses(network, self.speech.of(rows))[1]] if len(rows) else [math.nan] * 4

    def resume(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.judges.load_state_dict(state["judges"])
        for optimiser, name in ((self.optimiser, "optimiser"), (self.judges_optimiser, "judges_optimiser")):
            unpack_optimiser(optimiser, state[name])
            for group in optimiser.param_groups:
                group["lr"] = self.rate
        average = torch.load(self.options.out / "forward.pt", map_location=self.device, weights_only=True)
        self.average = {name: value.to(self.average[name].dtype) for name, value in average.items()}
        self.steps, self.spent = state["steps"], state["spent"]
        torch.manual_seed(self.options.seed + self.steps)  # not the same clips again

    def save(self) -> None:
        self.options.out.mkdir(parents=True, exist_ok=True)
        save_state(
            self.options.out / "state",
            {
                "network": halved(self.network.state_dict()),  # as a borrowed machine gives back 64 MiB
                "judges": self.judges.state_dict(),
                "optimiser": packed_optimiser(self.optimiser),
                "judges_optimiser": packed_optimiser(self.judges_optimiser),
                "steps": self.steps,
                "spent": self.spent,
            },
        )
        aside = self.options.out / ".forward.pt.partial"
        torch.save({name: value.cpu() for name, value in halved(self.average).items()}, aside)
        aside.rename(self.options.out / "forward.pt")


def train(options: argparse.Namespace) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    begun = time.time()
    speech = read_speech(options.data, options.frames, device)
    state = load_state(options.out / "state", device)
    training = Training(options, speech)
    if state is not None:
        training.resume(state)
    print(f"{'begun' if state is None else 'resumed'} at step {training.steps}, {training.spent / 60:.2f} min; "
          f"{len(training.rows)} clips on {device}", flush=True)  # fmt: skip
    start, before = time.time(), training.spent
    is_judged, run = False, None
    reported, since, saved = time.time(), training.steps, time.time()
    while time.time() - begun < options.minutes * 60 and training.steps < options.steps:
        training.spent = before + time.time() - start
        wants = training.spent >= options.alone * 60
        if run is None or wants != is_judged:
            is_judged = wants
            training.set_rate()
            step = functools.partial(training.step, wants)
            optimisers = (training.optimiser, training.judges_optimiser)
            run = captured(step, training.after_step, optimisers, device)
            training.losses.zero_()
            reported, since = time.time(), training.steps
        rate = training.set_rate()
        run()
        training.after_step()
        if training.is_cuda and training.steps % 20 == 0:
            torch.cuda.synchronize()  # replays queue up otherwise
        if time.time() - reported > options.progress or training.steps == options.steps:
            steps = max(1, training.steps - since)
            losses = (training.losses / steps).tolist()
            training.losses.zero_()
            if not all(map(math.isfinite, losses)):
                raise SystemExit("the losses are not finite: the last saved state stands")
            names = ("mel", "durations", "pitch", "energy", "fooling", "judging")
            parts = "  ".join(f"{name} {value:.4f}" for name, value in zip(names, losses))
            held = "  ".join(f"{value:.4f}" for value in training.held())
            print(f"{training.spent / 60:6.2f} min  step {training.steps}  {parts}  held {held}  rate {rate:.1e}  "
                  f"{steps / (time.time() - reported):.1f} steps/s", flush=True)  # fmt: skip
            reported, since = time.time(), training.steps
        if time.time() - saved > SAVE_SECONDS:
            training.save()
            saved = time.time()
    training.spent = before + time.time() - start
    training.save()
    print(f"saved at step {training.steps}, {training.spent / 60:.2f} min, held {training.held()[0]:.4f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="checkpoints.training.acoustic", description=__doc__)
    parser.add_argument("data", type=Path, metavar="DATA", help="what recordings and texts packed")
    parser.add_argument("out", type=Path, metavar="OUT", help="of the state and the network")
    parser.add_argument("--minutes", type=float, default=9.0, help="this call takes [%(default)s]")
    parser.add_argument("--total", type=float, default=18.0, help="of the whole schedule [%(default)s]")
    parser.add_argument("--alone", type=float, default=6.0, help="minutes without judges [%(default)s]")
    parser.add_argument("--steps", type=int, default=10**9, help="at most [no limit]")
    parser.add_argument("--frames", type=int, default=448, help="longer clips are left out [%(default)s]")
    parser.add_argument("--batch", type=int, default=32, help="clips [%(default)s]")
    parser.add_argument("--rate", type=float, default=2e-4, help="learning rate [%(default)s]")
    parser.add_argument("--warm-up", type=int, default=1000, help="steps until that rate [%(default)s]")
    parser.add_argument("--seed", type=int, default=0, help="[%(default)s]")
    parser.add_argument("--progress", type=float, default=30.0, help="seconds between lines [%(default)s]")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
