"""The ring between a device's callback and the session's thread, under ThreadSanitizer.

`make swift-check` has it watch all of the Swift package's tests. Here it is seen to notice a ring that is not right.
"""

import shutil
import subprocess

import pytest

from tests.conftest import ROOT

SOURCES = ROOT / "swift" / "Sources" / "CRealtime"
TWO_THREADS = """
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include "realtime.h"

enum { TOTAL = 20000, BLOCK = 100 };
static vx_ring *ring;

static void *write_all(void *unused) {
    float block[BLOCK];
    for (int next = 0; next < TOTAL;) {
        for (int index = 0; index < BLOCK; index++) block[index] = (float)(next + index);
        int written = (int)vx_ring_write(ring, block, BLOCK);
        if (!written) sched_yield();
        next += written;
    }
    return unused;
}

int main(void) {
    ring = vx_ring_new(1024);
    pthread_t writer;
    pthread_create(&writer, NULL, write_all, NULL);
    float block[BLOCK];
    int wrong = 0;
    for (int next = 0; next < TOTAL;) {
        int taken = (int)vx_ring_read(ring, block, BLOCK);
        if (!taken) sched_yield();
        for (int index = 0; index < taken; index++) wrong += block[index] != (float)(next + index);
        next += taken;
    }
    pthread_join(writer, NULL);
    vx_ring_free(ring);
    printf("%d wrong", wrong);
    return 0;
}
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no C compiler")
@pytest.mark.parametrize(
    ("order", "is_caught"), [("memory_order_release", False), ("memory_order_relaxed", True)], ids=["ours", "naive"]
)
def test_a_ring_that_does_not_publish_its_samples_is_caught(tmp_path, order, is_caught):
    ring = (SOURCES / "ring.c").read_text()
    assert "memory_order_release" in ring
    (tmp_path / "ring.c").write_text(ring.replace("memory_order_release", order))
    (tmp_path / "main.c").write_text(TWO_THREADS)
    flags = ["-g", "-O1", "-fsanitize=thread", "-pthread", f"-I{SOURCES / 'include'}"]
    files = [tmp_path / "main.c", tmp_path / "ring.c"]
    command = ["gcc", *flags, *files, "-o", tmp_path / "threads"]
    compiled = subprocess.run(command, capture_output=True, text=True, check=False)
    if "tsan" in compiled.stderr:
        pytest.skip("this compiler comes without ThreadSanitizer")
    assert compiled.returncode == 0, compiled.stderr
    done = subprocess.run([tmp_path / "threads"], capture_output=True, text=True, check=False)
    assert ("data race" in done.stderr) == is_caught, done.stderr
    if not is_caught:
        assert done.returncode == 0 and done.stdout == "0 wrong"
