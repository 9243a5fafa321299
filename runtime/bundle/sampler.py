"""How samples are drawn from a component's output: what stands of it in the manifest."""

from __future__ import annotations

from dataclasses import dataclass, replace

from runtime.bundle.spec import TimeAxis
from runtime.machine.checked import Count


@dataclass(frozen=True)
class Sampler:
    """How a component's output is sampled from, in the manifest. `component`: takes `input` (N, C, `columns`) and
    `carried` (N, `carried`), which begins with zeros, and gives `samples` (N, `samples`) and `next_carried`. `rows`: N
    that a call takes at best. `hop_length`: samples that a column stands for."""

    component: str
    input: str
    samples: Count
    carried: Count
    rows: Count = 1
    hop_length: Count = 1

    @property
    def columns(self) -> int:
        """Columns of `input` that a call takes."""
        return self.samples // self.hop_length

    def conditioning(self, time: TimeAxis) -> TimeAxis:
        """The time of what is sampled from, by that of the samples."""
        return replace(
            time,
            output=self.input,
            samples_per_frame=time.samples_per_frame // self.hop_length,
            hop_length=time.hop_length * self.hop_length,
        )
