from __future__ import annotations

import pytest

from ops.metal.host import NoCompiler, compiler, library


@pytest.fixture(scope="session")
def clang() -> list[str]:
    try:
        return compiler()
    except NoCompiler as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def kernels(clang, tmp_path_factory):
    return library(tmp_path_factory.mktemp("metal"))
