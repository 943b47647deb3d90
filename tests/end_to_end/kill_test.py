"""Training that is killed with SIGKILL, and training on another number of processes."""

import dataclasses
import json
import random
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from programs import ROOT, TINY, environment

KILLS = 20
LONGEST_S = 600


@dataclasses.dataclass(frozen=True)
class Training:
  """A training process of the tiny config, and the file that it talks to."""

  process: subprocess.Popen
  log: Path

  def finish(self) -> None:
    assert self.process.wait(LONGEST_S) == 0, self.log.read_text()[-2000:]

  def ends_before_it_says(self, text: str, times: int = 1) -> bool:
    until = time.monotonic() + LONGEST_S
    while self.log.read_text().count(text) < times:
      if self.process.poll() is not None:
        return True
      assert time.monotonic() < until, self.log.read_text()[-2000:]
      time.sleep(0.02)
    return False

  def ends_within(self, seconds: float) -> bool:
    try:
      self.process.wait(seconds)
    except subprocess.TimeoutExpired:
      return False
    return True

  def wait_until_it_says(self, text: str) -> None:
    assert not self.ends_before_it_says(text), self.log.read_text()[-2000:]

  def kill(self) -> None:
    self.process.kill()
    self.process.wait()


def start(
  walk: Path, workdir: Path, *flags: str, devices: int = 1, process: int = 0,
  program: tuple[str, ...] = ('launch/train.py', TINY), data: str = 'latents',
) -> Training:  # fmt: skip
  alike = environment(f'--xla_force_host_platform_device_count={devices}')
  command = [
    sys.executable, *program, *flags, f'--process={process}',
    f'--config.data.path={walk}/{data}', f'--workdir={workdir}',
  ]  # fmt: skip
  log = workdir.with_name(f'{workdir.name}-{process}.log')
  with log.open('w') as file:
    started = subprocess.Popen(command, cwd=ROOT, env=alike, stdout=file, stderr=file)
  return Training(started, log)


def metrics(workdir: Path) -> list[dict]:
  return [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]


def free_port() -> int:
  with socket.socket() as s:
    s.bind(('localhost', 0))
    return s.getsockname()[1]


@pytest.mark.long
def test_a_run_that_is_asked_to_stop_saves_and_says_so(walk, tmp_path):
  training = start(walk, tmp_path / 'run', '--config.train.save_every=100')
  training.wait_until_it_says('step 5/')
  training.process.terminate()
  assert training.process.wait(LONGEST_S) == 143, training.log.read_text()[-2000:]
  assert 'stopped by a signal at step' in training.log.read_text()
  start(walk, tmp_path / 'run', '--config.train.save_every=100').finish()
  in_order = lambda run: sorted(metrics(run), key=lambda line: (line['step'], line['kind']))
  assert in_order(tmp_path / 'run') == in_order(walk / 'run')  # lines of a step may swap


@pytest.mark.slow
def test_run_moves_from_two_processes_to_one_and_another_mesh(walk, tmp_path):
  together = [f'--coordinator=localhost:{free_port()}', '--processes=2']
  mesh = ['--config.mesh.data=2', '--config.mesh.fsdp=2']
  pair = [start(walk, tmp_path / 'run', *together, *mesh, devices=2, process=i) for i in range(2)]
  pair[0].wait_until_it_says('step 9/')
  for training in pair:
    training.kill()
  mesh = ['--config.mesh.fsdp=2', '--config.mesh.context=2', '--config.mesh.data=1']
  start(walk, tmp_path / 'run', *mesh, devices=4).finish()
  whole, moved = metrics(walk / 'run'), metrics(tmp_path / 'run')
  assert [(x['kind'], x['step']) for x in moved] == [(x['kind'], x['step']) for x in whole]
  for a, b in zip(whole, moved):
    assert b['loss'] == pytest.approx(a['loss'], rel=1e-5), a['step']


@pytest.mark.slow
def test_a_codec_trained_by_two_processes_is_that_of_one(walk, tmp_path):
  codec = {'program': ('launch/train_codec.py', '--config=configs/tiny_codec.py'), 'data': 'clips'}
  together = [f'--coordinator=localhost:{free_port()}', '--processes=2']
  pair = [start(walk, tmp_path / 'pair', *together, process=i, **codec) for i in range(2)]
  for training in pair:
    training.finish()
  start(walk, tmp_path / 'alone', **codec).finish()
  whole, shared = metrics(tmp_path / 'alone'), metrics(tmp_path / 'pair')
  assert [(x['kind'], x['step']) for x in shared] == [(x['kind'], x['step']) for x in whole]
  for a, b in zip(whole, shared):
    assert b['loss'] == pytest.approx(a['loss'], rel=1e-4), a['step']
  assert (tmp_path / 'pair' / 'codec' / 'codec.json').is_file()


@pytest.mark.slow
def test_twenty_random_kills_leave_the_curve_of_a_run_never_killed(walk, tmp_path):
  """Killed while it starts, restores, trains and saves; every second step is saved."""
  flags = ['--config.train.steps=60', '--config.train.save_every=2']
  began = time.monotonic()
  whole = start(walk, tmp_path / 'whole', *flags)
  whole.wait_until_it_says('step 1/')
  to_first_step_s = time.monotonic() - began
  whole.finish()
  rng, kills = random.Random(0), 0
  while kills < KILLS:
    training = start(walk, tmp_path / 'killed', *flags)
    if rng.random() < 0.3:
      ended = training.ends_within(rng.uniform(0, to_first_step_s))
    else:
      ended = training.ends_before_it_says('step ', times=rng.randint(1, 8))
      ended = ended or training.ends_within(rng.uniform(0, 0.3))
    if ended:  # it got through: once more from the start
      training.finish()
      shutil.rmtree(tmp_path / 'killed')
    else:
      training.kill()
      kills += 1
  start(walk, tmp_path / 'killed', *flags).finish()
  assert metrics(tmp_path / 'killed') == metrics(tmp_path / 'whole')
