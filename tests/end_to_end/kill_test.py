"""Training that is killed with SIGKILL, and training on another number of processes.

`make test-kill` kills twenty times; without it, one run of two processes is moved to one.
"""

import json
import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KILLS = 20


def start(walk: Path, workdir: Path, *flags: str, devices: int = 1) -> subprocess.Popen:
  """A training process of the tiny config."""
  environment = {
    **os.environ,
    'JAX_PLATFORMS': 'cpu',
    'XLA_FLAGS': f'--xla_force_host_platform_device_count={devices}',
  }
  command = [
    sys.executable, 'launch/train.py', '--config=configs/tiny.py', *flags,
    f'--config.data.path={walk}/latents', f'--workdir={workdir}',
  ]  # fmt: skip
  return subprocess.Popen(
    command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
  )


def finish(process: subprocess.Popen) -> None:
  said, _ = process.communicate(timeout=600)
  assert process.returncode == 0, said[-2000:]


def metrics(workdir: Path) -> list[dict]:
  return [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]


def free_port() -> int:
  with socket.socket() as s:
    s.bind(('localhost', 0))
    return s.getsockname()[1]


@pytest.mark.slow
def test_run_moves_from_two_processes_to_one_and_another_mesh(walk, tmp_path):
  port = free_port()
  flags = [f'--coordinator=localhost:{port}', '--processes=2']
  mesh = ['--config.mesh.data=2', '--config.mesh.fsdp=2']
  pair = [
    start(walk, tmp_path / 'run', *flags, f'--process={i}', *mesh, devices=2) for i in range(2)
  ]
  for line in pair[0].stdout:
    if line.startswith('step 9/'):
      break
  for process in pair:
    process.kill()
    process.wait()
  mesh = ['--config.mesh.fsdp=2', '--config.mesh.context=2', '--config.mesh.data=1']
  finish(start(walk, tmp_path / 'run', *mesh, devices=4))
  whole = metrics(walk / 'run')
  moved = metrics(tmp_path / 'run')
  assert [(x['kind'], x['step']) for x in moved] == [(x['kind'], x['step']) for x in whole]
  for a, b in zip(whole, moved):
    assert b['loss'] == pytest.approx(a['loss'], rel=1e-5), a['step']


@pytest.mark.slow
def test_twenty_random_kills_leave_the_curve_of_a_run_never_killed(walk, tmp_path):
  flags = ['--config.train.steps=60', '--config.train.save_every=2']
  began = time.monotonic()
  finish(start(walk, tmp_path / 'whole', *flags))
  length_s = time.monotonic() - began
  rng, kills = random.Random(0), 0
  while kills < KILLS:
    process = start(walk, tmp_path / 'killed', *flags)
    try:
      process.wait(rng.uniform(0.3, 1.0) * length_s)
    except subprocess.TimeoutExpired:
      process.kill()
      process.communicate()
      kills += 1
      continue
    assert process.returncode == 0, process.stdout.read()[-2000:]
    if kills < KILLS:  # it got through: throw the last steps away and go on killing
      _forget_last(tmp_path / 'killed')
  finish(start(walk, tmp_path / 'killed', *flags))
  assert metrics(tmp_path / 'killed') == metrics(tmp_path / 'whole')


def _forget_last(workdir: Path) -> None:
  """Removes the newest checkpoint, as if the run had been killed before it was whole."""
  import shutil

  steps = sorted((int(p.name), p) for p in (workdir / 'checkpoints').iterdir() if p.name.isdigit())
  shutil.rmtree(steps[-1][1])
