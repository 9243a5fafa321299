"""What else a machine did while it was timed, by counters that are told."""

import dataclasses
import os
import subprocess
import sys
import time

import pytest

from runtime.machine.files import write_json
from runtime.measuring.bench import load
from runtime.measuring.bench.load import BUSY_SHARE, LoadWatch, OtherLoad, ProcessorTimes, others_share, thermal_words
from runtime.measuring.measure import measure, read_measurement, write_measurement
from runtime.measuring.options import MeasureOptions

QUICK = MeasureOptions(bench_seconds=0.1, bench_min_chunks=3)


@pytest.mark.parametrize(
    ("machine", "ours", "expected"),
    [(10.0, 10.0, 0.0), (15.0, 10.0, 0.25), (20.0, 0.0, 1.0), (9.9, 10.0, 0.0), (0.0, 0.0, None)],
)
def test_the_share_is_what_the_machine_did_beyond_this_process(machine, ours, expected):
    before = ProcessorTimes(100.0, 1000.0, 50.0)
    after = ProcessorTimes(110.0, 1000.0 + machine, 50.0 + ours)
    assert others_share(before, after, processors=2) == expected


def test_more_than_the_limit_is_busy_and_what_is_unknown_is_not(monkeypatch):
    monkeypatch.setattr(load, "BUSY_SHARE", BUSY_SHARE)
    assert not OtherLoad(BUSY_SHARE, 8.0).is_busy and not OtherLoad(None, 8.0).is_busy
    busy = OtherLoad(BUSY_SHARE + 0.01, 1.25, "hot")
    assert busy.is_busy and str(busy).startswith("BUSY: other processes used") and str(busy).endswith("1.2 before, hot")


def test_the_work_of_children_is_ours():
    before = load.processor_times()
    spin = "import time\nwhile time.process_time() < 0.4: pass"
    subprocess.run([sys.executable, "-c", spin], check=True)
    assert load.processor_times().ours - before.ours > 0.3


def test_a_watch_reads_the_load_at_its_beginning(monkeypatch):
    averages = iter([(3.5, 0, 0), (9.0, 0, 0)])
    readings = iter([ProcessorTimes(0.0, 0.0, 0.0), ProcessorTimes(10.0, 8.0, 3.0)])
    monkeypatch.setattr(os, "getloadavg", lambda: next(averages))
    monkeypatch.setattr(load, "processor_times", lambda: next(readings))
    monkeypatch.setattr(load.psutil, "cpu_count", lambda: 2)
    monkeypatch.setattr(load, "thermal_state", lambda: None)
    assert LoadWatch().load() == OtherLoad(0.25, 3.5)


def test_macos_says_how_far_it_slows_down():
    answer = "CPU Power notify\n\tCPU_Scheduler_Limit \t= 100\n\tCPU_Speed_Limit \t= 62\n"
    assert thermal_words(answer) == "processors limited to 62 % of their speed"
    assert thermal_words("Note: No thermal warning level has been recorded\n") is None


def test_what_is_timed_says_what_ran_beside_it_and_old_files_are_read(fp16, tmp_path, monkeypatch):
    clock = time.perf_counter
    began = clock()
    busy = lambda: ProcessorTimes(clock(), 2 * (clock() - began), 0.0)  # noqa: E731
    monkeypatch.setattr(load, "processor_times", busy)
    monkeypatch.setattr(load.psutil, "cpu_count", lambda: 2)
    monkeypatch.setattr(load, "BUSY_SHARE", BUSY_SHARE)
    timed = measure(fp16.bundle, "onnx", QUICK)
    assert timed.is_busy and timed.beside.others_share == pytest.approx(1.0, abs=0.01)
    write_measurement(tmp_path / "timed.json", timed)
    assert read_measurement(tmp_path / "timed.json").beside == timed.beside
    untimed = measure(fp16.bundle, "onnx", dataclasses.replace(QUICK, bench_seconds=0))
    assert untimed.beside is None and not untimed.is_busy
    kept = dataclasses.asdict(timed)
    del kept["beside"]
    write_json(tmp_path / "old.json", kept)
    assert read_measurement(tmp_path / "old.json").beside is None
