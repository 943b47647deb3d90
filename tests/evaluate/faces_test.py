"""A face is seen to be what it is."""

import dataclasses

import numpy as np
import pytest

from sorajax.clip import Clip
from sorajax.evaluate import benchmark, faces
from sorajax.evaluate.faces import Traits
from sorajax.worlds import reference
from sorajax.worlds.face import FORMS, HATS, Character, Face
from sorajax.worlds.scene import COLOURS
from sorajax.worlds.speech import Voice

FACE = Face('round', 'red', 'cap', 'blue', 0.35, 0.12, 0.4)


def portrait(face: Face) -> Clip:
  frame = reference.portrait(Character(face, Voice(120.0, 1.0, 0.2)), 64, 64)
  return Clip(frame[None], np.zeros((0, 1), np.float32), 12.0, 16_000)


@pytest.mark.parametrize('hat', HATS)
@pytest.mark.parametrize('form', FORMS)
def test_every_trait_is_seen_in_a_portrait_in_every_colour(form, hat):
  for skin, colour in zip(COLOURS, [*list(COLOURS)[1:], 'red']):
    face = Face(form, skin, hat, colour, 0.35, 0.12, 0.4)
    wanted = Traits(skin, form, hat, '' if hat == 'bald' else colour)
    assert faces.traits(portrait(face)) == wanted
    assert faces.likeness(wanted, face) == 1


def test_faces_are_seen_while_they_speak():
  lines = [benchmark.spoken('test', number, 6) for number in range(6)]
  found = [faces.traits(benchmark.shown(line.scene)) for line in lines]
  asked = [line.speaker.character.face for line in lines]
  assert np.mean([faces.likeness(seen, face) for seen, face in zip(found, asked)]) > 0.95


def test_each_wrong_trait_takes_its_share():
  seen = faces.traits(portrait(FACE))
  for wrong in ({'skin': 'green'}, {'form': 'square'}, {'hat': 'band'}, {'hat_colour': 'pink'}):
    assert faces.likeness(seen, dataclasses.replace(FACE, **wrong)) == 0.75
  bald = dataclasses.replace(FACE, hat='bald')
  assert faces.likeness(seen, bald) == pytest.approx(2 / 3)  # of a bald head no colour is told


def test_no_face_has_no_traits():
  empty = portrait(FACE)
  assert faces.traits(dataclasses.replace(empty, video=0 * empty.video)) == Traits()
  assert faces.likeness(Traits(), FACE) == 0
