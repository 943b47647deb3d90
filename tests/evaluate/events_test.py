"""Events that are told are found in their order, and in no other."""

import numpy as np
import pytest

from sorajax.evaluate import benchmark, events, mechanics, track
from sorajax.worlds.physics import FLOOR, RIGHT
from sorajax.worlds.scene import Body, Camera, Scene

FPS = benchmark.FPS


def scene(*bodies: Body) -> Scene:
  return Scene(bodies, (20, 20, 60), (70, 90, 70), Camera(), benchmark.FRAMES / FPS, 1.0)


def ball(colour: str, x: float, y: float, vx: float) -> Body:
  return Body('ball', colour, 'rubber', 0.09, (x, y), (vx, 0.0))


def watched(shown: Scene):
  """The tracks of a scene's bodies, and their impacts."""
  frames = [track.patches(frame) for frame in benchmark.shown(shown).video]
  tracks = track.follow(frames, [body.colour for body in shown.bodies])
  return tracks, {name: mechanics.impacts(t, FPS) for name, t in tracks.items()}


@pytest.mark.parametrize(
  ('bodies', 'first'),
  [
    ([ball('red', 0.5, 0.6, 0.0)], {'red', FLOOR}),
    ([ball('red', 0.6, 0.8, 0.9)], {'red', RIGHT}),
    ([ball('red', 0.25, 0.7, 0.6), ball('blue', 0.75, 0.7, -0.6)], {'red', 'blue'}),
  ],
)
def test_a_body_is_seen_to_meet_the_floor_a_wall_and_another_body(bodies, first):
  shown = scene(*bodies)
  found = events.seen(*watched(shown), shown.room, FPS)
  assert found[0] == first


def test_truth_is_in_order():
  asked = [benchmark.prompt('test', n, 7, fewest=2).scene for n in range(20)]
  asked = [a for a in asked if events.told(a)]
  assert len(asked) >= 5
  own = [events.order(a, *watched(a), FPS) for a in asked]
  assert np.mean(own) > 0.9


def test_events_that_no_viewer_could_tell_are_not_asked_for():
  slow = scene(ball('red', 0.8, 0.22, 0.1))  # touches the floor at once, and gently
  assert slow.motion().contacts and not events.told(slow)
  tracks, hits = watched(slow)
  assert np.isnan(events.order(slow, tracks, hits, FPS))
  for number in range(20):
    found = events.told(benchmark.prompt('test', number, 7).scene)
    assert all(c.speed >= events.GENTLE and c.time_s >= events.BEGIN_S for c in found)
    assert all(np.diff([c.time_s for c in found]) >= events.ORDER_S)


def test_a_prompt_tells_the_events_that_are_judged_and_no_others():
  for number in range(20):
    asked = benchmark.prompt('test', number, 7)
    told = events.told(asked.scene)
    assert asked.text.count(', then ') == max(len(told) - 1, 0)


@pytest.mark.parametrize(
  ('wanted', 'found', 'length'),
  [('abc', 'abc', 3), ('abc', 'cba', 1), ('abc', 'xaybzc', 3), ('aab', 'ab', 2), ('', 'a', 0)],
)
def test_what_is_in_order_is_the_longest_common_subsequence(wanted, found, length):
  assert events.in_order(wanted, found) == length == events.in_order(found, wanted)
