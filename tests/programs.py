"""Runs the programs of the checkout."""

import os
import subprocess
import sys
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
