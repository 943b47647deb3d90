"""Captions of a scene, in many words and in few."""

from collections.abc import Sequence

import numpy as np

from sorajax.worlds.physics import FLOOR, LEFT, RIGHT, Motion
from sorajax.worlds.scene import Body, Scene

NUMBERS = ('no', 'one', 'two', 'three', 'four')
VIEWS = {
  'static': ('the camera stands still', 'a fixed view', ''),
  'pan_left': ('the camera pans to the left', 'the view moves left'),
  'pan_right': ('the camera pans to the right', 'the view moves right'),
  'zoom_in': ('the camera zooms in', 'slowly closer'),
  'zoom_out': ('the camera zooms out', 'slowly further away'),
}
MEETS = {
  FLOOR: ('hits the floor', 'lands', 'bounces off the ground'),
  LEFT: ('hits the left wall', 'bounces off the left side'),
  RIGHT: ('hits the right wall', 'bounces off the right side'),
}
MEETS_BODY = ('hits the {}', 'bumps into the {}', 'knocks against the {}')
WAYS = {-1: ('moving left', 'thrown to the left'), 1: ('moving right', 'thrown to the right')}
SLOW = 0.2
TOLD = 3  # events at most


def terse(scene: Scene) -> str:
  """The bodies alone: 'red metal ball, blue wood box'."""
  return ', '.join(name(body) for body in scene.bodies)


def name(body: Body) -> str:
  """'red metal ball'."""
  return f'{body.colour} {body.material} {body.shape}'


def full(scene: Scene, motion: Motion, rng: np.random.Generator) -> str:
  """Sentences that tell the bodies, where they go, what they meet in order, and the camera."""
  one = lambda choices: choices[int(rng.integers(len(choices)))]
  bodies = [f'{_article(body)} {name(body)}{_going(body, one)}' for body in scene.bodies]
  opening = f'{NUMBERS[len(bodies)]} {one(("thing", "object"))}{"s" * (len(bodies) > 1)}'
  parts = [one((f'{opening}: {_listed(bodies)}', _listed(bodies)))]
  events = motion.contacts[:TOLD]
  if events and rng.random() < 0.7:
    told = []
    for event in events:
      if isinstance(event.other, str):
        what = one(MEETS[event.other])
      else:
        what = one(MEETS_BODY).format(name(scene.bodies[event.other]))
      told.append(f'the {name(scene.bodies[event.body])} {what}')
    parts.append(', then '.join(told))
  parts.append(one(VIEWS[scene.camera.kind]))
  return '; '.join(part for part in parts if part)


def _article(body: Body) -> str:
  return 'an' if body.colour[0] in 'aeiou' else 'a'


def _going(body: Body, one) -> str:
  speed = body.velocity[0]
  return '' if abs(speed) < SLOW else f' {one(WAYS[1 if speed > 0 else -1])}'


def _listed(names: Sequence[str]) -> str:
  return names[0] if len(names) == 1 else f'{", ".join(names[:-1])} and {names[-1]}'
