"""The sound of a scene: contacts strike the modes of what meets, at their sample; balls roll, water
splashes, characters speak, and something hums or blows all the while.
"""

import math

import numpy as np

from sorajax.worlds import speech
from sorajax.worlds.pendulum import CHIME
from sorajax.worlds.physics import Contact, Motion
from sorajax.worlds.scene import FLOOR, MATERIALS, SOLID, Body, Material, Scene
from sorajax.worlds.water import SURFACE

HEARD = 0.25  # speed below which a contact is silent
LOUDNESS, HISS = 0.5, 0.0005
HIGHEST = 0.45  # share of the sample rate that a mode may reach
ROLLING, ROLLING_HZ = 0.05, 220.0  # loudness of a ball that rolls at speed 1, and its pitch
SPLASH_S = 0.25
BACKGROUND = 0.004  # loudness of wind and hum
BELL = Material(0.5, 3.0, 1050.0, (1.0, 2.0, 2.9, 4.1), 0.6)  # of a pendulum's chime
MUCH = 0.95  # of the largest sample
STEP_S = 0.01  # in which rolling grows louder
BLOCK = 256  # samples


def render(
  scene: Scene, motion: Motion, rng: np.random.Generator, *, samples: int, rate_hz: int,
  channels: int,
) -> np.ndarray:  # fmt: skip
  """float32 [S, A], about [-1, 1]; of two channels the left one is loud for what is on the left."""
  sound = HISS * rng.standard_normal((samples, channels))
  sides = lambda x: _sides(x / scene.width, channels)
  for contact in heard(motion):
    first = round(contact.time_s * rate_hz)
    for struck in _struck(scene, contact, rng, rate_hz) if first < samples else ():
      struck = struck[: samples - first]
      sound[first : first + len(struck)] += struck[:, None] * sides(contact.place[0])
  seconds = min(scene.seconds, samples / rate_hz)
  for number, body in enumerate(scene.bodies):
    if body.shape == 'ball' and scene.kind in ('room', 'speech', SOLID):
      rolled, x = _rolling(body, number, motion, seconds, rate_hz, rng)
      sound[: len(rolled)] += rolled[:, None] * sides(x)
  if scene.speaker is not None:
    speaker = scene.speaker
    said = speech.render(speaker.syllables, speaker.character.voice, rng, samples, rate_hz)
    sound += said[:, None] * sides(speaker.place[0])
  length = round(seconds * rate_hz)
  sound[:length] += _ambience(scene.ambience, rng, length, rate_hz)[:, None]
  return sound


def limited(audio: np.ndarray) -> np.ndarray:
  """Samples of any size, float32 in (-1, 1)."""
  return (MUCH * np.tanh(audio)).astype(np.float32)


def heard(motion: Motion) -> list[Contact]:
  """The contacts that sound."""
  return [contact for contact in motion.contacts if contact.speed >= HEARD]


def strike(material: Material, radius: float, speed: float, rate_hz: int) -> np.ndarray:
  """A body that is struck, float64 [S]: larger ones sound lower, harder blows louder."""
  made = np.zeros(round(1.2 * material.ring_s * rate_hz))
  for number, ratio in enumerate(material.ratios):
    hz = material.hz * ratio * 0.1 / radius
    if hz < HIGHEST * rate_hz:
      fall = 6.9 * (1 + 0.6 * number) / material.ring_s
      made += _ringing(hz, fall, len(made), rate_hz) / (1 + number)
  return LOUDNESS * min(speed, 2.0) / 2 * made


def _ringing(hz: float, fall: float, samples: int, rate_hz: int) -> np.ndarray:
  """sin(2π·hz·t)·exp(−fall·t), float64 [S], as powers of one number: block after block of them."""
  power = (2j * np.pi * hz - fall) / rate_hz * np.arange(max(samples, BLOCK))
  within, blocks = np.exp(power[:BLOCK]), np.exp(power[:samples:BLOCK])
  return np.outer(blocks, within).imag.ravel()[:samples]


def _struck(scene: Scene, contact: Contact, rng, rate_hz: int) -> list[np.ndarray]:
  if contact.other == CHIME:
    return [strike(BELL, 0.1, 2 * contact.speed, rate_hz)]
  if contact.other == SURFACE:
    return [_splash(scene.bodies[contact.body], contact.speed, rng, rate_hz)]
  struck = [contact.body, contact.other]
  bodies = [scene.bodies[i] for i in struck if not isinstance(i, str)]
  return [strike(MATERIALS[b.material], b.radius, contact.speed, rate_hz) for b in bodies]


def _splash(body: Body, speed: float, rng: np.random.Generator, rate_hz: int) -> np.ndarray:
  """Noise that dies away, and the tone of the bubble that closes behind (Minnaert 1933)."""
  t = np.arange(round(SPLASH_S * rate_hz)) / rate_hz
  noise = np.cumsum(rng.standard_normal(len(t))) / 20
  noise -= _smoothed(noise, 64)
  bubble = np.sin(2 * np.pi * (33 / body.radius) * t * (1 + t)) * np.exp(-t / 0.08)
  return LOUDNESS * min(speed, 1.5) * (0.5 * noise * np.exp(-t / 0.05) + 0.3 * bubble)


def _rolling(
  body: Body, number: int, motion: Motion, seconds: float, rate_hz: int, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
  """A rumble as loud as a ball on the floor is fast, float64 [S], and where it is on the whole."""
  times = np.arange(0, seconds, STEP_S)
  states = [motion.at(float(t)) for t in times]
  position = np.array([p[number] for p, _, _ in states])
  speed = np.array([math.hypot(*v[number, ::2]) for _, v, _ in states])  # along the floor
  loud = speed * (position[:, 1] < FLOOR + body.radius + 1e-6)
  if not loud.any():
    return np.zeros(0), 0.0
  t = np.arange(round(seconds * rate_hz)) / rate_hz
  wobble = 1 + 0.3 * np.interp(t, times, rng.standard_normal(len(times)))
  tone = np.sin(2 * np.pi * ROLLING_HZ * 0.1 / body.radius * t) * wobble
  return ROLLING * np.interp(t, times, loud) * tone, float(np.average(position[:, 0], weights=loud))


def _ambience(kind: str, rng: np.random.Generator, samples: int, rate_hz: int) -> np.ndarray:
  t = np.arange(samples) / rate_hz
  if kind == 'hum':
    return BACKGROUND * (np.sin(2 * np.pi * 100 * t) + 0.5 * np.sin(2 * np.pi * 200 * t))
  if kind == 'wind':
    rough = _smoothed(rng.standard_normal(samples), 24)
    return 4 * BACKGROUND * rough * (1 + 0.6 * np.sin(2 * np.pi * 0.4 * t + rng.uniform(0, 6.3)))
  return np.zeros(samples)


def _smoothed(values: np.ndarray, width: int) -> np.ndarray:
  """The mean of so many samples around each, [S]; beyond the ends all are 0."""
  sums = np.concatenate([np.zeros(1), np.cumsum(values)])
  last = np.arange(len(values)) + (width - 1) // 2 + 1
  ends = (np.clip(edge, 0, len(values)) for edge in (last, last - width))
  after, before = (sums[end] for end in ends)
  return (after - before) / width


def _sides(share: float, channels: int) -> np.ndarray:
  pan = min(max(share, 0.0), 1.0)
  return np.sqrt([2 * (1 - pan), 2 * pan]) if channels == 2 else np.ones(channels)
