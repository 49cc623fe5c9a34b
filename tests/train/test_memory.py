import json
import platform
import subprocess
import sys

import pytest

# In a process of its own: page faults of steps that allocate and fill so many bytes each, before, inside and after.
# After, the blocks are larger than anything that was freed inside: one that fits into a hole there maps no page anew.
PROGRAM = """
import json, resource
import psutil, torch
from geocamnet.train.memory import kept_memory

SMALL, LARGE = 64 * 1024**2, 512 * 1024**2

def faults(size, steps):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        torch.empty(size // 4).fill_(1.0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults(SMALL, 1)
found = {"before": faults(SMALL, 10), "large_before": faults(LARGE, 2)}
with kept_memory():
    faults(SMALL, 20)  # aligned blocks fill what was reserved before they come back to the same places
    found["inside"] = faults(SMALL, 10)
    held = psutil.Process().memory_info().rss
found["given_back"] = held - psutil.Process().memory_info().rss
found["large_after"] = faults(LARGE, 2)
print(json.dumps(found))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep memory")
def test_freed_memory_is_kept_inside_and_given_back_after():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["inside"] < found["before"] / 20
    assert found["large_after"] > found["large_before"] / 2
    assert found["given_back"] > 50e6
