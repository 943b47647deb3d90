"""Renting a slice of TPU VMs, running on it, and doing so again when it is taken away."""

import subprocess
import sys
import time
from collections.abc import Mapping

from sorajax.cluster.processes import Command, shown
from sorajax.errors import UserError, one_line

POLL_S = 20.0
ASKS = 5  # for the state, before a cloud that does not tell it is given up
WAITING = ('ACCEPTED', 'PROVISIONING', 'CREATING', 'WAITING_FOR_RESOURCES')
GONE = ('SUSPENDED', 'SUSPENDING', 'FAILED', 'DELETING', '')  # '': it is not there
NOT_THERE = ('NOT_FOUND', "' was not found")  # as gcloud says it


class Cloud:
  """What commands are given to."""

  def do(self, command: Command) -> int:
    """Runs a command, which speaks for itself; its exit status."""
    return self._run(command, None).returncode

  def ask(self, command: Command) -> tuple[int, str, str]:
    """Runs a command; its exit status, stdout and stderr."""
    done = self._run(command, subprocess.PIPE)
    return done.returncode, done.stdout, done.stderr

  def _run(self, command: Command, out: int | None) -> subprocess.CompletedProcess[str]:
    try:
      return subprocess.run(command, stdout=out, stderr=out, text=True, check=False)
    except FileNotFoundError:
      raise UserError(f'no {command[0]} here; install it, or add --dry_run') from None


def run(
  commands: Mapping[str, Command], keep: bool, cloud: Cloud | None = None, poll_s: float = POLL_S
) -> None:
  """Rents, installs, runs, and gives back; from the start each time the slice is taken away.

  Args:
    commands: create, state, install, run and delete, as `commands.tpu_vm` makes them.
    keep: whether the slice stays when the run has ended.
    cloud: to rent from; None for the real one.
    poll_s: between questions for the state.

  Raises:
    UserError: a command that failed while the slice was there, which then stays rented.
  """
  cloud = cloud or Cloud()
  until = f'it costs until {shown([commands["delete"]])}'
  while True:
    _rent(commands, cloud, poll_s)
    print(f'the slice is there; where this program is stopped, {until}', flush=True)
    failed = next((name for name in ('install', 'run') if cloud.do(commands[name])), None)
    if failed is None:
      break
    if _state(commands, cloud, poll_s) not in GONE:
      did = shown([commands[failed]])
      raise UserError(f'{did} failed on a slice that is there, see above; {until}')
    print('the slice was taken away; queueing for another', flush=True)
    cloud.do(commands['delete'])
  if keep:
    print(f'the slice stays; {until}', flush=True)
  elif cloud.do(commands['delete']):
    raise UserError(f'the run ended well but its slice may still be there; {until}')


def _rent(commands: Mapping[str, Command], cloud: Cloud, poll_s: float) -> None:
  """Queues for the slice, if it is not there yet, and waits for it."""
  state = _state(commands, cloud, poll_s)
  if state in GONE:
    if state:
      cloud.do(commands['delete'])
    if cloud.do(commands['create']):
      raise UserError(f'{shown([commands["create"]])} failed; it says why above')
  while (state := _state(commands, cloud, poll_s)) != 'ACTIVE':
    if state not in WAITING:
      raise UserError(f'the slice is {state or "gone"} before it ran; delete it and try again')
    print(f'waiting for the slice: {state}', flush=True)
    time.sleep(poll_s)


def _state(commands: Mapping[str, Command], cloud: Cloud, poll_s: float) -> str:
  """The slice's state; '' where the cloud says that there is none."""
  for asked in range(ASKS):
    time.sleep(poll_s if asked else 0)
    status, told, complained = cloud.ask(commands['state'])
    if status == 0 and told.strip():
      return told.strip()
    if any(reason in complained for reason in NOT_THERE):
      return ''
    print(complained, end='', file=sys.stderr, flush=True)
  raise UserError(
    f'{shown([commands["state"]])} failed {ASKS} times: {one_line(complained or status)}; '
    'the slice may be there and cost, so run again once that is mended'
  )
