"""The script that finds or makes a Swift toolchain."""

import os
import subprocess

from tests.conftest import ROOT

TOOLCHAIN = ROOT / "swift" / "toolchain"


def test_where_there_is_no_swift_it_says_so(tmp_path):
    environment = {"PATH": "/usr/bin:/bin", "VOXPORT_CACHE": str(tmp_path), "HOME": str(tmp_path)}
    for command in (["state"], ["run", "swift", "--version"]):
        done = subprocess.run([TOOLCHAIN, *command], env=environment, capture_output=True, text=True, check=False)
        if done.returncode == 0:  # a Swift lies beside bash
            return
        assert "no Swift 6 here (make swift-toolchain)" in done.stderr


def test_it_takes_no_command_but_its_own():
    done = subprocess.run([TOOLCHAIN, "dance"], env=os.environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "swift: make, state or run COMMAND\n")
