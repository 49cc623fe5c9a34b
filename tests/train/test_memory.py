import json
import platform
import subprocess
import sys

import pytest

# In a process of its own: page faults of steps that allocate 64 MB each, before, inside and after the block.
PROGRAM = """
import json, resource
import psutil, torch
from geocamnet.train.memory import kept_memory

def faults(steps=10):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        torch.empty(16 * 1024**2).fill_(1.0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
found = {"before": faults()}
with kept_memory():
    faults()
    found["inside"] = faults()
    held = psutil.Process().memory_info().rss
found["given_back"] = held - psutil.Process().memory_info().rss
found["after"] = faults()
print(json.dumps(found))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep memory")
def test_freed_memory_is_kept_inside_and_given_back_after():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["inside"] < found["before"] / 20
    assert found["after"] > found["before"] / 2
    assert found["given_back"] > 50e6
