from collections.abc import Sequence

import pytest
from tiny import refused

from sorajax.cluster import commands, tpu_vm

COMMANDS = commands.tpu_vm('n', 'z', commands.slice_of('v5p:2x2x1'), True, 'URL', 'RUN')


class Cloud:
  """A cloud that is in these states when asked, and whose commands end with these statuses."""

  def __init__(self, states: Sequence[str], **statuses: list[int]):
    self.states, self.statuses = list(states), statuses
    self.called: list[str] = []

  def __call__(self, command) -> tuple[int, str]:
    (name,) = [n for n, c in COMMANDS.items() if c == command]
    if name == 'state':
      state = self.states.pop(0)
      return (0, state + '\n') if state else (1, '')
    self.called.append(name)
    given = self.statuses.get(name)
    return (given.pop(0) if given else 0), ''

  def run(self, keep: bool = False) -> list[str]:
    tpu_vm.run(COMMANDS, keep, self, poll_s=0.0)
    return self.called


def test_a_slice_is_queued_for_waited_for_used_and_given_back():
  cloud = Cloud(['', 'WAITING_FOR_RESOURCES', 'PROVISIONING', 'ACTIVE'])
  assert cloud.run() == ['create', 'install', 'run', 'delete']


def test_a_slice_that_is_there_is_used_and_may_be_kept():
  assert Cloud(['ACTIVE', 'ACTIVE']).run(keep=True) == ['install', 'run']


def test_a_slice_that_is_taken_away_is_queued_for_again():
  cloud = Cloud(['', 'ACTIVE', 'SUSPENDED', '', 'WAITING_FOR_RESOURCES', 'ACTIVE'], run=[1, 0])
  assert cloud.run() == ['create', 'install', 'run', 'delete', 'create', 'install', 'run', 'delete']


@pytest.mark.parametrize('failing', ['install', 'run'])
def test_what_fails_on_a_slice_that_is_there_is_not_tried_for_ever(failing):
  cloud = Cloud(['ACTIVE', 'ACTIVE', 'ACTIVE'], **{failing: [1]})
  with refused('failed on a slice that is there; see above'):
    cloud.run()
  assert 'delete' not in cloud.called


def test_a_queue_that_fails_is_told():
  with refused('the slice is FAILED before it ran; delete it and try again'):
    Cloud(['', 'PROVISIONING', 'FAILED']).run()
  with refused('failed; it says why above'):
    Cloud([''], create=[1]).run()
