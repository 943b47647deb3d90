"""Two real processes that join one another; what becomes of one, the other hears in time."""

import signal
import subprocess

import pytest
from programs import ROOT, environment

from sorajax.cluster import processes

SILENCE_S = 4
PROGRAM = """
import os, signal, sys, time
from absl import flags
from sorajax import cli
from sorajax.cluster import peers
from sorajax.errors import UserError

def main():
  cli.join_hosts()
  peers.reached('step 7')
  time.sleep({seconds} * (1 - flags.FLAGS.process) + {beat})
  if flags.FLAGS.process:
    {fate}

cli.run(main)
"""


def ends(tmp_path, fate: str, seconds: float) -> tuple[list[int], list[str]]:
  """Exit statuses and stderr of process 0, which sleeps, and of process 1, which meets its fate."""
  program = tmp_path / 'program.py'
  program.write_text(PROGRAM.format(fate=fate, seconds=seconds, beat=SILENCE_S / 4))
  running = [
    subprocess.Popen(
      [*command, f'--silence_seconds={SILENCE_S}'], cwd=ROOT, stderr=subprocess.PIPE, text=True,
      env={**environment(), 'PYTHONPATH': str(ROOT)},
    )
    for command in processes.side_by_side(str(program), 2)
  ]  # fmt: skip
  try:
    running[0].wait(120)
    running[1].send_signal(signal.SIGKILL if 'SIGSTOP' in fate else signal.SIGCONT)
    said = [process.communicate(timeout=60)[1] for process in running]
  finally:
    for process in running:
      process.kill()
  return [process.returncode for process in running], said


@pytest.mark.parametrize(
  ('fate', 'reason'),
  [
    ('raise UserError("cannot read LATENTS")', 'cannot read LATENTS'),
    ('raise OSError(5, "disk broke")', 'OSError: disk broke'),
    ('raise KeyError("x")', "KeyError: it lacks 'x'"),
  ],
)
def test_whoever_fails_ends_all_and_says_why(tmp_path, fate, reason):
  statuses, (other, own) = ends(tmp_path, fate, seconds=100)
  assert statuses == [1, 1]
  assert f'error: process 1 failed: {reason}; all processes end' in other
  assert ('Traceback' in own) == ('UserError' not in fate)


def test_whoever_is_stopped_is_named(tmp_path):
  fate = 'os.kill(os.getpid(), signal.SIGSTOP)'
  statuses, (other, _) = ends(tmp_path, fate, seconds=100)
  assert statuses == [1, -signal.SIGKILL]
  assert 'error: process 1 was not heard for' in other and 'last in step 7' in other


def test_whoever_ends_well_is_not_missed(tmp_path):
  statuses, (other, own) = ends(tmp_path, 'pass', seconds=2 * SILENCE_S)
  assert statuses == [0, 0]
  assert 'error' not in other and 'error' not in own
