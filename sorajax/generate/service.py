"""A trained model, loaded, and what a command line asks of it."""

import dataclasses
import functools
import hashlib
import itertools
import json
import operator
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np
import tqdm
from jax.experimental import multihost_utils

from sorajax import build, checkpoint, sharding
from sorajax.codec import codec as codec_lib
from sorajax.codec.codec import Codec
from sorajax.errors import UserError
from sorajax.generate import inputs, output, records, released
from sorajax.generate.ask import Ask, check_none, parse_size
from sorajax.generate.records import Recipe
from sorajax.generate.refine import Refiner
from sorajax.generate.request import REMIX, Request, blank_latents
from sorajax.generate.sampler import Sampler
from sorajax.generate.sampling import rows_over
from sorajax.media.atomic import make_folder
from sorajax.model import lora
from sorajax.model.lora import LoraConfig
from sorajax.network import Network
from sorajax.nn import int8
from sorajax.settings import Settings
from sorajax.weights import lora as lora_files
from sorajax.weights.encoded import EncodedText
from sorajax.weights.prompts import ReleasedText

STRENGTH = 0.7  # of a remix: what it shows stays where it was, and most else is made anew
SMALL = 2**12  # numbers in an array that costs little to fetch
TRAINED = Path(__file__).with_name('trained')  # runs that come along, a folder each


@dataclasses.dataclass(frozen=True)
class Model:
  """A network with its weights, its codec and the mesh that it lies on.

  Attributes:
    settings: of the run that trained it.
    network: the velocity.
    codec: of its latents.
    params: averaged weights and frozen ones, in one dict.
    mesh: where they lie.
    workdir: of the run.
    step: of the checkpoint.
    refiner: of its second stage; None for one stage.
    flags: by which it differs from its checkpoint, as a command line has them.
  """

  settings: Settings
  network: Network
  codec: Codec
  params: Any
  mesh: jax.sharding.Mesh
  workdir: Path
  step: int
  refiner: Refiner | None = None
  flags: tuple[str, ...] = ()


def load(
  path: str | os.PathLike[str], config: ml_collections.ConfigDict | None = None,
  encoded: str = '', eight_bits: bool = False,
) -> Model:  # fmt: skip
  """Loads the averaged weights of a run, with the low-rank changes that it learned added.

  Args:
    path: the run's workdir, or one of its `checkpoints/STEP`, or the name of one that comes along,
      such as `world`, or an LTX-2 as diffusers saves it.
    config: None for the one kept with the run; another must describe the same network.
    encoded: folder of prompts that were encoded beforehand; '' for that of the config.
    eight_bits: whether an LTX-2's matrices are rounded as they are read; see `of_8_bits`.

  Raises:
    UserError: no run there, or one of another network.
  """
  workdir, step = find(path)
  if released.is_released(workdir):
    return _load_released(workdir, config, encoded, eight_bits)
  before = read_config(workdir)
  if config is not None:
    now = json.loads(config.to_json())
    build.check_same(before, now, f'the checkpoint {path}')
  settings = own = build.settings(ml_collections.ConfigDict(before))
  if config is not None:
    settings = dataclasses.replace(build.settings(config), lora=own.lora, start=own.start)
  settings = _with_encoded(settings, encoded)
  shipped = (workdir / checkpoint.WEIGHTS).is_file()
  codec = codec_lib.load(settings.trained if shipped and settings.trained else workdir / 'codec')
  network = build.network(settings, codec)
  mesh = sharding.make_mesh(settings.mesh)
  build.check_mesh(settings, mesh)
  with jax.set_mesh(mesh):
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0)))
    layout = sharding.shardings(mesh, shapes)
    abstract = jax.tree.map(
      lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), shapes, layout
    )
    if shipped:
      ema, step = checkpoint.read_weights(workdir, abstract)
    else:
      ema, step = checkpoint.restore_part(workdir / 'checkpoints', step, 'ema', abstract)
    if settings.lora.rank:
      given = ml_collections.ConfigDict(before) if config is None else config  # for its mesh
      params = {**load(settings.start, given, encoded=encoded).params, **ema}
      params = jax.jit(network.merged)(params)
    else:
      params = {**ema, **sharding.everywhere(network.frozen())}
  return Model(settings, network, codec, params, mesh, workdir, step)


