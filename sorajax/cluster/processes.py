"""Processes of one run on one machine, and commands that are shown before they run."""

import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from sorajax.errors import UserError, one_line

LAST_WORDS_S = 10.0  # for what processes that ended have said, and others may still hold open

Command = Sequence[str]


def words(text: str) -> list[str]:
  """Text as a shell splits it; `UserError` where a quote is left open."""
  try:
    return shlex.split(text)
  except ValueError as error:
    raise UserError(f'cannot split {text!r} into words: {one_line(error)}; close it') from error


def side_by_side(program: str, count: int) -> list[Command]:
  """A program with its flags → the commands of `count` processes that join one another."""
  command = words(program)
  if not command or count < 1:
    raise UserError(f'{count} processes of {program!r}; give a program and 1 or more of them')
  with socket.socket() as s:
    s.bind(('localhost', 0))
    port = s.getsockname()[1]
  joined = [f'--coordinator=localhost:{port}', f'--processes={count}']
  return [[sys.executable, *command, *joined, f'--process={i}'] for i in range(count)]


def shown(commands: Sequence[Command]) -> str:
  """Commands as a shell takes them, one a line."""
  return '\n'.join(shlex.join(command) for command in commands)


def hand(command: Command, text: str) -> None:
  """Runs a command that reads `text`; `UserError` where it is not there or fails."""
  try:
    subprocess.run(command, input=text, text=True, check=True)
  except FileNotFoundError:
    raise UserError(f'no {command[0]} here; install it, or add --dry_run') from None
  except subprocess.CalledProcessError as error:
    raise UserError(f'{command[0]} ended with status {error.returncode}; see above') from error


def run_all(commands: Sequence[Command], grace_s: float) -> int:
  """Runs commands side by side, each line of theirs with its number before it.

  Args:
    commands: to run.
    grace_s: how long the others may take to end by themselves after one failed.

  Returns:
    0, or the exit status of the first that failed; 128 + n where signal n ended it.
  """
  running = [_start(command) for command in commands]
  telling = [_tell_of(process, i) for i, process in enumerate(running)]

  def hand_on(number, _) -> None:
    for process in running:
      process.send_signal(number)  # which does nothing to one that has ended

  before = signal.signal(signal.SIGTERM, hand_on)
  try:
    status = _wait(running, grace_s)
  finally:
    signal.signal(signal.SIGTERM, before)
    for process in running:
      process.kill()
      process.wait()
    until = time.monotonic() + LAST_WORDS_S
    for thread in telling:
      thread.join(max(0.0, until - time.monotonic()))
  return status


def _wait(running: Sequence[subprocess.Popen], grace_s: float) -> int:
  """Until all have ended, or one failed and its time of grace is over."""
  failed, until = 0, None
  while any(p.poll() is None for p in running):
    ended = [p.returncode for p in running if p.poll() not in (None, 0)]
    if ended and until is None:
      failed, until = ended[0], time.monotonic() + grace_s
    if until is not None and time.monotonic() > until:
      print(f'one of {len(running)} processes failed; the others are ended', file=sys.stderr)
      break
    time.sleep(0.05)
  failed = failed or next((p.returncode for p in running if p.poll() not in (None, 0)), 0)
  return 128 - failed if failed < 0 else failed


def _start(command: Command) -> subprocess.Popen:
  return subprocess.Popen(
    command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors='replace'
  )


def _tell_of(process: subprocess.Popen, number: int) -> threading.Thread:
  thread = threading.Thread(target=_tell, args=(process.stdout, number), daemon=True)
  thread.start()
  return thread


def _tell(lines, number: int) -> None:
  for line in lines:
    print(f'[{number}] {line}', end='', flush=True)
