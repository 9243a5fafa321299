"""Trains a HiFi-GAN generator on packed recordings (recordings.py) with one GPU, for a given time.

    python -m checkpoints.training.vocoder DATA OUT --minutes 9 --total 27

It begins with the generator alone on mel losses, then adds discriminators. OUT holds the state, from which the same
command goes on (`--total` is the whole schedule, over all calls), and the generator's moving average, `generator.pt`.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from checkpoints.training.mel import LogMel, MelLoss
from checkpoints.training.networks import Discriminators, Generator, judged
from checkpoints.training.recordings import held_clips, joined
from checkpoints.training.state import load_state, packed_optimiser, save_state, unpack_optimiser
from checkpoints.training.steps import SAVE_SECONDS, adam, average_into, captured, halved, rate_at

MEL_WEIGHT, FEATURE_WEIGHT = 45.0, 2.0  # HiFi-GAN's
GAIN_DB = (-8.0, 4.0)  # of a piece, so that other levels are heard in training too
WARM_UP = 200  # steps to the full learning rate


class Training:
    """Both networks with their optimisers, one step of either phase, and the moving average of the generator."""

    def __init__(self, options: argparse.Namespace, audio: Tensor, device: str) -> None:
        self.options, self.audio, self.device = options, audio.to(device), device
        self.is_cuda = device == "cuda"
        torch.manual_seed(options.seed)
        self.generator = Generator(options.channels).to(device)
        self.discriminators = Discriminators().to(device)
        self.mel, self.mel_loss = LogMel().to(device), MelLoss().to(device)
        self.rate = torch.tensor(options.rate, device=device)
        self.generator_optimiser, self.discriminator_optimiser = (
            adam(network, self.rate, (0.8, 0.99)) for network in (self.generator, self.discriminators)
        )
        if options.begin is not None:
            begin_from(self.generator, options.begin)
        self.average = {name: value.detach().clone() for name, value in self.generator.state_dict().items()}
        self.steps, self.spent, self.losses = 0, 0.0, torch.zeros(4, device=device)

    def resume(self) -> bool:
        state = load_state(self.options.out / "state", self.device)
        if state is None:
            return False
        self.generator.load_state_dict(state["generator"])
        self.discriminators.load_state_dict(state["discriminators"])
        unpack_optimiser(self.generator_optimiser, state["generator_optimiser"])
        unpack_optimiser(self.discriminator_optimiser, state["discriminator_optimiser"])
        for optimiser in (self.generator_optimiser, self.discriminator_optimiser):
            for group in optimiser.param_groups:
                group["lr"] = self.rate
        self.average = {name: value.float() for name, value in state["average"].items()}
        self.steps, self.spent = state["steps"], state["spent"]
        torch.manual_seed(self.options.seed + self.steps)  # not the same pieces again
        return True

    def save(self) -> None:
        self.options.out.mkdir(parents=True, exist_ok=True)
        save_state(
            self.options.out / "state",
            {
                "generator": self.generator.state_dict(),
                "discriminators": self.discriminators.state_dict(),
                "generator_optimiser": packed_optimiser(self.generator_optimiser),
                "discriminator_optimiser": packed_optimiser(self.discriminator_optimiser),
                "average": halved(self.average),
                "steps": self.steps,
                "spent": self.spent,
            },
        )
        aside = self.options.out / ".generator.pt.partial"
        torch.save({name: value.cpu() for name, value in halved(self.average).items()}, aside)
        aside.rename(self.options.out / "generator.pt")

    def pieces(self) -> Tensor:
        """(B, N) float32 at random gains."""
        length = self.options.segment
        starts = torch.randint(0, len(self.audio) - length, (self.options.batch, 1), device=self.device)
        samples = self.audio[starts + torch.arange(length, device=self.device)].float() / 32768
        low, high = GAIN_DB
        decibels = torch.rand(len(starts), 1, device=self.device) * (high - low) + low
        samples = samples * 10 ** (decibels / 20)
        return samples / (samples.abs().amax(1, keepdim=True) / 0.98).clamp(min=1.0)

    def render(self, real: Tensor) -> Tensor:
        with self._half(self.options.half_generator):
            audio: Tensor = self.generator(self.mel(real))
        return audio

    def mel_step(self) -> None:
        """The generator alone."""
        real = self.pieces()
        loss, mel_l1 = self.mel_loss(self.render(real).squeeze(1), real)
        self.generator_optimiser.zero_grad(set_to_none=True)
        (MEL_WEIGHT * loss).backward()
        self._update(self.generator, self.generator_optimiser)
        self.losses.add_(torch.stack([mel_l1.detach(), *self.losses.new_zeros(3)]))

    def adversarial_step(self) -> None:
        """Both networks from the same point: one pass of each waveform through the discriminators serves both."""
        real = self.pieces()
        render = self.render(real)
        matching, fooling, discriminating, slope = judged(
            self.discriminators, real.unsqueeze(1), render, self._half(True), FEATURE_WEIGHT
        )
        self.discriminator_optimiser.zero_grad(set_to_none=True)
        discriminating.backward(inputs=list(self.discriminators.parameters()))
        loss, mel_l1 = self.mel_loss(render.squeeze(1), real)
        self.generator_optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward((render, MEL_WEIGHT * loss), (slope, None))
        self._update(self.discriminators, self.discriminator_optimiser)
        self._update(self.generator, self.generator_optimiser)
        self.losses.add_(torch.stack([value.detach() for value in (mel_l1, matching, fooling, discriminating)]))

    def _update(self, network: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        nn.utils.clip_grad_norm_(network.parameters(), 100.0)
        optimiser.step()

    def _half(self, enabled: bool) -> torch.autocast:
        return torch.autocast(self.device, torch.bfloat16, enabled=enabled and self.is_cuda, cache_enabled=False)

    def after_step(self) -> None:
        self.steps += 1
        average_into(self.average, self.generator.state_dict(), self.steps)

    def set_rate(self, spent: float) -> float:
        rate = rate_at(self.options.rate, self.steps, WARM_UP, spent / 60 / self.options.total)
        self.rate.fill_(rate)
        return rate

    @torch.no_grad()
    def held_l1(self, clips: list[Tensor]) -> float:
        """Mel L1 of the moving average on clips that it was not trained on."""
        network = Generator(self.options.channels).to(self.device)
        network.load_state_dict(self.average)
        errors = []
        for clip in clips:
            real = clip[None].to(self.device)
            errors.append(F.l1_loss(self.mel(network(self.mel(real)).squeeze(1)), self.mel(real)).item())
        return sum(errors) / len(errors)


def begin_from(generator: Generator, folder: Path) -> None:
    """Sets its weights to those of an exported checkpoint; weight norm takes what its product is."""
    from safetensors.torch import load_file

    weights = load_file(folder / "model.safetensors")
    with torch.no_grad():
        for name, layer in generator.named_modules():
            if f"{name}.weight" in weights:
                layer.weight = weights[f"{name}.weight"].float().to(layer.bias.device)
                layer.bias.copy_(weights[f"{name}.bias"])


def train(options: argparse.Namespace) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = False  # trying takes minutes: every layer is a size of its own
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    training = Training(options, joined(options.data), device)
    clips = held_clips(options.data)
    verb = "resumed" if training.resume() else "begun"
    print(f"{verb} at step {training.steps}, {training.spent / 60:.2f} min; {len(training.audio) / 22050 / 60:.1f} min "
          f"of audio on {device}", flush=True)  # fmt: skip
    start, before = time.time(), training.spent
    spent_before_adversaries = options.alone * 60
    is_adversarial, run = False, None
    reported, since, saved = time.time(), training.steps, time.time()
    while time.time() - start < options.minutes * 60 and training.steps < options.steps:
        training.spent = before + time.time() - start
        wants = training.spent >= spent_before_adversaries
        if run is None or wants != is_adversarial:
            is_adversarial = wants
            training.set_rate(training.spent)
            step = training.adversarial_step if wants else training.mel_step
            optimisers = (training.generator_optimiser, training.discriminator_optimiser)
            run = captured(step, training.after_step, optimisers, device)
            training.losses.zero_()
            reported, since = time.time(), training.steps
        rate = training.set_rate(training.spent)
        run()
        training.after_step()
        if training.is_cuda and training.steps % 20 == 0:
            torch.cuda.synchronize()  # replays queue up otherwise
        if time.time() - reported > options.progress or training.steps == options.steps:
            _report_progress(training, clips, rate, since, reported)
            reported, since = time.time(), training.steps
        if time.time() - saved > SAVE_SECONDS:
            training.save()
            saved = time.time()
    training.spent = before + time.time() - start
    training.save()
    print(
        f"saved at step {training.steps}, {training.spent / 60:.2f} min, held {training.held_l1(clips):.4f}", flush=True
    )


def _report_progress(training: Training, clips: list[Tensor], rate: float, since: int, reported: float) -> None:
    steps = max(1, training.steps - since)
    mel_l1, matching, fooling, discriminating = (training.losses / steps).tolist()
    speed = steps / (time.time() - reported)
    training.losses.zero_()
    if not math.isfinite(mel_l1 + matching + fooling + discriminating):
        raise SystemExit("the losses are not finite: the last saved state stands")
    memory = f", {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if training.is_cuda else ""
    print(
        f"{training.spent / 60:6.2f} min  step {training.steps}  mel {mel_l1:.4f}  held {training.held_l1(clips):.4f}  "
        f"features {matching:.3f}  fooling {fooling:.3f}  discriminating {discriminating:.3f}  rate {rate:.1e}  "
        f"{speed:.1f} steps/s{memory}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="checkpoints.training.vocoder", description=__doc__)
    parser.add_argument("data", type=Path, metavar="DATA", help="what checkpoints.training.recordings packed")
    parser.add_argument("out", type=Path, metavar="OUT", help="of the state and the generator")
    parser.add_argument("--minutes", type=float, default=9.0, help="this call takes [%(default)s]")
    parser.add_argument("--total", type=float, default=27.0, help="of the whole schedule [%(default)s]")
    parser.add_argument("--alone", type=float, default=3.0, help="minutes without discriminators [%(default)s]")
    parser.add_argument("--begin", type=Path, metavar="CHECKPOINT", help="weights to go on from [none]")
    parser.add_argument("--steps", type=int, default=10**9, help="at most [no limit]")
    parser.add_argument("--channels", type=int, default=256, help="of the generator [%(default)s]")
    parser.add_argument("--batch", type=int, default=8, help="[%(default)s]")
    parser.add_argument("--segment", type=int, default=16384, help="samples of a piece [%(default)s]")
    parser.add_argument("--rate", type=float, default=4e-4, help="learning rate [%(default)s]")
    parser.add_argument("--seed", type=int, default=0, help="[%(default)s]")
    parser.add_argument("--progress", type=float, default=30.0, help="seconds between lines [%(default)s]")
    parser.add_argument("--half-generator", action="store_true", help="the generator in bfloat16, but for its end")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
