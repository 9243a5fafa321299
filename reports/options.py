"""The options of tracking and of a comparison; plain data, importable without MLflow."""

from __future__ import annotations

from dataclasses import dataclass, field

from runtime.machine.address import Address


@dataclass
class TrackingOptions:
    """`uri`: of an MLflow store or server, such as `sqlite:///mlflow.db` or `http://localhost:5000`; it shows no secret
    (`address`). `tags`: of every new run, beside its own."""

    enabled: bool = True
    uri: str = "sqlite:///mlflow.db"
    experiment: str = "voxport"
    tags: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.uri = Address(self.uri)  # the configuration's schema knows plain text only

    @property
    def address(self) -> Address:
        return Address(self.uri)


@dataclass
class CompareOptions:
    """How a bundle is compared with its champion. Latency: `delta`, the share that is no matter; `least_pairs` of fresh
    processes, and more until the bound is that tight or `minutes` are over (0: latency is not compared); `seconds` of
    calls in each. `limit_minutes`: for one measurement of quality."""

    delta: float = 0.02
    least_pairs: int = 5
    minutes: float = 5.0
    seconds: float = 0.4
    limit_minutes: float = 15.0
