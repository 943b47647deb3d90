"""The sound of a scene: every contact strikes the modes of the bodies that meet, at its sample."""

import numpy as np

from sorajax.worlds.physics import Contact, Motion
from sorajax.worlds.scene import MATERIALS, Body, Scene

HEARD = 0.15  # speed below which a contact is silent
LOUDNESS, HISS = 0.5, 0.0005
HIGHEST = 0.45  # share of the sample rate that a mode may reach


def render(
  scene: Scene, motion: Motion, rng: np.random.Generator, *, samples: int, rate_hz: int,
  channels: int,
) -> np.ndarray:  # fmt: skip
  """float32 [S, A] in [-1, 1]; of two channels the left one is loud for what is on the left."""
  sound = HISS * rng.standard_normal((samples, channels))
  for contact in heard(motion):
    first = round(contact.time_s * rate_hz)
    pan = min(max(contact.place[0] / scene.width, 0.0), 1.0)
    sides = np.sqrt([1 - pan, pan]) * np.sqrt(2) if channels == 2 else np.ones(channels)
    for body in (contact.body, contact.other):
      if not isinstance(body, str) and first < samples:
        struck = strike(scene.bodies[body], contact.speed, rate_hz)[: samples - first]
        sound[first : first + len(struck)] += struck[:, None] * sides
  return np.tanh(sound).astype(np.float32)


def heard(motion: Motion) -> list[Contact]:
  """The contacts that sound."""
  return [contact for contact in motion.contacts if contact.speed >= HEARD]


def strike(body: Body, speed: float, rate_hz: int) -> np.ndarray:
  """A body that is struck, float64 [S]: larger ones sound lower, harder blows louder."""
  material = MATERIALS[body.material]
  t = np.arange(round(1.2 * material.ring_s * rate_hz)) / rate_hz
  made = np.zeros(len(t))
  for number, ratio in enumerate(material.ratios):
    hz = material.hz * ratio * 0.1 / body.radius
    if hz < HIGHEST * rate_hz:
      decay = np.exp(-6.9 * t * (1 + 0.6 * number) / material.ring_s)
      made += np.sin(2 * np.pi * hz * t) * decay / (1 + number)
  return LOUDNESS * min(speed, 2.0) / 2 * made
