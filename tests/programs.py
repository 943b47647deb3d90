"""Runs the programs of the checkout."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TINY = '--config=configs/tiny.py'


def run(program: str, *flags: str, fails: bool = False) -> str:
  """Runs a program of the checkout; returns stdout, or stderr where it must fail."""
  environment = {**os.environ, 'JAX_PLATFORMS': 'cpu'}
  done = subprocess.run(
    [sys.executable, program, *flags], cwd=ROOT, env=environment, capture_output=True, text=True
  )
  assert (done.returncode != 0) == fails, done.stderr[-2000:]
  return done.stderr if fails else done.stdout
