import sys

import pytest

from runtime.errors import EngineError
from runtime.machine.child import output_of


def here(code):
    return [sys.executable, "-c", code]


def test_what_a_command_prints_comes_back():
    assert output_of(here("print('12 ms')"), "timing", 30) == "12 ms\n"


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("import time; time.sleep(60)", r"^timing did not end within 0\.5 s$"),
        ("import os; os.kill(os.getpid(), 9)", r"^timing crashed \(signal 9\)$"),
        ("raise SystemExit('first\\nerror: no such model')", "^timing failed: no such model$"),
        ("raise SystemExit(3)", "^timing failed: ended with 3$"),
    ],
)
def test_one_that_hangs_crashes_or_fails_is_a_sentence(code, sentence):
    with pytest.raises(EngineError, match=sentence):
        output_of(here(code), "timing", 0.5 if "sleep" in code else 30)
