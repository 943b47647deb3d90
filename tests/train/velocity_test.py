"""What a training of the transformer shows of itself, and what it refuses before it begins."""

import dataclasses
import runpy
from pathlib import Path

import tiny
from tiny import refused

from sorajax import build, sharding
from sorajax.data import index as index_lib
from sorajax.train import velocity
from sorajax.train.velocity import VelocityObjective

CONFIG = Path(__file__).parents[2] / 'configs' / 'tiny.py'


def config(**train):
  made = runpy.run_path(str(CONFIG))['get_config']()
  with made.unlocked():
    made.train.update(train)
  return made


def objective(mesh=None, **changes) -> VelocityObjective:
  settings = build.settings(config(**changes.pop('train', {})))
  data = dataclasses.replace(settings.data, **changes)
  settings = dataclasses.replace(settings, data=data)
  return VelocityObjective(settings, None, tiny.Source([9]), mesh)


def test_prompts_are_sampled_in_as_many_rows_as_divide_over_the_mesh(tmp_path, monkeypatch):
  asked = []

  def sampler(settings, network, codec, batch):
    asked.append(batch)
    return lambda params, requests: iter(requests)

  monkeypatch.setattr(velocity, 'Sampler', sampler)
  counted = lambda folder, made, told: asked.append(len([*made]))
  monkeypatch.setattr(velocity, 'write_clips', counted)
  made = objective(sharding.abstract_mesh((2, 1, 1, 1)), train={'sample_prompts': ('a', 'b', 'c')})
  made.sample({}, tmp_path, 1)
  assert asked == [4, 3]


def test_no_sample_is_made_where_none_is_asked_for(tmp_path, monkeypatch):
  steps = []
  noted = lambda self, params, workdir, step: steps.append(step)
  monkeypatch.setattr(VelocityObjective, 'sample', noted)
  for every in (0, 5):
    objective(train={'sample_every': every}).finish({}, tmp_path, 12)
  assert steps == [12]


def test_prompts_of_a_task_that_is_not_learned_are_refused_at_the_start(tmp_path):
  tasks = {'text_to_clip': 0.0, 'extend': 1.0}
  with refused('config.train.sample_prompts are sampled by the task text_to_clip, which is not'):
    velocity.train(config(tasks=tasks, sample_prompts=('a',), sample_every=6), tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_a_run_to_start_from_is_found_from_any_folder_later(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert [velocity.findable(start) for start in ('', 'world')] == ['', 'world']
  (tmp_path / 'world').mkdir()
  assert velocity.findable('world') == 'world'
  (tmp_path / 'world' / 'config.json').touch()
  for start in ('world', 'run/checkpoints/7'):
    assert velocity.findable(start) == f'{tmp_path}/{start}'


def test_latents_that_are_all_trained_on_are_named_with_the_cure(tmp_path):
  row = tiny.Source([9]).rows[0]
  splits = {'train': index_lib.Split((), (row,)), 'validation': index_lib.Split((), ())}
  index_lib.save(tmp_path, index_lib.Index('', {}, splits, {}, ()))
  with refused('has no held-out clips; prepare more, or add --config.train.evaluate_every=0'):
    objective(path=str(tmp_path)).evaluator()