def _with_encoded(settings: Settings, encoded: str) -> Settings:
  if not encoded:
    return settings
  if settings.text.kind != 'ltx2':
    raise UserError(
      f'{encoded} holds prompts that Gemma read and the model reads {settings.text.kind}; leave '
      '--encoded out'
    )
  return dataclasses.replace(settings, text=dataclasses.replace(settings.text, encoded=encoded))


def find(path: str | os.PathLike[str]) -> tuple[Path, int | None]:
  """The folder of a model, and the step that `path` names; None where it names none."""
  workdir = Path(path).absolute()
  here = (workdir / checkpoint.CONFIG).exists() or released.is_released(workdir)
  if not here and (TRAINED / path / checkpoint.CONFIG).is_file():
    workdir = TRAINED / path
  if workdir.parent.name == 'checkpoints' and workdir.name.isdigit():
    return workdir.parent.parent, int(workdir.name)
  return workdir, None


def read_config(workdir: Path) -> dict[str, Any]:
  """The config kept with a run; `UserError` where there is none."""
  config = checkpoint.read_config(workdir)
  if config is None:
    known = ', '.join(sorted(p.name for p in TRAINED.glob('*')))
    raise UserError(
      f'no run at {workdir}: it has no config.json; give the --workdir of a training run, or name '
      f'one that comes along: {known}'
    )
  return config


def _load_released(
  folder: Path, config: ml_collections.ConfigDict | None, encoded: str, eight_bits: bool
) -> Model:
  settings, codec = released.read(folder)
  if config is not None:
    settings = released.checked(build.settings(config), settings, folder)
  settings = _with_encoded(settings, encoded)
  network = dataclasses.replace(build.network(settings, codec), lora=LoraConfig())
  if eight_bits and isinstance(network.text, ReleasedText):
    text = dataclasses.replace(network.text, eight_bits=True)
    network = dataclasses.replace(network, text=text)
  mesh = sharding.make_mesh(settings.mesh)
  build.check_mesh(settings, mesh)
  with jax.set_mesh(mesh):
    params = {'transformer': released.transformer_params(folder, settings, mesh, eight_bits)}
    return Model(
      settings, network, codec, {**params, **sharding.everywhere(network.frozen())}, mesh, folder, 0
    )


def with_refiner(
  model: Model, upsampler: str, changes: Sequence[str] = (), plain: Model | None = None
) -> Model:  # fmt: skip
  """A model that makes clips small first, and then large by a latent upsampler.

  Args:
    model: the first stage.
    upsampler: folder of one as diffusers saves it, or file of a release.
    changes: files of low-rank changes to the transformer of the second stage.
    plain: the model before its own changes, where the second stage is to do without these.

  Raises:
    UserError: an upsampler that cannot be read, or is of another codec.
  """
  enlarger = released.enlarger_of(Path(upsampler), model.codec)
  params = None
  if changes or plain is not None:
    params = functools.reduce(with_changes, changes, plain or model).params
  flags = [f'--upsampler={upsampler}', *(f'--refine_lora={file}' for file in changes)]
  flags += ['--refine_plain'] * (plain is not None)
  return _with_flags(dataclasses.replace(model, refiner=Refiner(enlarger, params)), *flags)


def with_decoder(model: Model, name: str) -> Model:
  """A model whose pictures one of `released.DECODERS` decodes; `UserError` where it has none."""
  codec = released.decoded_by(model.codec, name, model.workdir)
  if codec is model.codec:
    return model
  return _with_flags(dataclasses.replace(model, codec=codec), f'--decoder={name}')


