"""Fork a process a number of times while another thread of it estimates, and say of each child how it ended."""

from __future__ import annotations

import os
import sys
import threading
import time
import warnings

import numpy as np
import torch

import dowhy_cina
from dowhy_cina.mathematics import devices

warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of every fork beside threads
torch.set_num_threads(2)
devices.THREADED_ROWS = 1000  # the longer table takes two threads


def table(rows):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 3))
    t = (x[:, 0] + rng.normal(size=rows) > 0).astype(int)
    return x, t, x[:, 0] + t + rng.normal(size=rows)


def estimate_for_ever():
    while True:
        for table in tables:
            dowhy_cina.estimate_effect(*table)


def has_ended(child):
    for _ in range(1000):
        if os.waitpid(child, os.WNOHANG)[0]:
            return True
        time.sleep(0.02)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return False


tables = table(200), table(1000)
expected = [dowhy_cina.estimate_effect(*table).value for table in tables]
threading.Thread(target=estimate_for_ever, daemon=True).start()
for number in range(int(sys.argv[1])):
    time.sleep(0.01)
    child = os.fork()
    if not child:
        which = number % 10 == 9
        found = dowhy_cina.estimate_effect(*tables[which]).value
        print("same" if abs(found - expected[which]) < 1e-9 else found, flush=True)
        os._exit(0)
    if not has_ended(child):
        print("hangs", flush=True)
        break
os._exit(0)
