"""The options of tracking and of a comparison; plain data, importable without MLflow."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.machine.address import Address
from runtime.machine.setting import setting


@dataclass
class TrackingOptions:
    """Where results are logged. `uri` shows no secret (`address`)."""

    enabled: bool = setting(True, "log to MLflow")
    uri: str = setting("sqlite:///mlflow.db", "of a store or server, such as http://localhost:5000")
    experiment: str = setting("voxport", "MLflow's, made where there is none")
    tags: dict[str, str] = setting(text="of every new run, beside its own", factory=dict)

    def __post_init__(self) -> None:
        self.uri = Address(self.uri)  # the configuration's schema knows plain text only

    @property
    def address(self) -> Address:
        return Address(self.uri)


@dataclass
class CompareOptions:
    """How a bundle is compared with its champion. Pairs of processes are timed until the bound on their latency is as
    tight as `delta`, or `minutes` are over."""

    delta: float = setting(0.02, "share of latency that is no matter")
    least_pairs: int = setting(5, "of fresh processes")
    minutes: float = setting(5.0, "for latency; 0: it is not compared")
    seconds: float = setting(0.4, "of calls in each process")
    limit_minutes: float = setting(15.0, "for one measurement of quality")