def of_8_bits(model: Model) -> Model:
  """A model with the matrices of all layers rounded to 8 bits, of both stages if it has two."""
  known: dict[int, int8.Int8] = {}

  def rounded(params: Any) -> Any:
    text = params['text']
    if 'gemma' in text:
      text = {**text, 'gemma': int8.tree(text['gemma'], known)}
    return {**params, 'transformer': int8.tree(params['transformer'], known), 'text': text}

  with jax.set_mesh(model.mesh):
    refiner = model.refiner
    if refiner is not None and refiner.params is not None:
      refiner = dataclasses.replace(refiner, params=rounded(refiner.params))
    changed = dataclasses.replace(model, params=rounded(model.params), refiner=refiner)
  return _with_flags(changed, '--weights=int8')


def with_changes(model: Model, file: str, kept: bool = True) -> Model:
  """A model with the low-rank changes of a file of safetensors added to it.

  They are added to one parameter after another.

  Args:
    model: what is changed: its transformer, and the layers that LTX-2 reads a prompt's states by.
    file: of the changes.
    kept: whether `model` is needed further; else what is changed gives up its memory.

  Raises:
    UserError: a file that cannot be read, or changes of another transformer.
  """
  text = model.network.text
  connectors = text.connectors if isinstance(text, ReleasedText | EncodedText) else None
  found = lora_files.changes_of(model.settings.transformer, lora_files.read(file), connectors)
  of_text = found.pop(lora_files.CONNECTORS, {})
  if isinstance(text, EncodedText) and of_text.keys() - model.params['text']['connectors'].keys():
    raise UserError(
      f'{file} changes how prompts are encoded and {text.table} has them as they were; leave '
      '--encoded out'
    )
  changes = {**found, 'text': {lora_files.CONNECTORS: of_text}}
  with jax.set_mesh(model.mesh):
    params = lora.merged_in_turn(model.params, changes, kept)
  return _with_flags(dataclasses.replace(model, params=params), f'--lora={file}')


def _with_flags(model: Model, *flags: str) -> Model:
  return dataclasses.replace(model, flags=(*model.flags, *flags))


def make(model: Model, ask: Ask, out: str | os.PathLike[str]) -> list[Path]:
  """Samples what was asked for and writes it; returns the films."""
  return answer(model, requests_of(model, ask), out, ask.batch)


def answer(
  model: Model, requests: Sequence[Request], out: str | os.PathLike[str], batch: int | None = None
) -> list[Path]:
  """Samples requests of any tasks, `batch` or the config's number at once; returns the films.

  Batches that lie in `out` already, by the same requests and model, are not made again.
  """
  wanted = min(model.settings.sample.batch, len(requests)) if batch is None else batch
  sampler = sampler_of(model, wanted)
  films = [output.film_of(out, number, request) for number, request in enumerate(requests)]
  output.check_apart(films, requests)
  if jax.process_index() == 0:
    make_folder(out)  # before anything is made for it
  with jax.set_mesh(model.mesh):
    recipe = _recipe(model)
    batches = sampler.batches(requests)
    there = [
      all(
        output.is_there(films[n], requests[n], sampler.batch, i, recipe)
        for i, (n, _) in enumerate(rows)
      )
      for rows in batches
    ]
    if jax.process_count() > 1:  # the others may not see what the first has written
      there = multihost_utils.broadcast_one_to_all(np.array(there)).tolist()
    done = sum(len(rows) for rows in itertools.compress(batches, there))
    with tqdm.tqdm(total=len(requests), initial=done, unit='clip', desc='sample') as bar:
      for rows in itertools.compress(batches, map(operator.not_, there)):
        for one in sampler.make(model.params, rows):
          if jax.process_index() == 0:  # the others compute along and write nothing
            output.write_clip(out, one, recipe)
          bar.update()
    if jax.process_index() == 0:
      output.write_index(out, films)
  return films


