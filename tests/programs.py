"""Runs the programs of the checkout."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TINY = '--config=configs/tiny.py'
# They compile in half the time, which is most of what programs on tiny networks do.
QUICKLY = '--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true'


def run(program: str, *flags: str, fails: bool = False) -> str:
  """Runs a program of the checkout; returns stdout, or stderr where it must fail."""
  flags_of_xla = f'{os.environ.get("XLA_FLAGS", "")} {QUICKLY}'
  environment = {**os.environ, 'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': flags_of_xla}
  done = subprocess.run(
    [sys.executable, program, *flags], cwd=ROOT, env=environment, capture_output=True, text=True
  )
  assert (done.returncode != 0) == fails, done.stderr[-2000:]
  return done.stderr if fails else done.stdout
