"""What an audit says (audit.py makes it), as records and as JSON: read without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from runtime.errors import ArtefactError

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class OpAudit:
    """One op. `position` counts from 1 in the program's order; `place`: module of the original.

    `local_db`, `accumulated_db`: SNR of its output. `effect_db`: SNR of the program's outputs were this op's rounding
    the only one; inf where it rounds nothing. `largest`: magnitude; `headroom`: the type's largest value over it, below
    1 an overflow. Shares of its values: `subnormal` (below the type's smallest normal one), `flushed` (become zero),
    `overflowed` (become infinite).
    """

    position: int
    op: str
    output: str
    place: str
    dtype: str
    values: int
    local_db: float
    accumulated_db: float
    effect_db: float
    largest: float
    headroom: float
    subnormal: float
    flushed: float
    overflowed: float


@dataclass(frozen=True)
class ProgramAudit:
    """One function of one component; ops sorted by their effect, the worst first. `snr_db`: of the outputs as declared
    to the same program in float32, each counting alike. `cases`: how many real inputs."""

    component: str
    function: str
    cases: int
    snr_db: float
    ops: tuple[OpAudit, ...]


@dataclass(frozen=True)
class Audit:
    schema_version: int
    subject: str
    key: str
    programs: tuple[ProgramAudit, ...]


def read_audit(path: Path) -> Audit:
    """Raises ArtefactError where the file is none, or of another version."""
    try:
        audit = TypeAdapter(Audit).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ArtefactError(f"{path} is no audit of this version of voxport: {str(error).splitlines()[0]}") from error
    if audit.schema_version != SCHEMA_VERSION:
        raise ArtefactError(f"{path} is an audit of schema {audit.schema_version}, this voxport reads {SCHEMA_VERSION}")
    return audit
