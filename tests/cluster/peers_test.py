"""The watch of several processes, on a service and a clock that tests hold in their hands."""

import dataclasses
import re

import pytest

from sorajax.cluster.peers import ENDED, FAILED, Patience, Watch

PATIENCE = Patience(silence_s=60.0, standstill_s=600.0)


@dataclasses.dataclass
class World:
  """What processes have in common: the service's table, and the time."""

  now: float = 1000.0
  table: dict = dataclasses.field(default_factory=dict)

  def key_value_set(self, key: str, value: str, allow_overwrite: bool) -> None:
    assert allow_overwrite
    self.table[key] = value

  def key_value_dir_get(self, folder: str) -> list[tuple[str, str]]:
    return [(key, value) for key, value in self.table.items() if key.startswith(folder + '/')]


def company(count: int) -> tuple[World, list[Watch]]:
  world = World()
  return world, [Watch(world, i, count, PATIENCE, lambda: world.now) for i in range(count)]


def live(world: World, watches: list[Watch], seconds: float, silent: tuple[int, ...] = ()) -> None:
  """Time goes by, in which all but some give signs of life."""
  for _ in range(round(seconds / 5)):
    world.now += 5
    for i, watch in enumerate(watches):
      if i not in silent:
        watch.beat()


def work(watches: list[Watch], doing: str, but: tuple[int, ...] = ()) -> None:
  for i, watch in enumerate(watches):
    if i not in but:
      watch.reached(doing)


def test_nothing_is_wrong_while_all_live_and_get_on():
  world, watches = company(3)
  for step in range(20):
    work(watches, f'step {step}')
    live(world, watches, 100)
    assert [w.trouble() for w in watches] == [None] * 3


@pytest.mark.parametrize('gone', [1, 2])
def test_the_silent_one_is_named_in_time_with_what_it_was_at(gone):
  world, watches = company(3)
  work(watches, 'step 7')
  live(world, watches, 5)
  others = [w for i, w in enumerate(watches) if i != gone]
  for watch in others:  # hear what was told after they last did
    watch.beat()
  live(world, watches, 60, silent=(gone,))
  assert [w.trouble() for w in others] == [None, None]
  live(world, watches, 5, silent=(gone,))
  for watch in others:
    assert watch.trouble() == f'process {gone} was not heard for 65 s, last in step 7'


def test_a_silent_service_is_process_0():
  world, watches = company(3)
  live(world, watches, 5)
  world.now += 61
  assert 'process 0 was not heard for 61 s' in watches[1].trouble()
  assert 'it runs the service that all others speak through' in watches[1].trouble()


def test_where_nobody_gets_on_those_furthest_behind_are_named():
  world, watches = company(3)
  work(watches, 'step 7')
  live(world, watches, 5)
  work(watches, 'step 8', but=(2,))
  live(world, watches, 600)
  assert watches[0].trouble() is None
  live(world, watches, 15)
  for watch in watches:
    assert re.fullmatch(
      r'nobody got on for 6\d\d s, and process 2 did not get beyond step 7', watch.trouble()
    )


def test_who_ended_well_is_not_missed_and_who_failed_says_why():
  world, watches = company(3)
  work(watches, 'step 7')
  live(world, watches, 5)
  watches[1].reached(ENDED)
  live(world, watches, 5)
  live(world, watches, 200, silent=(1,))
  assert watches[0].trouble() is None
  watches[2].reached(FAILED + 'cannot read LATENTS')
  live(world, watches, 10)
  assert watches[0].trouble() == 'process 2 failed: cannot read LATENTS'
