"""Tasks side by side in forked processes, run from a process of their own: a test's has threads of Python."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from convert.beside import SideBySide, Task

ROOT = Path(__file__).parents[2]
PROGRAM = """
import json, os, sys, time
from convert.beside import SideBySide, Task
from runtime.errors import EngineError

def outcome(*tasks, processes=2):
    try:
        with SideBySide([Task("", task) for task in tasks], processes) as beside:
            return [done.value for done in beside.results()]
    except Exception as error:
        return [type(error).__name__, str(error)]

home = os.getpid()
def elsewhere(act):
    def run():
        for _ in range(500):  # until the other process has taken the other task
            time.sleep(0.01)
            if os.getpid() != home:
                return act()
            if os.path.exists(sys.argv[1]):
                return "at home"
    return run
def mark():
    open(sys.argv[1], "w").close()
def refuse():
    mark()
    raise EngineError("there is no engine")
def trip():
    mark()
    class Odd(Exception):  # cannot be pickled: no module has it
        pass
    raise Odd("stumbled")
def die():
    mark()
    os.kill(os.getpid(), 9)
def answer():
    mark()
    print("not among the results", flush=True)
    return "elsewhere"

results = [outcome(*[lambda number=number: number for number in range(9)], processes=3)]
for act in (answer, refuse, trip, die):
    if os.path.exists(sys.argv[1]):
        os.remove(sys.argv[1])
    results.append(outcome(elsewhere(act), elsewhere(act)))
children = open(f"/proc/{home}/task/{home}/children").read()
print(json.dumps([results, children]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="nothing is forked elsewhere")
def test_results_and_errors_of_forked_processes_come_home_and_none_is_left(tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "mark")]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    (numbers, answered, refused, tripped, died), children = json.loads(process.stdout)
    assert numbers == list(range(9)), "in the order of the tasks, each once"
    assert sorted(answered) == ["at home", "elsewhere"]
    assert refused == ["EngineError", "there is no engine"]
    assert tripped == ["RuntimeError", "Odd: stumbled"]
    assert died[0] == "BesideError" and "was killed" in died[1]
    assert children == ""


def test_one_process_does_all_tasks_itself_in_their_order():
    taken = []
    with SideBySide([Task("", lambda number=number: taken.append(number)) for number in range(4)], 1) as alone:
        assert alone.count == 1 and len(alone.results()) == 4
    assert taken == [0, 1, 2, 3]
