"""Laws of the small text encoder, over bytes and over words."""

import re

import jax
import numpy as np
import pytest

from sorajax.clip import Text
from sorajax.text.small import SmallEncoder
from sorajax.worlds import scene, speech
from sorajax.worlds.world import WorldConfig, generate

PROMPTS = ('a red ball, then', '', 'two dogs; rain', '日本 и ещё')
each_kind = pytest.mark.parametrize('pieces', ['bytes', 'words'])


def encoder(pieces: str) -> SmallEncoder:
  return SmallEncoder(32, 1, 24, pieces)


def packed(rows: list[list[np.ndarray]], length: int = 48) -> Text:
  """Prompts side by side in rows, each a segment of its own."""
  text = Text(*np.zeros((3, len(rows), length), np.int32))
  for row, prompts in enumerate(rows):
    begin = 0
    for number, ids in enumerate(prompts):
      span = slice(begin, begin + len(ids))
      text.ids[row, span], text.segment[row, span] = ids, number + 1
      begin += len(ids)
  return text


@each_kind
def test_a_packed_prompt_reads_as_it_does_alone(pieces):
  own = encoder(pieces)
  params = own.initial_params(jax.random.key(0))
  first, second = (own.tokenize(p) for p in (PROMPTS[0], PROMPTS[2]))
  together = own.encode(params, packed([[first, second]]))[0]
  alone = own.encode(params, packed([[second]]))[0]
  span = slice(len(first), len(first) + len(second))
  np.testing.assert_allclose(together[span], alone[: len(second)], atol=1e-4)
  assert np.abs(together[span][1:] - together[: len(second) - 1]).max() > 0.1


@each_kind
def test_prompts_have_a_begin_mark_and_at_most_their_tokens(pieces):
  own = encoder(pieces)
  for prompt in (*PROMPTS, 'long ' * 100):
    ids = own.tokenize(prompt)
    assert 1 <= len(ids) <= 24 and ids[0] == 1 and (ids[1:] > 1).all() and ids.dtype == np.int32


def test_words_are_told_apart_whatever_their_case_and_marks_are_words():
  own = encoder('words')
  np.testing.assert_array_equal(own.tokenize('A Red ball'), own.tokenize('a red  ball'))
  assert len(own.tokenize('"mama", then')) == 1 + 5
  assert (own.tokenize('red ball') != own.tokenize('ball red')).any()


def test_no_two_words_of_the_world_are_the_same():
  own = SmallEncoder(32, 1, 400, 'words')
  told = ' '.join(generate(WorldConfig(17, 8.0, 16, 16), 'train', 0, n)[1] for n in range(60))
  words = {*re.findall('[a-z]+', told), *scene.COLOURS, *scene.MATERIALS, *speech.WORDS}
  ids = {int(own.tokenize(word)[1]) for word in words}
  assert len(ids) == len(words) > 60
