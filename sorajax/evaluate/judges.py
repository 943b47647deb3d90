"""What a clip of the generated world is worth, judged by what a viewer sees and hears of it.

A judge gets a decoded clip and what was asked for, the scene of the prompt; never how the clip was
made. `tools/bench_judges.py` tries every measure on true clips and on planted faults.
"""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from sorajax.clip import Clip
from sorajax.evaluate import events, faces, mechanics, speech, strikes, track, voices
from sorajax.evaluate.sync import Agreement, agree
from sorajax.evaluate.track import Track
from sorajax.media import shots
from sorajax.worlds import captions, sound
from sorajax.worlds.face import Speaker
from sorajax.worlds.scene import MATERIALS, Body, Scene

TOLERANCE_FRAMES = 1.5  # between an impact that is seen and the strike that is heard
SHAPES = {'ball': 0.785, 'box': 1.0, 'diamond': 0.52}  # share of the box around it that it fills
SHOWN = 0.5  # share of the frames that have a colour, for it to be shown
HEARD_S = 0.12  # of a strike, by which its material is told
BEFORE_S = 0.04  # of the sound that a strike is added to
CUT_FRAMES = 1.001  # between a cut that is declared and one that is seen: a frame, and rounding
MEANS = (  # of verdicts, in the order of their summary
  'colours',
  'shapes',
  'materials',
  'directions',
  'events',
  'given_db',
)
FIRST_S = 0.2  # in which the first direction of a body shows


@dataclasses.dataclass(frozen=True)
class Verdict:
  """One clip; what could not be judged is NaN or empty.

  Attributes:
    sync: impacts that are seen, strikes that are heard, and which of them coincide.
    lags_frames: heard after seen, of those that coincide.
    gravity: share by which the fitted gravity is above the scene's.
    residual: root mean square distance of a flight from its parabola, in heights, the median.
    restitution: of each bounce off the floor: fitted less the material's.
    count: share of the frames that show as many bodies as the prompt.
    jumps: how often a body is next seen where it cannot have come.
    colours: share of the prompt's colours that are shown, less what else is.
    shapes: share of the bodies that are shown in the prompt's shape.
    materials: share of the bodies heard alone whose sound is the prompt's.
    directions: share of the bodies told to move left or right that do.
    events: share of the told events that come first, and in their order.
    given_db: PSNR of the frames that were given, where some were.
  """

  sync: Agreement
  lags_frames: tuple[float, ...]
  gravity: float
  residual: float
  restitution: tuple[float, ...]
  count: float
  jumps: int
  colours: float
  shapes: float
  materials: float
  directions: float
  events: float
  given_db: float = float('nan')

  @property
  def worth(self) -> float:
    """One number to sort clips by: what is right of what was asked for."""
    known = [self.sync.f1, self.count, self.colours, self.shapes]
    known += [x for x in (self.materials, self.directions, self.events) if not np.isnan(x)]
    return float(np.mean(known)) - 0.2 * (self.jumps > 0)