def make_again(model: Model, record: str, out: str | os.PathLike[str], ask: Ask) -> list[Path]:
  """Makes the clip of a record once more.

  Raises:
    UserError: a record of another model, or `ask` for anything beside it.
  """
  check_none(ask)
  request, batch, row, text = records.read(record)
  film = Path(out) / Path(record).with_suffix('.mp4').name
  output.check_apart([film], [request])
  if jax.process_index() == 0:
    make_folder(out)
  with jax.set_mesh(model.mesh):
    recipe = _recipe(model)
    records.check_same(record, request, text, recipe)
    blank_latents(request, model.codec.geometry)
    request = inputs.of(request, model.codec, model.settings.sample.image_crf)
    made = dataclasses.replace(sampler_of(model, 1), batch=batch).again(model.params, request, row)
    if jax.process_index() == 0:
      output.write_clip(out, made, recipe, film.stem)
  return [film]


def requests_of(model: Model, ask: Ask) -> list[Request]:
  """The requests of a command line, every one with its own seed."""
  defaults = model.settings.sample
  seconds = defaults.seconds if ask.seconds is None else ask.seconds
  fps = defaults.fps if ask.fps is None else ask.fps
  if not 0 < fps <= 240:
    raise UserError(f'{fps} frames/s is out of range; give more than 0 and at most 240')
  size = (defaults.height, defaults.width) if ask.size is None else parse_size(ask.size)
  given_s = 0.0
  if ask.task == 'extend':
    given_s = seconds / 2 if ask.given_s is None else ask.given_s
  elif ask.given_s is not None:
    raise UserError(f'--given_seconds is of extend and not of {ask.task}; leave it out')
  strength = 1.0
  if ask.task == REMIX:
    strength = STRENGTH if ask.strength is None else ask.strength
  elif ask.strength is not None:
    raise UserError(f'--strength is of {REMIX} and not of {ask.task}; leave it out')
  if not ask.reference and (ask.reference_as != 'picture' or ask.reference_smaller != 1):
    raise UserError('--reference_… says how a reference is seen; add --reference=FILE')
  keyframes = [inputs.parse_keyframe(text) for text in ask.keyframes]
  first = Request(
    '', 0, seconds, fps, *size, task=ask.task, given_s=given_s, hold=ask.hold,
    strength=strength, given_path=ask.input or '', reference_path=ask.reference or '',
    reference_as=ask.reference_as, reference_smaller=ask.reference_smaller,
    keyframe_paths=[path for path, _ in keyframes], keyframe_s=[at_s for _, at_s in keyframes],
  )  # fmt: skip
  blank_latents(first, model.codec.geometry)  # before a file is read for it
  first = inputs.of(first, model.codec, defaults.image_crf)
  prompts = [p for p in ask.prompts for _ in range(ask.count)]
  return [
    dataclasses.replace(first, prompt=prompt, seed=ask.seed + i) for i, prompt in enumerate(prompts)
  ]


def sampler_of(model: Model, batch: int, joined: bool = True) -> Sampler:
  """What samples so many clips at once, or a few more where the mesh needs them.

  Args:
    model: which makes them.
    batch: how many.
    joined: whether audio and video attend to each other.
  """
  rows = rows_over(model.mesh, batch)
  return Sampler(model.settings, model.network, model.codec, rows, joined, model.refiner)


def _recipe(model: Model) -> Recipe:
  weights = fingerprint(model.params)
  return Recipe(str(model.workdir), model.step, weights, model.flags, model.settings)


def fingerprint(params: Any) -> str:
  """A hash that tells weights apart, by the small arrays among them."""
  small = [leaf for leaf in jax.tree.leaves(params) if leaf.size <= SMALL]
  found = (np.asarray(leaf).tobytes() for leaf in sharding.gathered(small))
  return hashlib.sha256(b''.join(found)).hexdigest()[:16]
