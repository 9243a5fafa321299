"""What a person can ask of the tracking; plain data, importable without MLflow."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class TrackingOptions:
    """`uri`: of an MLflow store or server, such as `sqlite:///mlflow.db` or `http://localhost:5000`."""

    enabled: bool = True
    uri: str = "sqlite:///mlflow.db"
    experiment: str = "voxport"
