"""Runs the programs of the checkout."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TINY = '--config=configs/tiny.py'


def environment(xla: str = '') -> dict[str, str]:
  """That of all programs that tests start, so that equal runs give equal bits; `xla`: flags."""
  return {**os.environ, 'XLA_FLAGS': f'{os.environ.get("XLA_FLAGS", "")} {xla}'}


def run(program: str, *flags: str, fails: bool = False) -> str:
  """Runs a program of the checkout; returns stdout, or stderr where it must fail."""
  command = [sys.executable, program, *flags]
  done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
  assert (done.returncode != 0) == fails, done.stderr[-2000:]
  return done.stderr if fails else done.stdout


def taught(walk: Path, folder: Path, encoded: list[str], steps: int, flags: Sequence[str] = ()):
  """Makes `folder/run`, which learned fast from clips of `walk` with more beside them."""
  same = [f'--codec={walk}/run/codec', f'--input={walk}/clips', *encoded]
  run('launch/encode.py', TINY, *same, f'--output={folder}/latents')
  run(
    'launch/train.py', TINY, f'--config.data.path={folder}/latents',
    '--config.data.buckets.clip.video=40', f'--config.train.steps={steps}',
    f'--config.train.evaluate_every={steps}', '--config.optimizer.learning_rate=0.003',
    '--config.optimizer.matrix_rate=0.02', '--config.optimizer.ema=0.9', *flags,
    f'--workdir={folder}/run',
  )  # fmt: skip
