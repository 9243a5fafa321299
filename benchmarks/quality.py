"""Quality of every precision and upsampler on the bundled speech, as a Markdown table.

python -m benchmarks.quality
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from runtime.bundle.store import Bundle, open_bundle
from runtime.measuring.measure import read_measurement

COMMAND = [sys.executable, "-m", "convert", "-m", "precision=fp32,fp16", "upsampler=native,polyphase"]
OPTIONS = ["checkpoint.source=bundled", "tracking=off", "measure.bench_seconds=0"]


def rows(bundle: Bundle) -> list[str]:
    conversion = bundle.manifest.options
    lines = []
    for path in sorted(bundle.measured.glob("*-overlap*.json")):
        measurement = read_measurement(path)
        clips = [clip.agreement for clip in measurement.clips]
        lines.append(
            f"| {conversion.precision} | {conversion.upsampler} | {measurement.engine} "
            f"| {min(c.snr_db for c in clips):.1f}…{max(c.snr_db for c in clips):.1f} "
            f"| {min(c.worst_window_db for c in clips):.1f} | {max(c.log_mel_l1 for c in clips):.5f} "
            f"| {min(c.stoi for c in clips):.4f} |"
        )
    return lines


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*COMMAND, *OPTIONS, f"output={folder}"], check=False, stdout=subprocess.DEVNULL)
        print("| precision | upsampler | engine | SNR dB, worst…best clip | worst 50 ms | log-mel L1 | STOI |")
        print("|---|---|---|---|---|---|---|")
        for manifest in sorted(Path(folder).rglob("manifest.json"), reverse=True):
            print("\n".join(rows(open_bundle(manifest.parent))))


if __name__ == "__main__":
    main()