def judge(clip: Clip, asked: Scene) -> Verdict:
  """Judges a clip of one shot in a room, seen by a camera that stands still.

  Args:
    clip: as it was decoded.
    asked: what the prompt tells; of where bodies are and how fast, only the events that it tells.
  """
  frames = [track.patches(frame) for frame in clip.video]
  names = [body.colour for body in asked.bodies]
  tracks = track.follow(frames, names)
  hits = {name: mechanics.impacts(t, clip.fps) for name, t in tracks.items()}
  falls = {name: mechanics.flights(t, clip.fps) for name, t in tracks.items()}
  seen, heard = _seen(hits), strikes.times_s(clip)
  heard = heard[heard < len(frames) / clip.fps]
  flights = [f for found in falls.values() for f in found]
  bounces = [
    found - MATERIALS[body.material].restitution
    for body in asked.bodies
    for found in mechanics.restitution(
      falls[body.colour], hits[body.colour], asked.room.floor + tracks[body.colour].usual_radius
    )
  ]
  shown = _shown(frames[len(frames) // 4 :])
  return Verdict(
    sync=agree(seen, heard, TOLERANCE_FRAMES / clip.fps),
    lags_frames=_lags(seen, heard, clip.fps),
    gravity=mechanics.gravity(flights) / asked.room.gravity - 1,
    residual=float(np.median([f.residual for f in flights])) if flights else float('nan'),
    restitution=tuple(bounces),
    count=float(np.mean([len(patches) == len(names) for patches in frames])),
    jumps=sum(mechanics.jumps(t, clip.fps) for t in tracks.values()),
    colours=len(shown & set(names)) / max(len(shown | set(names)), 1),
    shapes=_share(b.colour in shown and _shape(frames, b.colour) == b.shape for b in asked.bodies),
    materials=_share(_materials(clip, asked, tracks, hits, heard)),
    directions=_share(_directions(asked, tracks, clip.fps)),
    events=events.order(asked, tracks, hits, clip.fps),
  )


@dataclasses.dataclass(frozen=True)
class Summary:
  """Many clips; what none of them tells is NaN. Shares and means over clips, medians over events.

  Attributes:
    precision: share of the strikes that are seen.
    recall: share of the impacts that are heard.
    sync: F1 of both.
    lag_frames: heard after seen, the median of its size.
    gravity: share by which it is above the scene's, the median.
    falls: share of the clips in which a body falls freely, of which `gravity` is.
    residual: of flights from their parabolas, in heights.
    restitution: fitted less the material's, the median.
    count: share of the frames with the right count.
    steady: share of the clips in which nothing jumps.
    colours: as in `Verdict`, as are the rest.
  """

  precision: float
  recall: float
  sync: float
  lag_frames: float
  gravity: float
  falls: float
  residual: float
  restitution: float
  count: float
  steady: float
  colours: float
  shapes: float
  materials: float
  directions: float
  events: float
  given_db: float


def summary(verdicts: Sequence[Verdict]) -> Summary:
  """What many clips of one kind are worth."""
  every = lambda name: np.array([getattr(v, name) for v in verdicts], float)
  joined = lambda name: np.array([x for v in verdicts for x in getattr(v, name)], float)
  sync = sum((v.sync for v in verdicts), Agreement())
  return Summary(
    sync.precision, sync.recall, sync.f1, _of(np.median, np.abs(joined('lags_frames'))),
    _of(np.median, every('gravity')), float(np.mean(~np.isnan(every('gravity')))),
    _of(np.median, every('residual')), _of(np.median, joined('restitution')),
    _of(np.mean, every('count')), float(np.mean(every('jumps') == 0)),
    *(_of(np.mean, every(name)) for name in MEANS),
  )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Spoken:
  """A clip in which a character speaks.

  Attributes:
    sync: mouths that are seen to open, vowels that are heard, and which of them coincide.
    lags_frames: heard after seen, of those that coincide.
    words: share of the prompt's words that are heard where they should be, one after the other.
    register: whether the voice is as low, or as high, as the prompt tells; NaN where it tells none.
    voice: whether it is the voice of the character's sample of speech.
    face: share of the face's traits that are the prompt's.
  """

  sync: Agreement
  lags_frames: tuple[float, ...]
  words: float
  register: float
  voice: float
  face: float

  @property
  def worth(self) -> float:
    """One number to sort clips by: what is right of what was asked for."""
    return float(np.mean([self.sync.f1, self.words, self.face]))


def judge_speech(clip: Clip, asked: Speaker) -> Spoken:
  """Judges a clip of a character that speaks, alone, before a camera that stands still."""
  who = asked.character
  seen = speech.openings_s(clip, who.face.skin)
  heard, said = speech.vowels_s(clip), [word for _, _, word in speech.words(clip)]
  right = [a == b for a, b in zip(said, asked.words)]
  voice, own = voices.heard(clip), voices.of(who, clip.sample_rate_hz)
  told = captions.register(who.voice.pitch_hz)
  return Spoken(
    sync=agree(seen, heard, TOLERANCE_FRAMES / clip.fps),
    lags_frames=_lags(seen, heard, clip.fps),
    words=sum(right) / max(len(said), len(asked.words)),
    register=float(voice is not None and voice.fits(told)) if told else float('nan'),
    voice=float(voice is not None and own is not None and voice.same(own)),
    face=faces.likeness(faces.traits(clip), who.face),
  )


@dataclasses.dataclass(frozen=True)
class SpokenSummary:
  """Many clips in which characters speak; means over clips, and what none of them tells is NaN.

  Attributes:
    sync: F1 of mouths and vowels.
    lag_frames: heard after seen, the median of its size.
    words: as in `Spoken`, as are the rest.
  """

  sync: float
  lag_frames: float
  words: float
  register: float
  voice: float
  face: float


def together(verdicts: Sequence[Spoken]) -> SpokenSummary:
  """What many clips of one kind are worth."""
  lags = np.array([lag for v in verdicts for lag in v.lags_frames])
  mean = lambda name: _of(np.mean, np.array([getattr(v, name) for v in verdicts], float))
  return SpokenSummary(
    sum((v.sync for v in verdicts), Agreement()).f1, _of(np.median, np.abs(lags)),
    *(mean(name) for name in ('words', 'register', 'voice', 'face')),
  )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Cutting:
  """A clip of several shots.

  Attributes:
    cuts: that are declared, that are seen, and which of them are within a frame of each other.
    cast: share of the declared shots that show the colours of the storyboard, and no others.
  """

  cuts: Agreement
  cast: float

  @property
  def worth(self) -> float:
    """Of the whole clip, in [0, 1]."""
    return (self.cuts.f1 + self.cast) / 2


def judge_cuts(clip: Clip, scenes: Sequence[Scene], spans: Sequence[range]) -> Cutting:
  """Judges a clip of several shots, each of one scene, before cameras that stand still.

  Args:
    clip: as it was decoded.
    scenes: what the storyboard tells of each shot.
    spans: the frames of each shot.
  """
  declared = np.array([span.start for span in spans[1:]]) / clip.fps
  found = np.array(shots.cuts_of(clip)) / clip.fps
  frames = [track.patches(frame) for frame in clip.video]
  right = [
    _shown(frames[span.start : span.stop]) == {body.colour for body in scene.bodies}
    for scene, span in zip(scenes, spans)
  ]
  return Cutting(agree(declared, found, CUT_FRAMES / clip.fps), _share(right))


@dataclasses.dataclass(frozen=True)
class CutSummary:
  """Many clips of several shots.

  Attributes:
    cut_precision: share of the cuts that are seen which are declared.
    cut_recall: share of the cuts that are declared which are seen.
    cuts: F1 of both.
    cast: as in `Cutting`.
  """

  cut_precision: float
  cut_recall: float
  cuts: float
  cast: float


def all_cuts(verdicts: Sequence[Cutting]) -> CutSummary:
  """What many clips of one kind are worth."""
  cuts = sum((v.cuts for v in verdicts), Agreement())
  return CutSummary(
    cuts.precision, cuts.recall, cuts.f1, float(np.mean([v.cast for v in verdicts]))
  )


def _of(statistic: Callable[[np.ndarray], np.floating], values: np.ndarray) -> float:
  known = values[~np.isnan(values)]
  return float(statistic(known)) if len(known) else float('nan')


def _seen(hits: dict[str, list[mechanics.Impact]]) -> np.ndarray:
  """The times of impacts, two bodies' own as one, rising."""
  times = np.sort([impact.time_s for found in hits.values() for impact in found])
  return times[np.diff(times, prepend=-1.0) > strikes.APART_S]


def _lags(seen: np.ndarray, heard: np.ndarray, fps: float) -> tuple[float, ...]:
  if not len(seen) or not len(heard):
    return ()
  apart = heard[None] - seen[:, None]
  nearest = apart[np.arange(len(seen)), np.abs(apart).argmin(axis=1)] * fps
  return tuple(nearest[np.abs(nearest) <= 2 * TOLERANCE_FRAMES].tolist())


def _shown(frames: Sequence[Sequence[track.Patch]]) -> set[str]:
  """The colours that are in at least `SHOWN` of the frames."""
  seen = collections.Counter(name for patches in frames for name in {p.colour for p in patches})
  return {name for name, count in seen.items() if count >= SHOWN * len(frames)}


def _shape(frames: list[list[track.Patch]], colour: str) -> str:
  """The shape that the patches of a colour fill their boxes like; '' of none."""
  fills = [
    p.area / (p.size[0] * p.size[1])
    for patches in frames for p in patches if p.colour == colour and not p.cut
  ]  # fmt: skip
  if not fills:
    return ''
  fill = float(np.median(fills))
  return min(SHAPES, key=lambda shape: abs(SHAPES[shape] - fill))


def _materials(clip: Clip, asked: Scene, tracks: dict[str, Track], hits, heard: np.ndarray):
  """For each body with strikes of its own: whether they sound of its material."""
  for body in (b for b in asked.bodies if tracks[b.colour].seen.any()):
    others = [i.time_s for c, found in hits.items() if c != body.colour for i in found]
    own = [i.time_s for i in hits[body.colour] if all(abs(i.time_s - t) > HEARD_S for t in others)]
    close = [h for h in heard if any(abs(h - t) * clip.fps <= TOLERANCE_FRAMES for t in own)]
    votes = [_material(clip, time_s, tracks[body.colour].usual_radius) for time_s in close]
    if votes:
      yield max(votes, key=votes.count) == body.material


def _material(clip: Clip, time_s: float, radius: float) -> str:
  """The material whose strike is most like what a moment adds to the sound before it."""
  rate = clip.sample_rate_hz
  mono = clip.audio.mean(axis=1)
  first, before, after = (round(s * rate) for s in (time_s, BEFORE_S, HEARD_S))
  levels = np.expm1(strikes.bands(mono[max(first - before, 0) : first + after], rate))
  skipped = min(before, first) // round(strikes.HOP_S * rate)
  usual = levels[:, : max(skipped - 1, 1)].mean(axis=1, keepdims=True)
  found = np.log1p(np.maximum(levels[:, skipped:] - usual, 0))

  def likeness(name: str) -> float:
    struck = sound.strike(MATERIALS[name], radius, 1.0, rate)[:after]
    made = strikes.bands(np.pad(struck, (0, after - len(struck))), rate)
    n = min(found.shape[1], made.shape[1])
    a, b = (x[:, :n].ravel() - x[:, :n].mean() for x in (found, made))
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-9))

  return max(MATERIALS, key=likeness)


def _directions(asked: Scene, tracks: dict[str, Track], fps: float):
  for body in asked.bodies:
    if told_direction(body):
      place = tracks[body.colour].place[: max(round(FIRST_S * fps), 2) + 1, 0]
      moved = np.diff(place[~np.isnan(place)]) * fps
      yield len(moved) > 0 and np.sign(np.median(moved)) == told_direction(body)


def told_direction(body: Body) -> int:
  """−1 for a body that the caption sends to the left, 1 to the right, 0 for none."""
  speed = body.velocity[0]
  return 0 if abs(speed) < captions.SLOW else int(np.sign(speed))


def _share(right: Iterable[bool]) -> float:
  return _of(np.mean, np.array(list(right), float))
