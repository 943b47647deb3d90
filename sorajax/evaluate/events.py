"""What happens in a clip, and in which order, read from the paths of its bodies."""

from collections.abc import Hashable, Iterator, Mapping, Sequence

import numpy as np

from sorajax.evaluate.mechanics import Impact
from sorajax.evaluate.track import Track
from sorajax.worlds import captions
from sorajax.worlds.physics import FLOOR, LEFT, RIGHT, Contact, Room
from sorajax.worlds.scene import Scene

Event = frozenset[str]  # the two that meet: colours of bodies, or a body's and a side of the room
GENTLE = 0.3  # heights a second; slower contacts cannot be seen
BEGIN_S = 0.125  # of a clip, in which no change of a velocity can be seen
ORDER_S = 0.08  # between two contacts, for their order to be seen
OWN_S = 0.2  # between two contacts of a body, to be seen as two
NEAR = 0.08  # heights between two things that may just have met
ALONG = 0.5  # cosine of the angle between a push and the way from what may have given it


def told(scene: Scene) -> tuple[Contact, ...]:
  """The events that a caption can ask for: the first ones, up to one that no viewer could tell."""
  contacts = scene.motion().contacts
  count = 0
  while count < min(captions.TOLD, len(contacts)) and _plain(count, contacts):
    count += 1
  return contacts[:count]


def order(
  asked: Scene, tracks: Mapping[str, Track], hits: Mapping[str, Sequence[Impact]], fps: float
) -> float:
  """The share of the told events that come first, and in their order; NaN where none is told.

  Args:
    asked: its events are told.
    tracks: of its bodies, by colour.
    hits: impacts of each.
    fps: frames a second.
  """
  name = lambda who: who if isinstance(who, str) else asked.bodies[who].colour
  wanted = [frozenset({name(c.body), name(c.other)}) for c in told(asked)]
  found = seen(tracks, hits, asked.room, fps)[: len(wanted)]
  return in_order(wanted, found) / len(wanted) if wanted else float('nan')


def seen(
  tracks: Mapping[str, Track], hits: Mapping[str, Sequence[Impact]], room: Room, fps: float
) -> list[Event]:
  """Who met whom, or what, in the order in which it is seen."""
  met = [
    (hit.time_s, event)
    for colour, found in hits.items()
    for hit in found
    if (event := _event(colour, hit, tracks, room, fps)) is not None
  ]
  last, events = dict[Event, float](), list[Event]()
  for time_s, event in sorted(met, key=lambda m: m[0]):
    if time_s - last.get(event, -np.inf) > OWN_S:  # two bodies may both tell of their meeting
      events.append(event)
    last[event] = time_s
  return events


def in_order(wanted: Sequence[Hashable], found: Sequence[Hashable]) -> int:
  """The length of the longest common subsequence of both."""
  best = [0] * (len(found) + 1)
  for one in wanted:
    before, best = best, [0]
    for place, other in enumerate(found):
      best.append(before[place] + 1 if one == other else max(before[place + 1], best[place]))
  return best[-1]


def _plain(number: int, contacts: Sequence[Contact]) -> bool:
  """Whether a viewer can tell a contact from what comes before it and after it."""
  own = contacts[number]
  ends = lambda c: {who for who in (c.body, c.other) if isinstance(who, int)}
  gaps = (c.time_s - own.time_s - (OWN_S if ends(c) & ends(own) else ORDER_S)
          for c in contacts[number + 1 :])  # fmt: skip
  return own.speed >= GENTLE and own.time_s >= BEGIN_S and all(gap >= 0 for gap in gaps)


def _event(
  colour: str, hit: Impact, tracks: Mapping[str, Track], room: Room, fps: float
) -> Event | None:
  """What a body met: the nearest thing that can have pushed it so; None where nothing is near."""
  push = np.array(hit.change) / max(np.hypot(*hit.change), 1e-9)
  gaps = {
    other: gap
    for other, gap, away in _around(colour, hit.time_s, tracks, room, fps)
    if away @ push > ALONG and gap < NEAR
  }
  return frozenset({colour, min(gaps, key=lambda other: gaps[other])}) if gaps else None


def _around(
  colour: str, time_s: float, tracks: Mapping[str, Track], room: Room, fps: float
) -> Iterator[tuple[str, float, np.ndarray]]:
  """All that a body can meet: its name, the gap, and the way from it to the body [2]."""
  place, r = _place(tracks[colour], time_s, fps), tracks[colour].usual_radius
  x, y = place
  yield FLOOR, y - r - room.floor, np.array([0.0, 1.0])
  yield LEFT, x - r - room.left, np.array([1.0, 0.0])
  yield RIGHT, room.right - x - r, np.array([-1.0, 0.0])
  for other, track in tracks.items():
    if other != colour:
      away = place - _place(track, time_s, fps)
      distance = np.hypot(*away)
      yield other, distance - r - track.usual_radius, away / max(distance, 1e-9)


def _place(track: Track, time_s: float, fps: float) -> np.ndarray:
  """Where a body is between two frames, [2]: the ways to there and from there, straight on."""
  last = int(np.clip(time_s * fps, 1, len(track.seen) - 3))
  share = time_s * fps - last
  a, b, c, d = track.place[last - 1 : last + 3]
  ways = np.stack([b + share * (b - a), c - (1 - share) * (d - c)])
  known = ways[~np.isnan(ways).any(axis=1)]
  return known.mean(axis=0) if len(known) else np.full(2, np.nan)
