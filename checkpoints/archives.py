"""The archive around a checkpoint's pickles: whether it is what `torch.save` writes, before PyTorch unpacks it."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import BinaryIO

import torch

from checkpoints import CheckpointError

_RATIO, _SPARE = 10, 64 << 20  # torch.save does not compress; weights that somebody compressed shrink by little


def check_archive(path: Path, is_program: bool = False) -> int:
    """Bytes of its contents, unpacked. Raises CheckpointError for a TorchScript program, or for what is none where one
    is read, and for an archive that unpacks to far more than its size or into something else than files."""
    with path.open("rb") as file:
        size = path.stat().st_size
        is_zip = file.read(4) == b"PK\x03\x04"  # as torch.load tells them apart
        file.seek(0)
        if is_zip:
            return _check_zip(file, path, size, is_program)
        if is_program:
            raise CheckpointError(f"{path} is no TorchScript program: it is no zip archive")
        if tarfile.is_tarfile(file):
            file.seek(0)
            _check_tar(file, path, size)
        return size


def _check_zip(file: BinaryIO, path: Path, size: int, is_program: bool) -> int:
    """Checks with PyTorch's own reader: another could see another table of contents."""
    try:
        reader = torch._C.PyTorchFileReader(file)
        names = reader.get_all_records()
        unpacked = sum(reader.get_record_size(name) for name in names)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path} cannot be read as a PyTorch checkpoint: it is a zip archive that is damaged or was cut off"
        ) from error
    if ("constants.pkl" in names) != is_program:
        kinds = ("a checkpoint", "a TorchScript program")
        raise CheckpointError(f"{path} is {kinds[not is_program]}, not {kinds[is_program]}: it is not loaded")
    if unpacked > _RATIO * size + _SPARE:
        raise CheckpointError(f"{path} has {size} bytes and unpacks to {unpacked}: it is not loaded")
    return unpacked


def _check_tar(file: BinaryIO, path: Path, size: int) -> None:
    """PyTorch extracts these into a folder: what is a link or a device there would be opened."""
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for member in archive:
            if not member.isreg() or member.issparse() or member.size > size:
                raise CheckpointError(f"{path}: {member.name!r} in it is no plain file: it is not loaded")
