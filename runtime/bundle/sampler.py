"""How samples are drawn from a component's output: what stands of it in the manifest."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.machine.checked import Count


@dataclass(frozen=True)
class Sampler:
    """How a component's output is sampled from, in the manifest. `component`: takes `input` (N, C, `samples`) and
    `carried` (N, `carried`), which begins with zeros, and gives `samples` (N, `samples`) and `next_carried`. `rows`: N
    that a call takes at best."""

    component: str
    input: str
    samples: Count
    carried: Count
    rows: Count = 1
