"""`python -m convert`: Hydra in front of job.py."""

from __future__ import annotations

if __name__ == "__main__":
    from runtime.machine.interrupts import remember_interrupts

    remember_interrupts()

import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING

import conf
from runtime.errors import ExitCode, VoxportError
from runtime.machine.address import Address
from runtime.machine.command_line import answered, needed_packages, program, run
from runtime.machine.versions import installed_versions

with needed_packages("convert"):
    from convert import console
    from convert.help import screen as help_screen
    from convert.overrides import OverrideError, as_text, check

if TYPE_CHECKING:
    from convert.job import Outcome
    from convert.schema import Job


@answered
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs every job of the command line; the highest of their exit codes (runtime.errors)."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    os.environ.setdefault("TQDM_DISABLE", "1")
    if {"-h", "--help"} & set(arguments):
        print(help_screen())
        return ExitCode.DONE
    if "--version" in arguments:
        print(f"voxport {installed_versions(['voxport'])['voxport']}")
        return ExitCode.DONE
    is_sweep = _is_sweep(arguments)
    # Hydra takes switches in front alone, where more overrides follow than a person typed.
    arguments = ["-m"] * is_sweep + [one for one in arguments if one not in ("-m", "--multirun")]
    arguments = as_text(arguments, is_sweep)
    try:
        _check_switches(arguments)
        check(_overrides(arguments), is_sweep=is_sweep)
    except OverrideError as error:
        console.error(f"{error}\n({program('convert')} --help shows groups and settings)")
        return ExitCode.USAGE
    return _run_hydra(arguments)


def _is_sweep(arguments: list[str]) -> bool:
    return bool({"-m", "--multirun"} & set(arguments))


_TAKE_VALUE = ("--cfg", "-c", "--package", "-p", "--info", "-i", "--config-dir", "-cd")
_ALONE = ("-m", "--multirun", "--resolve", "--hydra-help")


def _check_switches(arguments: list[str]) -> None:
    """Raises OverrideError for an option that neither this command nor Hydra has."""
    for argument, after in zip(arguments, [*arguments[1:], ""]):
        name, _, value = argument.partition("=")
        if name.startswith("-") and name not in (*_TAKE_VALUE, *_ALONE):
            raise OverrideError(f"there is no option {name!r}")
        if name in ("--cfg", "-c") and (value or after) not in ("job", "hydra", "all"):
            raise OverrideError(f"{name} takes job, hydra or all, got {(value or after)!r}")


def _overrides(arguments: list[str]) -> list[str]:
    """Returns what the command line holds beside Hydra's own options and their values."""
    pairs = zip(["", *arguments], arguments)
    return [argument for before, argument in pairs if not argument.startswith("-") and before not in _TAKE_VALUE]


def _run_hydra(arguments: list[str]) -> int:
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from convert.idle import without_effect
    from convert.recorded import expressions_of
    from convert.schema import Job, register
    from converters.options import Impossible

    register()
    skipped: list[str] = []
    codes: list[int] = []  # of each job
    outcomes: list[tuple[Outcome, Job]] = []
    is_sweep = _is_sweep(arguments)

    @hydra.main(version_base="1.3", config_path=str(Path(conf.__file__).parent), config_name="config")
    def task(config: DictConfig) -> None:
        from convert.report import show

        try:
            job = OmegaConf.to_object(config)
        except Impossible as error:
            if is_sweep:
                console.warn(f"skipped: {error}")
                skipped.append(str(error))
            else:
                console.error(str(error))
                codes.append(error.exit_code)
            return
        except OmegaConfBaseException as error:
            console.error(_first_line(error))
            codes.append(ExitCode.USAGE)
            return
        except VoxportError as error:
            console.error(str(error))
            codes.append(error.exit_code)
            return
        assert isinstance(job, Job)
        expressions = expressions_of(config)
        job.tracking.uri = Address(job.tracking.uri, expressions.get(("tracking", "uri"), ""))
        overrides = list(HydraConfig.get().overrides.task)
        for sentence in without_effect(job, overrides):
            console.note(sentence)
        if job.suite.name:
            from convert.suite import run_suite

            codes.append(run_suite(job, overrides))
            return
        outcome = show(job, expressions)
        if isinstance(outcome, ExitCode):
            codes.append(outcome)
            return
        codes.append(ExitCode.DONE if outcome.passed else ExitCode.MISSED)
        outcomes.append((outcome, job))

    # Hydra wants folders for its logs and sweeps: they go where nobody looks, the working directory stays clean.
    with tempfile.TemporaryDirectory(prefix="voxport-hydra-") as folder:
        quiet = [f"hydra.run.dir={folder}", f"hydra.sweep.dir={folder}"]
        quiet += ["hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none"]
        is_help = any(argument.startswith("-") and argument not in ("-m", "--multirun") for argument in arguments)
        sys.argv = ["convert", *arguments, *([] if is_help else quiet)]
        os.environ["HYDRA_FULL_ERROR"] = "1"  # its errors come here, in place of its own pages about them
        try:
            with redirect_stderr(console.Scrubbed(sys.stderr)):
                task()
        except KeyboardInterrupt:
            console.error("interrupted: nothing unfinished was kept")
            return ExitCode.INTERRUPTED
        except (HydraException, OmegaConfBaseException) as error:
            cause = error.__cause__
            console.error(_first_line(cause if isinstance(cause, OmegaConfBaseException) else error))
            return ExitCode.USAGE
        except SystemExit as stop:  # Hydra has printed what was wrong with the configuration
            return ExitCode.USAGE if stop.code else ExitCode.DONE
    if is_sweep and outcomes:
        from convert.report import compare

        last = outcomes[-1][1]
        compare([outcome for outcome, _ in outcomes], Path(last.output).expanduser().resolve(), last.tracking)
    if skipped and not codes:
        console.error("nothing was left to convert")
        return ExitCode.USAGE
    return max(codes, default=ExitCode.DONE)


def _first_line(error: BaseException) -> str:
    """A setting with what was wrong about it, of an error whose further lines name classes."""
    key = getattr(error, "full_key", None)
    first = str(error).splitlines()[0]
    return f"{key}: {first}" if key and key not in first else first


if __name__ == "__main__":
    run(main)
