"""Trains FastSpeech 2 on packed recordings and their texts (recordings.py, texts.py) with one GPU, for a given time.

    python -m checkpoints.training.acoustic DATA OUT --minutes 9 --total 18

First an aligner learns which symbol is said when; then the network learns durations, pitch, energy and mels, in the end
against judges of how sharp a mel is. OUT holds the state, from which the same command goes on (`--total` is the whole
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

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from checkpoints.training.alignment import Aligner, best_durations, diagonal_prior, forward_sum
from checkpoints.training.forward import Forward, Judges, spread
from checkpoints.training.mel import HOP, LogMel
from checkpoints.training.recordings import clips_of, held_names
from checkpoints.training.state import load_state, packed_optimiser, save_state, unpack_optimiser
from checkpoints.training.steps import SAVE_SECONDS, adam, average_into, captured, halved, rate_at

PREDICTIONS, JUDGED = 0.1, 0.1  # weights of the losses beside that of the mel
WARM_UP = 1000
ALIGNER_RATE = 1e-3


@dataclass
class Speech:
    """Clips side by side, padded: ids (N, T), mel (N, n_mels, F), pitch (N, F) with zeros where there is none."""

    ids: Tensor
    symbols: Tensor
    mel: Tensor
    frames: Tensor
    pitch: Tensor
    is_held: Tensor

    def text_mask(self, rows: Tensor) -> Tensor:
        return (torch.arange(self.ids.shape[1], device=rows.device) < self.symbols[rows, None]).float()

    def frame_mask(self, rows: Tensor) -> Tensor:
        return (torch.arange(self.mel.shape[2], device=rows.device) < self.frames[rows, None]).float()


def read_speech(folder: Path, most_frames: int, device: str) -> Speech:
    """Clips of up to `most_frames` frames; longer ones are left out."""
    texts, held, spectrum = json.loads((folder / "texts.json").read_text()), held_names(folder), LogMel().to(device)
    rows: list[tuple[Tensor, Tensor, Tensor, bool]] = []
    with np.load(folder / "pitch.npz", allow_pickle=False) as pitches:
        for name, samples in clips_of(folder):
            whole = torch.from_numpy(samples[: len(samples) // HOP * HOP]).float() / 32768
            if len(whole) // HOP <= most_frames:
                ids = torch.tensor(texts[name]["ids"])
                mel = spectrum(whole[None].to(device))[0].cpu()
                rows.append((ids, mel, torch.from_numpy(pitches[name]).float(), name in held))
    symbols, frames = (
        torch.tensor([size(row) for row in rows]) for size in (lambda row: len(row[0]), lambda row: row[1].shape[1])
    )

    def padded(parts: list[Tensor], length: int) -> Tensor:
        return torch.stack([F.pad(part, (0, length - part.shape[-1])) for part in parts]).to(device)

    length = int(frames.max())
    voiced = torch.cat([row[2] for row in rows])
    logs = torch.log(voiced[voiced > 0])
    pitch = [torch.where(row[2] > 0, (row[2].clamp(min=1).log() - logs.mean()) / logs.std(), 0.0) for row in rows]
    return Speech(
        padded([row[0] for row in rows], int(symbols.max())), symbols.to(device),
        padded([row[1] for row in rows], length), frames.to(device),
        padded([values[: row[1].shape[1]] for values, row in zip(pitch, rows)], length),
        torch.tensor([row[3] for row in rows], device=device),
    )  # fmt: skip


def aligned(speech: Speech, minutes: float, steps: int, batch: int) -> Tensor:
    """Durations (N, T) of every clip, held ones too: an aligner learns from all pairs of text and sound there are."""
    device = speech.ids.device
    aligner = Aligner().to(device)
    optimiser = torch.optim.AdamW(aligner.parameters(), ALIGNER_RATE)
    priors = torch.full((len(speech.ids), speech.mel.shape[2], speech.ids.shape[1]), -20.0, device=device).half()
    for row, (symbols, frames) in enumerate(zip(speech.symbols.tolist(), speech.frames.tolist())):
        priors[row, :frames, :symbols] = torch.from_numpy(diagonal_prior(symbols, frames)).to(device).half()
    begun, told = time.time(), time.time()
    step = 0
    while step < steps and (step < 10 or time.time() - begun < minutes * 60):
        rows = torch.randint(0, len(speech.ids), (min(batch, len(speech.ids)),), device=device)
        loss = _sum_of(aligner, speech, priors, rows)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(aligner.parameters(), 1.0)
        optimiser.step()
        step += 1
        if time.time() - told > 15:
            print(f"aligner: step {step}, loss {loss.item():.4f}", flush=True)
            told = time.time()
    found = []
    with torch.no_grad():
        for rows in torch.arange(len(speech.ids), device=device).split(128):
            scores = aligner(speech.ids[rows], speech.text_mask(rows), speech.mel[rows], priors[rows].float())
            found.append(best_durations(scores, speech.symbols[rows], speech.frames[rows]))
    print(f"aligner: {step} steps, loss {loss.item():.4f}", flush=True)
    return torch.cat(found)


def _sum_of(aligner: Aligner, speech: Speech, priors: Tensor, rows: Tensor) -> Tensor:
    scores = aligner(speech.ids[rows], speech.text_mask(rows), speech.mel[rows], priors[rows].float())
    return forward_sum(scores, speech.symbols[rows], speech.frames[rows])


class Training:
    """The network and its judges with their optimisers, a step of either phase, and the network's moving average."""

    def __init__(self, options: argparse.Namespace, speech: Speech, durations: Tensor) -> None:
        self.options, self.speech, self.durations = options, speech, durations
        self.device = speech.ids.device
        self.is_cuda = self.device.type == "cuda"
        torch.manual_seed(options.seed)
        self.network, self.judges = Forward().to(self.device), Judges().to(self.device)
        self.rate = torch.tensor(options.rate, device=self.device)
        self.optimiser, self.judges_optimiser = (
            adam(network, self.rate, betas)
            for network, betas in ((self.network, (0.9, 0.98)), (self.judges, (0.5, 0.9)))
        )
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.rows = torch.nonzero(~speech.is_held).ravel()
        self.pitch, self.energy = self._by_symbol()
        self.steps, self.spent, self.losses = 0, 0.0, torch.zeros(6, device=self.device)

    def _by_symbol(self) -> tuple[Tensor, Tensor]:
        """Means of pitch (where there is voice) and energy over the frames of each symbol, (N, 1, T)."""
        speech = self.speech
        every = torch.arange(len(speech.ids), device=self.device)
        mask = speech.frame_mask(every)
        level = speech.mel.mean(1)
        mean = (level * mask).sum() / mask.sum()
        deviation = (((level - mean).square() * mask).sum() / mask.sum()).sqrt()
        energy, pitch = [], []
        for rows in every.split(64):
            where = spread(self.durations[rows].float(), speech.mel.shape[2])
            own = ((level[rows] - mean) / deviation * mask[rows])[:, :, None]
            energy.append((where @ own)[..., 0] / self.durations[rows].clamp(min=1))
            voiced = (speech.pitch[rows] != 0).float()[:, :, None]
            pitch.append((where @ speech.pitch[rows][:, :, None])[..., 0] / (where @ voiced)[..., 0].clamp(min=1))
        return torch.cat(pitch)[:, None], torch.cat(energy)[:, None]

    def step(self, is_judged: bool) -> None:
        speech = self.speech
        rows = self.rows[torch.randint(0, len(self.rows), (self.options.batch,), device=self.device)]
        loss, parts, made = self._losses(self.network, rows)
        real, frames = speech.mel[rows], speech.frames[rows]
        where = torch.rand(len(rows), device=self.device)
        judging = fooling = loss.new_zeros(())
        if is_judged:
            with self._half():
                scores = self.judges(made, frames, where)
            fooling = torch.stack([(1 - score.float()).square().mean() for score in scores]).mean()
        self.optimiser.zero_grad(set_to_none=True)
        (loss + JUDGED * fooling).backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        if is_judged:
            self.judges_optimiser.zero_grad(set_to_none=True)
            with self._half():
                of_real, of_made = self.judges(real, frames, where), self.judges(made.detach(), frames, where)
            judging = torch.stack(
                [(1 - yes.float()).square().mean() + no.float().square().mean() for yes, no in zip(of_real, of_made)]
            ).mean()
            judging.backward()
            self.judges_optimiser.step()
        self.losses.add_(torch.stack([*parts, fooling.detach(), judging.detach()]))

    def _losses(self, network: nn.Module, rows: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        """The loss, what it is made of (mel, durations, pitch, energy), the mel."""
        speech, durations = self.speech, self.durations[rows].float()
        text_mask, frame_mask = speech.text_mask(rows), speech.frame_mask(rows)
        with self._half():
            mel, log_durations, pitch, energy = network(
                speech.ids[rows], text_mask, durations, self.pitch[rows], self.energy[rows], frame_mask
            )
        mel = mel.float()
        off = ((mel - speech.mel[rows]).abs().mean(1) * frame_mask).sum() / frame_mask.sum()
        wanted = (torch.log(1 + durations)[:, None], self.pitch[rows], self.energy[rows])
        others = [
            ((given.float() - value).square()[:, 0] * text_mask).sum() / text_mask.sum()
            for given, value in zip((log_durations, pitch, energy), wanted)
        ]
        parts = [off, *others]
        return off + PREDICTIONS * torch.stack(others).sum(), [part.detach() for part in parts], mel

    def _half(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.is_cuda, cache_enabled=False)

    def after_step(self) -> None:
        self.steps += 1
        average_into(self.average, self.network.state_dict(), self.steps)

    def set_rate(self) -> float:
        rate = rate_at(self.options.rate, self.steps, WARM_UP, self.spent / 60 / self.options.total)
        self.rate.fill_(rate)
        return rate

    @torch.no_grad()
    def held(self) -> list[float]:
        """Mel L1 and the losses of predictions of the moving average on clips that it was not trained on."""
        network = Forward().to(self.device).eval()
        network.load_state_dict(self.average)
        rows = torch.nonzero(self.speech.is_held).ravel()
        return [part.item() for part in self._losses(network, rows)[1]] if len(rows) else [math.nan] * 4

    def resume(self, state: dict) -> None:
        self.network.load_state_dict(state["network"])
        self.judges.load_state_dict(state["judges"])
        for optimiser, name in ((self.optimiser, "optimiser"), (self.judges_optimiser, "judges_optimiser")):
            unpack_optimiser(optimiser, state[name])
            for group in optimiser.param_groups:
                group["lr"] = self.rate
        self.average = {name: value.to(self.average[name].dtype) for name, value in state["average"].items()}
        self.steps, self.spent = state["steps"], state["spent"]
        torch.manual_seed(self.options.seed + self.steps)  # not the same clips again

    def save(self) -> None:
        self.options.out.mkdir(parents=True, exist_ok=True)
        save_state(
            self.options.out / "state",
            {
                "network": self.network.state_dict(),
                "judges": self.judges.state_dict(),
                "optimiser": packed_optimiser(self.optimiser),
                "judges_optimiser": packed_optimiser(self.judges_optimiser),
                "average": halved(self.average),
                "durations": self.durations.short(),
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
    if state is None:
        torch.manual_seed(options.seed)
        durations = aligned(speech, options.align, options.align_steps, options.batch)
    else:
        durations = state["durations"].long()
    training = Training(options, speech, durations)
    if state is not None:
        training.resume(state)
    print(f"{'begun' if state is None else 'resumed'} at step {training.steps}, {training.spent / 60:.2f} min; "
          f"{len(training.rows)} clips on {device}", flush=True)  # fmt: skip
    start, before = time.time(), training.spent
    is_judged, run = False, None
    told, since, saved = time.time(), training.steps, time.time()
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
            told, since = time.time(), training.steps
        rate = training.set_rate()
        run()
        training.after_step()
        if training.is_cuda and training.steps % 20 == 0:
            torch.cuda.synchronize()  # replays queue up otherwise
        if time.time() - told > options.tell or training.steps == options.steps:
            steps = max(1, training.steps - since)
            losses = (training.losses / steps).tolist()
            training.losses.zero_()
            if not all(map(math.isfinite, losses)):
                raise SystemExit("the losses are not finite: the last saved state stands")
            names = ("mel", "durations", "pitch", "energy", "fooling", "judging")
            parts = "  ".join(f"{name} {value:.4f}" for name, value in zip(names, losses))
            held = "  ".join(f"{value:.4f}" for value in training.held())
            print(f"{training.spent / 60:6.2f} min  step {training.steps}  {parts}  held {held}  rate {rate:.1e}  "
                  f"{steps / (time.time() - told):.1f} steps/s", flush=True)  # fmt: skip
            told, since = time.time(), training.steps
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
    parser.add_argument("--align", type=float, default=2.0, help="minutes of the aligner [%(default)s]")
    parser.add_argument("--align-steps", type=int, default=10**9, help="at most [no limit]")
    parser.add_argument("--alone", type=float, default=6.0, help="minutes without judges [%(default)s]")
    parser.add_argument("--steps", type=int, default=10**9, help="at most [no limit]")
    parser.add_argument("--frames", type=int, default=448, help="longer clips are left out [%(default)s]")
    parser.add_argument("--batch", type=int, default=32, help="clips [%(default)s]")
    parser.add_argument("--rate", type=float, default=2e-4, help="learning rate [%(default)s]")
    parser.add_argument("--seed", type=int, default=0, help="[%(default)s]")
    parser.add_argument("--tell", type=float, default=30.0, help="seconds between lines [%(default)s]")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
