"""Renting a slice of TPU VMs, running on it, and doing so again when it is taken away."""

import subprocess
import time
from collections.abc import Callable, Mapping

from sorajax.cluster.processes import Command, shown
from sorajax.errors import UserError

POLL_S = 20.0
WAITING = ('ACCEPTED', 'PROVISIONING', 'CREATING', 'WAITING_FOR_RESOURCES')
GONE = ('SUSPENDED', 'SUSPENDING', 'FAILED', 'DELETING', '')  # '': it is not there

Call = Callable[[Command], tuple[int, str]]  # a command → its exit status and what it printed


def run(
  commands: Mapping[str, Command], keep: bool, call: Call | None = None, poll_s: float = POLL_S
) -> None:
  """Rents, installs, runs, and gives back; from the start each time the slice is taken away.

  Args:
    commands: create, state, install, run and delete, as `commands.tpu_vm` makes them.
    keep: whether the slice stays when the run has ended.
    call: runs a command; None for the real thing.
    poll_s: between questions for the state.

  Raises:
    UserError: a command that failed while the slice was there.
  """
  call = call or _call
  while True:
    _rent(commands, call, poll_s)
    failed = next((name for name in ('install', 'run') if call(commands[name])[0]), None)
    if failed is None:
      break
    if _state(commands, call) not in GONE:
      raise UserError(f'{shown([commands[failed]])} failed on a slice that is there; see above')
    print('the slice was taken away; queueing for another', flush=True)
    call(commands['delete'])
  if not keep:
    call(commands['delete'])


def _rent(commands: Mapping[str, Command], call: Call, poll_s: float) -> None:
  """Queues for the slice, if it is not there yet, and waits for it."""
  state = _state(commands, call)
  if state in GONE:
    if state:
      call(commands['delete'])
    if call(commands['create'])[0]:
      raise UserError(f'{shown([commands["create"]])} failed; it says why above')
  while (state := _state(commands, call)) != 'ACTIVE':
    if state not in WAITING:
      raise UserError(f'the slice is {state or "gone"} before it ran; delete it and try again')
    print(f'waiting for the slice: {state}', flush=True)
    time.sleep(poll_s)


def _state(commands: Mapping[str, Command], call: Call) -> str:
  status, said = call(commands['state'])
  return said.strip() if status == 0 else ''


def _call(command: Command) -> tuple[int, str]:
  try:
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
  except FileNotFoundError:
    raise UserError(f'no {command[0]} here; install it, or add --dry_run') from None
  print(done.stdout, end='', flush=True)
  return done.returncode, done.stdout
