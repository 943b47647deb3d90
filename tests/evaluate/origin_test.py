"""Clips are judged for what they were made of, and an evaluation that was killed goes on."""

import types

import jax.numpy as jnp
import pytest
import tiny

from sorajax.evaluate import origin
from sorajax.settings import FlowConfig, SampleConfig

SAMPLE = {'seconds': 4.0, 'fps': 12.0, 'height': 64, 'width': 64}
PARAMS = {'a': jnp.linspace(0, 1, 7), 'b': [jnp.ones((2, 3), jnp.bfloat16), jnp.arange(3)]}


def made_of(split='test', step=300, params=PARAMS, shift=0.0, **sample):
  settings = types.SimpleNamespace(
    sample=SampleConfig(**{**SAMPLE, **sample}), flow=FlowConfig(shift=shift)
  )
  model = types.SimpleNamespace(settings=settings, step=step, params=params)
  return origin.of(model, split)


def test_the_same_model_goes_on_whatever_the_benchmark_asks_for_itself(tmp_path):
  for _ in range(2):
    origin.keep(tmp_path, made_of())
  origin.keep(tmp_path, made_of(batch=2, seconds=1.0, guidance={'video': 2.0, 'audio': 2.0}))


@pytest.mark.parametrize(
  ('change', 'says'),
  [
    ({'split': 'validation'}, 'split test and now it is validation'),
    ({'step': 600}, 'step 300 and now it is 600'),
    ({'params': {**PARAMS, 'a': PARAMS['a'] + 1e-6}}, 'weights'),
    ({'shift': 0.5}, 'config.flow.shift 0.0 and now it is 0.5'),
    ({'steps': 16}, 'config.sample.steps 32 and now it is 16'),
    ({'wait': {'video': 0, 'audio': 8}}, 'config.sample.wait.audio 0 and now it is 8'),
    ({'skip_layers': (3,)}, r'config.sample.skip_layers \[\] and now it is \[3\]'),
  ],
)
def test_clips_of_another_origin_are_refused_and_it_is_named(tmp_path, change, says):
  origin.keep(tmp_path, made_of())
  with tiny.refused(f'{says}.*choose another --out'):
    origin.keep(tmp_path, made_of(**change))
  origin.keep(tmp_path, made_of())


def test_clips_of_which_nothing_is_known_are_refused(tmp_path):
  film = tmp_path / 'rooms' / 'model' / '0000.mp4'
  film.parent.mkdir(parents=True)
  film.touch()
  with tiny.refused('has clips and no made_of.json.*choose another --out'):
    origin.keep(tmp_path, made_of())
  (tmp_path / origin.KEPT).write_text('[1')
  with tiny.refused('cannot read .*made_of.json'):
    origin.keep(tmp_path, made_of())
