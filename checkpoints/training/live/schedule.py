"""A training's clock: what phase it is in, how fast it learns, when it is saved; on one GPU or, by torchrun, on several
of a machine, whose weights are averaged every few steps (local SGD, Stich 2019, arXiv 1805.09767)."""

from __future__ import annotations

import argparse
import functools
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as distributed
from torch import Tensor, nn
from torch.nn.utils import parametrize

from checkpoints.training.state import load_state, packed_optimiser, save_state, unpack_optimiser
from checkpoints.training.steps import SAVE_SECONDS, adam, average_into, captured, halved, rate_at

AVERAGED_EVERY = 8  # steps


class Networks:
    """What learns: networks by name with their optimisers, learning rates in proportion, and a moving average of those
    that are `kept`."""

    def __init__(
        self, networks: Mapping[str, nn.Module], kept: Sequence[str], rate: float, device: str,
        betas: tuple[float, float] = (0.8, 0.99), shares: Mapping[str, float] | None = None,
    ) -> None:  # fmt: skip
        self.networks, self.kept, self.device = dict(networks), tuple(kept), device
        self.first = {name: rate * (shares or {}).get(name, 1.0) for name in networks}
        self.rates = {name: torch.tensor(first, device=device) for name, first in self.first.items()}
        self.optimisers = {name: adam(network, self.rates[name], betas) for name, network in networks.items()}
        self.steps, self.spent = 0, 0.0
        self.average = self._weights()

    def _weights(self) -> dict[str, dict[str, Tensor]]:
        return {
            name: {key: value.detach().clone().float() for key, value in self.networks[name].state_dict().items()}
            for name in self.kept
        }

    def update(self, name: str, limit: float) -> None:
        nn.utils.clip_grad_norm_(self.networks[name].parameters(), limit)
        self.optimisers[name].step()

    def zero(self) -> None:
        for optimiser in self.optimisers.values():
            optimiser.zero_grad(set_to_none=True)

    def set_rates(self, warm_up: int, progress: float) -> float:
        for name, first in self.first.items():
            self.rates[name].fill_(rate_at(first, self.steps, warm_up, progress))
        return rate_at(max(self.first.values()), self.steps, warm_up, progress)

    def after_step(self) -> None:
        self.steps += 1
        if _processes() > 1 and self.steps % AVERAGED_EVERY == 0:
            for network in self.networks.values():
                parameters = [parameter.data for parameter in network.parameters()]
                flat = torch._utils._flatten_dense_tensors(parameters)
                distributed.all_reduce(flat, distributed.ReduceOp.AVG)
                for parameter, mean in zip(parameters, torch._utils._unflatten_dense_tensors(flat, parameters)):
                    parameter.copy_(mean)
        for name in self.kept:
            average_into(self.average[name], self.networks[name].state_dict(), self.steps)

    def save(self, folder: Path, with_state: bool) -> None:
        """Writes each kept network's average, `NAME.pt`, and the state to go on from."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in self.kept:
            aside = folder / f".{name}.pt.partial"
            torch.save({key: value.cpu() for key, value in halved(self.average[name]).items()}, aside)
            aside.rename(folder / f"{name}.pt")
        if with_state:
            state: dict[str, Any] = {
                name: {"weights": network.state_dict(), "optimiser": packed_optimiser(self.optimisers[name])}
                for name, network in self.networks.items()
            }
            save_state(folder / "state", {"networks": state, "steps": self.steps, "spent": self.spent})

    def resume(self, folder: Path) -> bool:
        state = load_state(folder / "state", self.device)
        if state is None:
            return False
        for name, network in self.networks.items():
            network.load_state_dict(state["networks"][name]["weights"])
            unpack_optimiser(self.optimisers[name], state["networks"][name]["optimiser"])
            for group in self.optimisers[name].param_groups:
                group["lr"] = self.rates[name]
        for name in self.kept:
            average = torch.load(folder / f"{name}.pt", map_location=self.device, weights_only=True)
            self.average[name] = {key: value.float() for key, value in average.items()}
        self.steps, self.spent = state["steps"], state["spent"]
        return True


class Training(Protocol):
    """`step` learns from one batch, with judges or without, and adds its losses to `losses`, named by `names`."""

    networks: Networks
    losses: Tensor
    names: tuple[str, ...]

    def step(self, is_judged: bool) -> None: ...

    def held(self) -> float: ...


def run(training: Training, options: argparse.Namespace) -> None:
    """Trains for `options.minutes`, at most those of the schedule, the first `options.alone` without judges."""
    networks, device = training.networks, training.networks.device
    total = options.minutes if options.total is None else options.total
    is_first = _rank() == 0
    if networks.resume(options.out) and is_first:
        print(f"resumed at step {networks.steps}, {networks.spent / 60:.2f} min", flush=True)
    torch.manual_seed(options.seed + networks.steps + 1009 * _rank())  # not the same pieces again, or elsewhere
    start, before = time.time(), networks.spent
    is_judged, step = False, None
    reported, since, saved = time.time(), networks.steps, time.time()
    while networks.steps < options.steps:
        networks.spent = before + time.time() - start
        wants = networks.spent >= options.alone * 60
        is_over = time.time() - start >= options.minutes * 60 or networks.spent >= total * 60
        if _processes() == 1 and is_over:
            break
        if _processes() > 1:  # all of them together, or a graph waits for another
            together = torch.tensor([wants, is_over], device=device).int()
            if networks.steps % AVERAGED_EVERY == 0:
                distributed.broadcast(together, 0)
                if together[1]:
                    break
                wants = bool(together[0])
            else:
                wants = is_judged
        if step is None or wants != is_judged:
            is_judged = wants
            networks.set_rates(options.warm_up, networks.spent / 60 / total)
            once = functools.partial(training.step, wants)
            step = captured(once, lambda: None, list(networks.optimisers.values()), device)
            training.losses.zero_()
            reported, since = time.time(), networks.steps
        rate = networks.set_rates(options.warm_up, networks.spent / 60 / total)
        step()
        networks.after_step()
        if device == "cuda" and networks.steps % 20 == 0:
            torch.cuda.synchronize()  # replays queue up otherwise
        if is_first and (time.time() - reported > options.progress or networks.steps == options.steps):
            _report(training, rate, since, reported)
            reported, since = time.time(), networks.steps
        if is_first and time.time() - saved > SAVE_SECONDS:
            networks.save(options.out, options.state)
            saved = time.time()
    networks.spent = before + time.time() - start
    if is_first:
        networks.save(options.out, options.state)
        print(f"saved at step {networks.steps}, {networks.spent / 60:.2f} min, held {training.held():.4f}", flush=True)


def _report(training: Training, rate: float, since: int, reported: float) -> None:
    networks = training.networks
    steps = max(1, networks.steps - since)
    losses = (training.losses / steps).tolist()
    training.losses.zero_()
    if not all(map(math.isfinite, losses)):
        raise SystemExit("the losses are not finite: the last saved state stands")
    parts = "  ".join(f"{name} {value:.4f}" for name, value in zip(training.names, losses))
    memory = f", {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if networks.device == "cuda" else ""
    print(
        f"{networks.spent / 60:6.2f} min  step {networks.steps}  {parts}  held {training.held():.4f}  rate {rate:.1e}  "
        f"{steps / (time.time() - reported):.1f} steps/s{memory}",
        flush=True,
    )


def set_weights(network: nn.Module, source: Path, name: str, device: str) -> None:
    """Sets a network to what a training left (`NAME.pt`, or its folder), or to an exported voice (its folder).

    Weight norm takes what its product is; what an exported voice has not, a head of training alone, stays as drawn.
    """
    if (source / f"{name}.pt").is_file():
        source = source / f"{name}.pt"
    if source.is_file():
        network.load_state_dict(torch.load(source, map_location=device, weights_only=True))
        return
    from safetensors.torch import load_file

    prefix = f"{name}."
    weights = {key.removeprefix(prefix): value.float().to(device)
               for key, value in load_file(source / "model.safetensors").items() if key.startswith(prefix)}  # fmt: skip
    with torch.no_grad():
        for key, layer in network.named_modules():
            if f"{key}.weight" in weights:
                assert isinstance(layer, nn.Conv1d) and layer.bias is not None
                if layer.weight.shape != weights[f"{key}.weight"].shape:
                    raise ValueError(f"{source}: its {name} is of other sizes than the one that is to begin as it")
                if parametrize.is_parametrized(layer, "weight"):
                    layer.weight = weights[f"{key}.weight"]
                else:
                    layer.weight.copy_(weights[f"{key}.weight"])
                layer.bias.copy_(weights[f"{key}.bias"])


def set_from_state(network: nn.Module, source: Path, name: str, device: str) -> None:
    """Sets a judge to what it was when the training that left `source` was last saved, if that kept its state."""
    state = load_state(source / "state", device) if source.is_dir() else None
    if state is not None and name in state["networks"]:
        network.load_state_dict(state["networks"][name]["weights"])


def begun(seed: int) -> str:
    """Returns the device to train on; with several processes, each takes its GPU and finds the others."""
    torch.backends.cudnn.benchmark = False  # trying takes minutes: every layer is a size of its own
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.manual_seed(seed)
    if not torch.cuda.is_available():
        return "mps" if torch.backends.mps.is_available() else "cpu"
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        distributed.init_process_group("nccl")
    return "cuda"


def add_options(parser: argparse.ArgumentParser, minutes: float, alone: float, rate: float, batch: int) -> None:
    parser.add_argument("out", type=Path, metavar="OUT", help="of the networks and the state")
    parser.add_argument("--minutes", type=float, default=minutes, help="this call takes [%(default)s]")
    parser.add_argument("--total", type=float, help="of the whole schedule [as --minutes]")
    parser.add_argument("--alone", type=float, default=alone, help="minutes without judges [%(default)s]")
    parser.add_argument("--steps", type=int, default=10**9, help="at most [no limit]")
    parser.add_argument("--batch", type=int, default=batch, help="pieces of the voice [%(default)s]")
    parser.add_argument("--held", type=int, default=48, help="pieces of held clips to judge by [%(default)s]")
    parser.add_argument("--rate", type=float, default=rate, help="learning rate [%(default)s]")
    parser.add_argument("--warm-up", type=int, default=300, help="steps until that rate [%(default)s]")
    parser.add_argument("--seed", type=int, default=0, help="[%(default)s]")
    parser.add_argument("--progress", type=float, default=30.0, help="seconds between lines [%(default)s]")
    parser.add_argument("--no-state", dest="state", action="store_false", help="networks alone, not what goes on")


def _rank() -> int:
    return distributed.get_rank() if _processes() > 1 else 0


def _processes() -> int:
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
