"""Captions of a scene, in many words and in few."""

from collections.abc import Callable, Sequence

import numpy as np

from sorajax.worlds import face
from sorajax.worlds.face import Speaker
from sorajax.worlds.pendulum import CHIME
from sorajax.worlds.physics import FLOOR, LEFT, RIGHT, Contact, Motion
from sorajax.worlds.scene import SOLID, Body, Scene
from sorajax.worlds.solid import BACK, FRONT
from sorajax.worlds.water import SURFACE

NUMBERS = ('no', 'one', 'two', 'three', 'four')
MOST = len(NUMBERS) - 1  # bodies in a scene
VIEWS = {
  'static': ('the camera stands still', 'a fixed view', ''),
  'pan_left': ('the camera pans to the left', 'the view moves left'),
  'pan_right': ('the camera pans to the right', 'the view moves right'),
  'zoom_in': ('the camera zooms in', 'slowly closer'),
  'zoom_out': ('the camera zooms out', 'slowly further away'),
  'follow': ('the camera follows the {}', 'the view stays with the {}'),
  'shake': ('a shaky camera', 'the camera shakes'),
}
LOOKS = {
  'plain': ('',),
  'flat': ('flat colours', 'drawn flat'),
  'outlined': ('outlined like a cartoon', 'dark outlines'),
  'night': ('at night', 'by night'),
  'sepia': ('in sepia', 'an old sepia film'),
}
HEARD = {'quiet': ('',), 'wind': ('wind blows', 'the sound of wind'), 'hum': ('a low hum',)}
MEETS = {
  FLOOR: ('hits the floor', 'lands', 'bounces off the ground'),
  LEFT: ('hits the left wall', 'bounces off the left side'),
  RIGHT: ('hits the right wall', 'bounces off the right side'),
  CHIME: ('strikes the chime', 'rings the bell'),
  BACK: ('hits the back wall', 'bounces off the wall behind'),
  FRONT: ('hits the glass in front', 'bounces off the front pane'),
  SURFACE: ('falls into the water', 'splashes into the water', 'dives in'),
}
MEETS_BODY = ('hits the {}', 'bumps into the {}', 'knocks against the {}')
WAYS = {-1: ('moving left', 'thrown to the left'), 1: ('moving right', 'thrown to the right')}
SWINGS = ('{} swings on a rod', 'a pendulum: {}', '{} hangs and swings')
PLACES = {
  'water': (' above water', ', and water below', ' dropped into a basin of water'),
  SOLID: (' in a deep room', ' in a room with depth', ' behind a pane of glass'),
}
SAYS = ('says', 'speaks:', 'calls')
SLOW = 0.2
TOLD = 3  # events at most
TELLS = 0.7  # share of captions that tell them
One = Callable[[Sequence[str]], str]


def terse(scene: Scene) -> str:
  """What plays, and no more: 'red metal ball, blue wood box'."""
  speaker = scene.speaker
  said = [] if speaker is None else [f'{looks(speaker)}: {quoted(speaker)}']
  with_what = [scene.kind] if scene.kind in ('pendulum', 'water', SOLID) else []
  return ', '.join([*said, *(name(body) for body in scene.bodies), *with_what])


def name(body: Body) -> str:
  """'red metal ball'."""
  return f'{body.colour} {body.material} {body.shape}'


def looks(speaker: Speaker) -> str:
  """'green round face with a red cap'."""
  face_ = speaker.character.face
  on = {'bald': '', 'band': f' with a {face_.hat_colour} headband'}
  with_hat = on.get(face_.hat, f' with a {face_.hat_colour} {face_.hat}')
  return f'{face_.skin} {face_.form} face{with_hat}'.replace('a orange', 'an orange')


def quoted(speaker: Speaker) -> str:
  return f'"{" ".join(speaker.words)}"'


def full(
  scene: Scene, motion: Motion, rng: np.random.Generator, told: Sequence[Contact] | None = None
) -> str:
  """Sentences that tell who is there, what happens in order, the camera, the look, the sound.

  Args:
    scene: what is told of.
    motion: of its bodies.
    rng: chooses the words.
    told: the events to tell; None for the first ones, in most captions.
  """
  one: One = lambda choices: choices[int(rng.integers(len(choices)))]
  parts = [] if scene.speaker is None else [_saying(scene.speaker, one)]
  if scene.pendulum is not None:
    parts.append(one(SWINGS).format(_article(name(scene.bodies[0]))))
  elif scene.bodies:
    bodies = [f'{_article(name(body))}{_going(body, one)}' for body in scene.bodies]
    opening = f'{NUMBERS[len(bodies)]} {one(("thing", "object"))}{"s" * (len(bodies) > 1)}'
    where = '' if scene.kind not in PLACES else one(PLACES[scene.kind])
    parts.append(one((f'{opening}: {_listed(bodies)}', _listed(bodies))) + where)
  if told is None:
    told = motion.contacts[:TOLD] if motion.contacts and rng.random() < TELLS else ()
  parts.append(', then '.join(_event(scene, c, one) for c in told))
  parts.append(one(VIEWS[scene.camera.kind]).format(*(name(body) for body in scene.bodies[:1])))
  parts += [one(LOOKS[scene.style]), one(HEARD[scene.ambience])]
  return '; '.join(part for part in parts if part)


def register(pitch_hz: float) -> str:
  """'low', 'high', or '' of a voice between."""
  return 'low' if pitch_hz < face.LOW_HZ else 'high' if pitch_hz > face.HIGH_HZ else ''


def _saying(speaker: Speaker, one: One) -> str:
  high = register(speaker.character.voice.pitch_hz)
  voice = f' in a {high} voice' if high else ''
  return f'{_article(looks(speaker))} {one(SAYS)} {quoted(speaker)}{voice}'


def _event(scene: Scene, contact: Contact, one: One) -> str:
  if isinstance(contact.other, str):
    what = one(MEETS[contact.other])
  else:
    what = one(MEETS_BODY).format(name(scene.bodies[contact.other]))
  return f'the {name(scene.bodies[contact.body])} {what}'


def _article(what: str) -> str:
  return f'{"an" if what[0] in "aeiou" else "a"} {what}'


def _going(body: Body, one: One) -> str:
  speed = body.velocity[0]
  return '' if abs(speed) < SLOW else f' {one(WAYS[1 if speed > 0 else -1])}'


def _listed(names: Sequence[str]) -> str:
  return names[0] if len(names) == 1 else f'{", ".join(names[:-1])} and {names[-1]}'
