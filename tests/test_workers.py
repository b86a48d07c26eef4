"""Processes that work for another one end with it."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from skd_lab.errors import SkdError
from skd_lab.workers import process_pool

WAITING = """
import os, time
from skd_lab.stopping import sigterm_interrupts
from skd_lab.workers import process_pool
with sigterm_interrupts(), process_pool(2) as pool:
    both = [pool.submit(os.getpid) for _ in range(2)]
    [each.result() for each in both]
    work = [pool.submit(time.sleep, 600) for _ in range(2)]
    print(*pool._processes, flush=True)
    [each.result() for each in work]
"""


def is_there(pid):
    try:  # one that nobody has waited for is dead all the same
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_they_end_with_the_process_they_work_for(number):
    command = [sys.executable, "-c", WAITING]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, stderr=subprocess.PIPE) as of:
        pids = [int(word) for word in of.stdout.readline().split()]
        assert len(pids) == 2 and all(map(is_there, pids))
        of.send_signal(number)
        _, errors = of.communicate(timeout=60)
    assert of.returncode == (-number if number == signal.SIGKILL else 1)
    assert number == signal.SIGKILL or "Stopped" in errors
    for _ in range(300):
        if not any(map(is_there, pids)):
            return
        time.sleep(0.1)
    pytest.fail("the workers are still there")


@pytest.mark.slow
def test_an_error_in_the_block_stops_them_and_one_that_dies_is_said():
    started = time.monotonic()
    with pytest.raises(KeyError), process_pool(1) as pool:
        pool.submit(time.sleep, 600)
        raise KeyError
    assert time.monotonic() - started < 300
    with pytest.raises(SkdError, match="died, most likely for want of memory"):
        with process_pool(1) as pool:
            pool.submit(os._exit, 9).result()


def prepared():
    os.environ["SKD_PREPARED"] = "yes"


@pytest.mark.slow
def test_they_prepare_themselves_and_leave_ctrl_c_to_the_one_they_work_for():
    with process_pool(1, prepare=prepared) as pool:
        assert pool.submit(signal.getsignal, signal.SIGINT).result() == signal.SIG_IGN
        assert pool.submit(os.getenv, "SKD_PREPARED").result() == "yes"
    assert os.getenv("SKD_PREPARED") is None
