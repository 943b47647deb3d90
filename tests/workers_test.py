"""Processes that work for another."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sorajax import workers
from sorajax.data import latents
from sorajax.errors import UserError

BUSY = """
import os, time
from sorajax import workers
if __name__ == '__main__':
  with workers.pool(2) as pool:
    futures = [pool.submit(time.sleep, 0.5) for _ in range(2)]
    [future.result() for future in futures]
    print(*pool._processes, flush=True)
    pool.submit(time.sleep, 600)
    time.sleep(600)
"""


def alive(process: int) -> bool:
  try:
    os.kill(process, 0)
  except ProcessLookupError:
    return False
  stat = Path(f'/proc/{process}/stat')  # one that nobody waits for stays a zombie
  return not stat.exists() or stat.read_text().rpartition(')')[2].split()[0] != 'Z'


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM])
def test_they_end_with_the_one_that_they_work_for(number, tmp_path):
  program = tmp_path / 'busy.py'
  program.write_text(BUSY)
  environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
  with subprocess.Popen([sys.executable, program], env=environment, stdout=subprocess.PIPE) as busy:
    assert busy.stdout is not None
    working = [int(process) for process in busy.stdout.readline().split()]
    assert working and all(map(alive, working))
    busy.send_signal(number)
  deadline = time.monotonic() + 20
  while any(map(alive, working)) and time.monotonic() < deadline:
    time.sleep(0.05)
  assert not any(map(alive, working))


def test_they_share_the_cores(monkeypatch):
  monkeypatch.delenv(workers.THREADS, raising=False)
  monkeypatch.setattr(os, 'cpu_count', lambda: 7)
  with workers.pool(2) as pool:
    assert pool.submit(os.getenv, workers.THREADS).result() == '3'
  assert workers.THREADS not in os.environ


def test_what_is_set_by_hand_stays(monkeypatch):
  monkeypatch.setenv(workers.THREADS, '5')
  with workers.pool(2) as pool:
    assert pool.submit(os.getenv, workers.THREADS).result() == '5'
  assert os.environ[workers.THREADS] == '5'


def test_one_that_dies_is_told_of():
  with pytest.raises(UserError, match='a worker died; run again'):
    list(latents._map(os._exit, [1, 1], 2))
