"""A whole model of LTX-2's kind, saved by diffusers, sampled from its folder as diffusers does."""

import dataclasses
import functools
import json
import shutil

import jax
import numpy as np
import PIL.Image
import pytest
import tiny
from clips import make_clip
from programs import run
from released import VERSIONS
from tiny import refused

from sorajax.clip import Clip
from sorajax.codec import one_step_codec
from sorajax.generate import durations, export, inputs, layouts, released, sampling, service
from sorajax.generate.ask import Ask
from sorajax.generate.request import Request
from sorajax.generate.sampler import Sampler
from sorajax.media import reader, writer
from sorajax.model import lora
from sorajax.model.lora import LoraConfig
from sorajax.weights import lora as files
from sorajax.weights import (
  ltx2_release,
  ltx2_released,
  ltx2_single_file,
  ltx2_transformer,
  stored,
)
from sorajax.weights.ltx2_parts import PARTS
from sorajax.weights.shards import File, Shards
from sorajax.weights.stored import Stored

pytestmark = pytest.mark.parity
REASON = "needs pip install 'sorajax[parity]'"
torch = pytest.importorskip('torch', reason=REASON)
diffusers = pytest.importorskip('diffusers', reason=REASON)
transformers = pytest.importorskip('transformers', reason=REASON)
safetensors = pytest.importorskip('safetensors.numpy', reason=REASON)

STEPS, LAYERS, RUN = 8, 2, 1e-3  # RUN: ‖ours − theirs‖ ÷ ‖theirs‖ after a whole run
WORDS = ('a', 'grey', 'rabbit', 'sleeps', 'under', 'two', 'old', 'trees')
PROMPT = 'a grey rabbit sleeps under two trees'
SIZE, FRAMES, FPS = (32, 64), 7, 20.0


def randomise(model, seed: int):
  """Every parameter drawn, norms near 1."""
  generator = torch.Generator().manual_seed(seed)
  with torch.no_grad():
    for name, p in model.named_parameters():
      fan = p[0].numel() if p.ndim > 1 else 1
      size = fan**-0.5 if p.ndim > 1 else 0.1
      near = float('norm' in name and 'weight' in name and 'text' not in type(model).__name__)
      p.copy_(size * torch.randn(p.shape, generator=generator) + near * (p.ndim == 1))
    for name, buffer in model.named_buffers():
      if name == 'latents_std':
        buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
      if name == 'latents_mean':
        buffer.copy_(0.3 * torch.randn(buffer.shape, generator=generator))
      if name.endswith('layer_scalar'):
        buffer.copy_(1 + 0.1 * torch.randn(buffer.shape, generator=generator))
  return model.eval()


def tokenizer():
  """Whole words, with a mark before them, as Gemma's has."""
  import tokenizers

  names = ['<pad>', '<eos>', '<bos>', '<unk>', *WORDS]
  words = tokenizers.models.WordLevel({w: i for i, w in enumerate(names)}, unk_token='<unk>')
  made = tokenizers.Tokenizer(words)
  made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
  made.post_processor = tokenizers.processors.TemplateProcessing(
    single='<bos> $A', special_tokens=[('<bos>', 2)]
  )
  marks = {'pad_token': '<pad>', 'eos_token': '<eos>', 'bos_token': '<bos>', 'unk_token': '<unk>'}
  # Pipelines turn it to the left, and those made before the first has run would not know.
  return transformers.PreTrainedTokenizerFast(tokenizer_object=made, padding_side='left', **marks)


def text_encoder(version: str):
  if version == '2.5':
    return gemma_4()
  return transformers.Gemma3ForConditionalGeneration(
    transformers.Gemma3Config(
      text_config={
        'vocab_size': 4 + len(WORDS), 'hidden_size': 12, 'intermediate_size': 20,
        'num_hidden_layers': 3, 'num_attention_heads': 2, 'num_key_value_heads': 1, 'head_dim': 6,
        'sliding_window': 4,
        'layer_types': ['sliding_attention', 'full_attention', 'sliding_attention'],
      },
      vision_config={
        'hidden_size': 8, 'intermediate_size': 8, 'num_hidden_layers': 1, 'image_size': 28,
        'num_attention_heads': 1, 'patch_size': 14,
      },
      mm_tokens_per_image=4,
    )
  )  # fmt: skip


def gemma_4():
  return transformers.Gemma4UnifiedForConditionalGeneration(
    transformers.Gemma4UnifiedConfig(
      text_config={
        'vocab_size': 4 + len(WORDS), 'hidden_size': 12, 'intermediate_size': 20,
        'num_hidden_layers': 4, 'num_attention_heads': 2, 'num_key_value_heads': 2, 'head_dim': 6,
        'global_head_dim': 8, 'num_global_key_value_heads': 1, 'attention_k_eq_v': True,
        'sliding_window': 4, 'layer_types': ['sliding_attention', 'full_attention'] * 2,
      },
      vision_config={
        'patch_size': 2, 'pooling_kernel_size': 1, 'mm_embed_dim': 8, 'mm_posemb_size': 4,
        'output_proj_dims': 8,
      },
      audio_config={'audio_embed_dim': 4},
    )
  )  # fmt: skip


def transformer(version: str):
  first = version == '2.0'
  small = {
    'in_channels': 8, 'out_channels': 8, 'audio_in_channels': 8, 'audio_out_channels': 8,
    'num_attention_heads': 2, 'attention_head_dim': 6, 'cross_attention_dim': 12,
    'audio_num_attention_heads': 2, 'audio_attention_head_dim': 4 if not first else 6,
    'audio_cross_attention_dim': 8 if not first else 12,
    'num_layers': LAYERS, 'caption_channels': 12, 'vae_scale_factors': (2, 8, 8),
    'perturbed_attn': True,
  }  # fmt: skip
  return diffusers.LTX2VideoTransformer3DModel(**{**VERSIONS[version], **small})


def connectors(version: str):
  from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors

  made = {'caption_channels': 12, 'text_proj_in_factor': 4, 'rope_type': 'split'}
  if version == '2.5':
    made['text_proj_in_factor'] = 5
  heads = {'video': (2, 6), 'audio': (2, 6) if version == '2.0' else (2, 4)}
  for m, (count, size) in heads.items():
    own = {'num_attention_heads': count, 'attention_head_dim': size, 'num_layers': 1}
    made |= {f'{m}_connector_{name}': value for name, value in own.items()}
    made[f'{m}_gated_attn'] = version != '2.0'
  if version != '2.0':
    made |= {'per_modality_projections': True, 'proj_bias': True}
    made |= {'video_hidden_dim': 12, 'audio_hidden_dim': 8}
  return LTX2TextConnectors(**made)


def codecs(version: str) -> dict:
  from diffusers.pipelines.ltx2 import vocoder

  picture = diffusers.AutoencoderKLLTX2Video(
    latent_channels=8, block_out_channels=(16, 32), down_block_types=('LTX2VideoDownBlock3D',) * 2,
    decoder_block_out_channels=(16, 32), layers_per_block=(1, 1, 1),
    decoder_layers_per_block=(1, 1, 1), spatio_temporal_scaling=(True, True),
    decoder_spatio_temporal_scaling=(True, True), decoder_inject_noise=(False,) * 3,
    downsample_type=('spatiotemporal', 'spatial'), upsample_type=('spatial', 'spatiotemporal'),
    upsample_residual=(True, True), upsample_factor=(2, 2), patch_size=2,
    spatial_compression_ratio=8, temporal_compression_ratio=2,
  )  # fmt: skip
  sound = diffusers.AutoencoderKLLTX2Audio(
    base_channels=8, output_channels=2, in_channels=2, ch_mult=(1, 1, 1), num_res_blocks=1,
    latent_channels=4, resolution=8, mel_bins=8,
  )  # fmt: skip
  small = {
    'in_channels': 16, 'hidden_channels': 16, 'upsample_kernel_sizes': [16, 12],
    'upsample_factors': [16, 10], 'resnet_kernel_sizes': [3, 5], 'resnet_dilations': [[1, 2]] * 2,
  }  # fmt: skip
  if version == '2.0':
    speaker = vocoder.LTX2Vocoder(**small, output_sampling_rate=16_000)
  else:
    wide = {f'bwe_{name}': value for name, value in small.items()}
    wide |= {'bwe_upsample_kernel_sizes': [16, 15], 'bwe_upsample_factors': [16, 15]}
    speaker = vocoder.LTX2VocoderWithBWE(
      **small, **wide, filter_length=512, window_length=512, hop_length=80, num_mel_channels=8,
      input_sampling_rate=16_000, output_sampling_rate=48_000,
    )  # fmt: skip
  return {'vae': picture, 'audio_vae': sound, 'vocoder': speaker}


@pytest.fixture(scope='module', params=['2.0', '2.3', '2.5'])
def saved(request, tmp_path_factory):
  """A pipeline and the folder that it was saved in."""
  version, folder = request.param, tmp_path_factory.mktemp('ltx2')
  parts = {
    'text_encoder': text_encoder(version), 'connectors': connectors(version),
    'transformer': transformer(version), **codecs(version),
  }  # fmt: skip
  parts = {name: randomise(part, seed) for seed, (name, part) in enumerate(parts.items())}
  with torch.no_grad():
    last = parts['vocoder'].vocoder if version != '2.0' else parts['vocoder']
    last.conv_out.weight.mul_(1e-2)
  scheduler = diffusers.FlowMatchEulerDiscreteScheduler(
    use_dynamic_shifting=True, base_shift=0.95, max_shift=2.05, base_image_seq_len=1024,
    max_image_seq_len=4096, shift_terminal=0.1,
  )  # fmt: skip
  pipeline = diffusers.LTX2Pipeline(scheduler=scheduler, tokenizer=tokenizer(), **parts)
  pipeline.set_progress_bar_config(disable=True)
  pipeline.save_pretrained(folder)
  return pipeline, folder


ASKED = {
  'prompt': PROMPT, 'height': SIZE[0], 'width': SIZE[1], 'num_frames': FRAMES,
  'num_inference_steps': STEPS, 'frame_rate': FPS, 'spatio_temporal_guidance_blocks': [1],
  'audio_stg_scale': 0.5, 'output_type': 'np',
}  # fmt: skip

one_is_enough = pytest.mark.parametrize('saved', ['2.3'], indirect=True)


def made_here(folder, monkeypatch, request: Request, load=None, **others):
  """Our clip, and what its first run began with, modality → [1, T, C]."""
  model, start, whole = (load or service.load)(folder), {}, sampling.sampling
  skipping = {'skip_layers': (1,), 'skip_guidance': {'video': 1.0, 'audio': 0.5}}
  sample = dataclasses.replace(model.settings.sample, steps=STEPS, **skipping, **others)
  settings = dataclasses.replace(model.settings, sample=sample)

  def watched(*args):
    run = whole(*args)

    def watching(params, tokens, text, blank, seeds):
      if not start:
        start.update({m: np.array(x) for m, x in sampling.begin(tokens, seeds).items()})
      return run(params, tokens, text, blank, seeds)

    return watching

  monkeypatch.setattr(sampling, 'sampling', watched)
  with jax.set_mesh(model.mesh):
    run_all = Sampler(settings, model.network, model.codec, refiner=model.refiner)
    request = inputs.of(request, model.codec, sample.image_crf)
    (made,) = run_all(model.params, [request])
  return made.clip, {m: torch.from_numpy(x) for m, x in start.items()}


def images(folder, count: int) -> tuple[list[str], list[PIL.Image.Image]]:
  """Files of images as large as the clip, since pipelines scale others each in its way."""
  drawn = np.random.default_rng(0).integers(0, 256, (count, *SIZE, 3), np.uint8)
  found = [PIL.Image.fromarray(pixels) for pixels in drawn]
  paths = [str(folder / f'{i}.png') for i in range(count)]
  for image, path in zip(found, paths):
    image.save(path)
  return paths, found


def given_there(pipeline, start, size=SIZE) -> dict:
  """The same beginning for diffusers, whose number of sound tokens is rounded and not ours.

  Of latents that are neither packed nor normed they take as many as there are.
  """
  ear, eye = pipeline.audio_vae, pipeline.vae
  sound = pipeline._denormalize_audio_latents(start['audio'], ear.latents_mean, ear.latents_std)
  shape = (1 + (FRAMES - 1) // 2, size[0] // 8, size[1] // 8)
  picture = pipeline._unpack_latents(start['video'], *shape)
  picture = pipeline._denormalize_latents(picture, eye.latents_mean, eye.latents_std)
  return {
    'latents': picture,
    'audio_latents': pipeline._unpack_audio_latents(sound, sound.shape[1], num_mel_bins=2),
  }


def changed(load, path, folder):
  """The model of a folder with the changes of a file."""
  return service.with_changes(load(folder), path)


def check_equal(clip, theirs) -> None:
  check_equal_pictures(clip, theirs)
  check_equal_sounds(clip, theirs)


def check_equal_pictures(clip, theirs) -> None:
  frames = np.asarray(theirs.frames[0])
  assert frames.shape == clip.video.shape
  inside = (clip.video > 0) & (clip.video < 255)
  assert inside.mean() > 0.5  # else little would be compared
  assert np.abs(frames - clip.video / 255.0).max() <= 0.5 / 255 + RUN


def check_equal_sounds(clip, theirs) -> None:
  sound = np.asarray(theirs.audio[0]).T
  assert sound.std() > 1e-3
  length = min(len(sound), len(clip.audio))
  assert length >= 0.9 * len(clip.audio)
  error = np.linalg.norm(clip.audio[:length] - sound[:length]) / np.linalg.norm(sound[:length])
  assert error <= RUN


def changes_of(model, folder, also='none/'):
  """The file of low-rank changes to a model, drawn by chance."""
  targets = rf'(attention/(query|key|value|out)|mlp/(up|down)/kernel)$|{also}'
  config = LoraConfig(3, 4.0, targets)
  own = model.settings.transformer
  shapes = ltx2_transformer.shapes(own)
  changes = tiny.noisy(lambda: lora.init(config, shapes, jax.random.key(0)), size=0.3)
  files.write(folder / 'changes.safetensors', files.saved_of(own, changes, config.scale))
  return str(folder / 'changes.safetensors')


def check_changed(saved, monkeypatch, path) -> Clip:
  """Our clip by a model with the changes of a file, after it was found equal to theirs."""
  pipeline, folder = saved
  monkeypatch.setattr(service, 'load', functools.partial(changed, service.load, path))
  request = Request(PROMPT, 5, FRAMES / FPS, FPS, *SIZE)
  clip, start = made_here(folder, monkeypatch, request)
  pipeline.load_lora_weights(path)
  try:
    check_equal(clip, pipeline(**ASKED, **given_there(pipeline, start)))
  finally:
    pipeline.unload_lora_weights()
  return clip


def test_a_run_of_the_sampler_is_that_of_diffusers(saved, monkeypatch):
  """All guidance at once; both begin with our noise, and end with the same clip."""
  pipeline, folder = saved
  clip, start = made_here(folder, monkeypatch, Request(PROMPT, 3, FRAMES / FPS, FPS, *SIZE))
  check_equal(clip, pipeline(**ASKED, **given_there(pipeline, start)))


def test_a_run_from_a_first_frame_is_that_of_diffusers(saved, monkeypatch, tmp_path):
  """Without rescaling, for which they count what the network says of the given frame."""
  pipeline, folder = saved
  (path,), (image,) = images(tmp_path, 1)
  request = Request(PROMPT, 4, FRAMES / FPS, FPS, *SIZE, task='image_to_clip', given_path=path)
  clip, start = made_here(folder, monkeypatch, request, rescale=0.0)
  from_image = diffusers.LTX2ImageToVideoPipeline(**pipeline.components)
  from_image.set_progress_bar_config(disable=True)
  plain = {'guidance_rescale': 0.0, 'audio_guidance_rescale': 0.0}
  theirs = from_image(**ASKED, **plain, **given_there(pipeline, start), image=image)
  check_equal(clip, theirs)


def give_a_stream(pipeline, stream: str, monkeypatch, mixed: bool) -> None:
  """A pipeline one of whose streams is clean throughout: at level 0, and nothing changes it.

  Args:
    pipeline: which has no such task.
    stream: that is given.
    monkeypatch: undoes it.
    mixed: whether a stream's own level scales and shifts what audio↔video attention reads, as in
      Lightricks' own program, and the other's the gate alone.
  """
  whole, level = pipeline.transformer, {}
  forward, scale = whole.forward, whole.config.cross_attn_timestep_scale_multiplier
  gates = {'audio': whole.av_cross_attn_video_a2v_gate, 'video': whole.av_cross_attn_audio_v2a_gate}

  def given(**asked):
    levels = {m: asked['timestep'] * (m != stream) for m in ('video', 'audio')}
    level.update({m: t * scale / 1000 for m, t in levels.items()})
    asked |= {'timestep': levels['video'], 'sigma': levels['video']}
    asked |= {'audio_timestep': levels['audio'], 'audio_sigma': levels['audio']}
    found = forward(**{**asked, 'use_cross_timestep': not mixed})
    return tuple(v * (m != stream) for m, v in zip(('video', 'audio'), found))

  monkeypatch.setattr(whole, 'forward', given)
  for m, gate in gates.items():
    hears = lambda *args, m=m, gate=gate, was=gate.forward, **how: was(level[m], *args[1:], **how)
    if mixed:
      monkeypatch.setattr(gate, 'forward', hears)


@pytest.mark.parametrize(
  ('saved', 'given', 'mixed'),
  [
    ('2.0', 'audio', False), ('2.3', 'audio', False), ('2.3', 'audio', True),
    ('2.3', 'video', False), ('2.3', 'video', True), ('2.5', 'video', True),
  ],
  indirect=['saved'],
)  # fmt: skip
def test_a_run_from_a_whole_stream_is_that_of_diffusers(saved, monkeypatch, given, mixed):
  """Picture for sound and sound for a picture, by either account of whose noise level counts."""
  pipeline, folder = saved
  film = make_clip(FRAMES, size=SIZE, fps=FPS, rate_hz=16_000, channels=2, seed=6)
  task, load = {'audio': 'audio_to_video', 'video': 'video_to_audio'}[given], service.load
  request = Request(PROMPT, 8, FRAMES / FPS, FPS, *SIZE, task=task, given=film)

  def loaded(folder):
    model = load(folder)
    level = 'own' if mixed else 'other'
    own = dataclasses.replace(model.settings.transformer, cross_level=level)
    return dataclasses.replace(model, network=dataclasses.replace(model.network, transformer=own))

  clip, start = made_here(folder, monkeypatch, request, load=loaded)
  give_a_stream(pipeline, given, monkeypatch, mixed)
  theirs = pipeline(**ASKED, **given_there(pipeline, start))
  if given == 'audio':  # a stream that is given whole stays as it came
    np.testing.assert_array_equal(clip.audio, film.audio)
    assert clip.sample_rate_hz == film.sample_rate_hz
    check_equal_pictures(clip, theirs)
  else:
    np.testing.assert_array_equal(clip.video, film.video)
    check_equal_sounds(clip, theirs)


@pytest.mark.parametrize('first', [False, True])
def test_a_run_by_keyframes_is_that_of_diffusers(saved, monkeypatch, tmp_path, first):
  """One of 2 and one of 4 latent frames, which begin at 3 and 5; with a first frame or without."""
  from diffusers.pipelines.ltx2.pipeline_ltx2_condition import LTX2VideoCondition

  pipeline, folder = saved
  paths, pictures = images(tmp_path, 3)
  given = {'task': 'image_to_clip', 'given_path': paths[0]}
  request = Request(
    PROMPT, 4, FRAMES / FPS, FPS, *SIZE, keyframe_paths=paths[1:],
    keyframe_s=(3 / FPS, 5 / FPS), **(given if first else {}),
  )  # fmt: skip
  clip, start = made_here(folder, monkeypatch, request, rescale=0.0)
  start['video'] = start['video'][:, : start['video'].shape[1] * 4 // 6]
  parts = {n: part for n, part in pipeline.components.items() if n != 'duration_head'}
  conditioned = diffusers.LTX2ConditionPipeline(**parts)
  conditioned.set_progress_bar_config(disable=True)
  conditions = [LTX2VideoCondition(p, i) for p, i in zip(pictures, (0, 2, 3))]
  theirs = conditioned(
    **ASKED, **given_there(pipeline, start), guidance_rescale=0.0, audio_guidance_rescale=0.0,
    conditions=conditions if first else conditions[1:], noise_scale=0.0,
  )  # fmt: skip
  check_equal(clip, theirs)


def test_a_run_by_pictures_that_are_held_loosely_is_that_of_diffusers(saved, monkeypatch, tmp_path):
  """But for the level by which clean tokens are told: theirs is the clip's, ours each token's own.

  So it is in Lightricks' sampler too (`X0Model` there), and in diffusers for this test.
  """
  from diffusers.pipelines.ltx2 import pipeline_ltx2_condition as conditioned

  pipeline, folder = saved
  hold, (paths, pictures) = 0.7, images(tmp_path, 2)
  request = Request(
    PROMPT, 4, FRAMES / FPS, FPS, *SIZE, task='image_to_clip', given_path=paths[0], hold=hold,
    keyframe_paths=paths[1:], keyframe_s=(3 / FPS,),
  )  # fmt: skip
  clip, start = made_here(folder, monkeypatch, request, rescale=0.0)

  class OfTokens(conditioned.LTX2ConditionPipeline):
    def prepare_latents(self, *args, **kwargs):
      _, self.held, *rest = super().prepare_latents(*args, **kwargs)
      return start['video'], self.held, *rest

    def convert_velocity_to_x0(self, sample, v, step, scheduler=None):
      level = (scheduler or self.scheduler).sigmas[step]
      return sample - v * level * ((1 - self.held) if sample.shape[1] == self.held.shape[1] else 1)

  parts = {n: part for n, part in pipeline.components.items() if n != 'duration_head'}
  theirs = OfTokens(**parts)
  theirs.set_progress_bar_config(disable=True)
  four = start['video'].shape[1] * 4 // 5  # a keyframe is the fifth
  found = theirs(
    **ASKED, **given_there(pipeline, {**start, 'video': start['video'][:, :four]}),
    guidance_rescale=0.0, audio_guidance_rescale=0.0, noise_scale=0.0,
    conditions=[
      conditioned.LTX2VideoCondition(p, i, strength=hold) for p, i in zip(pictures, (0, 2))
    ],
  )  # fmt: skip
  check_equal(clip, found)


@pytest.mark.parametrize('smaller', [1, 2])
def test_a_run_after_a_reference_is_that_of_diffusers(saved, monkeypatch, smaller):
  """The reference is longer than the clip; without rescaling, which counts its tokens."""
  from diffusers.pipelines.ltx2 import pipeline_ltx2_ic_lora

  pipeline, folder = saved
  film = make_clip(FRAMES + 2, size=SIZE, fps=FPS, rate_hz=16_000, seed=8)
  small = film.video[:, : SIZE[0] // smaller, : SIZE[1] // smaller]
  whole = dataclasses.replace(film, video=small.repeat(smaller, axis=1).repeat(smaller, axis=2))
  request = Request(
    PROMPT, 7, FRAMES / FPS, FPS, *SIZE, reference=whole, reference_smaller=smaller
  )  # fmt: skip
  clip, start = made_here(folder, monkeypatch, request, rescale=0.0)
  start['video'] = start['video'][:, : start['video'].shape[1] * smaller**2 // (1 + smaller**2)]
  parts = {n: part for n, part in pipeline.components.items() if n != 'duration_head'}
  after = diffusers.LTX2InContextPipeline(**parts)
  after.set_progress_bar_config(disable=True)
  frames = [PIL.Image.fromarray(frame) for frame in small]
  theirs = after(
    **ASKED, **given_there(pipeline, start), guidance_rescale=0.0, audio_guidance_rescale=0.0,
    reference_conditions=[pipeline_ltx2_ic_lora.LTX2ReferenceCondition(frames)],
    reference_downscale_factor=smaller, noise_scale=0.0,
  )  # fmt: skip
  check_equal(clip, theirs)


@pytest.mark.parametrize('saved', ['2.5'], indirect=True)
def test_a_clip_is_as_long_as_the_duration_head_of_diffusers_says(saved, tmp_path):
  """From the prompt on, by Gemma 4 and connectors, and by the command line."""
  from diffusers.pipelines.ltx2.duration_head import LTX2DurationHead

  pipeline, folder = saved
  model = tmp_path / 'model'
  shutil.copytree(folder, model)
  asked = (f'--checkpoint={model}', f'--prompt={PROMPT}', f'--fps={FPS}', '--size=32x64')
  none = run('launch/sample.py', *asked, '--seconds=auto', f'--out={tmp_path}/no', fails=True)
  assert f'{model} has no duration_head, which LTX-2.5 finds durations by; give' in none
  head = randomise(LTX2DurationHead(12, 8, 16, num_pooler_heads=2, mlp_hidden_dim=8), 11)
  with torch.no_grad():
    head.mlp_out.bias.fill_(1.0)
  head.save_pretrained(model / 'duration_head')
  said: list[torch.Tensor] = []
  head.register_forward_hook(lambda _, given, seconds: said.append(seconds))
  whole = diffusers.LTX2Pipeline(**{**pipeline.components, 'duration_head': head})
  whole.set_progress_bar_config(disable=True)
  few = {'num_frames': None, 'num_inference_steps': 1, 'output_type': 'latent'}
  theirs = whole(**{**ASKED, **few})
  ours = service.load(model)
  (seconds,) = durations.seconds_of(ours, [PROMPT])
  assert abs(seconds / said[0].item() - 1) <= 1e-5 and 1.5 < seconds < 19
  ask = Ask((PROMPT, WORDS[0], PROMPT), count=2, fps=FPS, seed=3)
  requests = durations.requests_of(ours, ask)
  assert [r.seed for r in requests] == [3, 4, 5, 6, 7, 8]
  frames = [r.frames for r in requests]
  assert frames == [*frames[:4], *frames[:2]] and frames[0] == 1 + 2 * (theirs.frames.shape[2] - 1)
  run('launch/sample.py', *asked, '--seconds=auto', f'--out={tmp_path}/clips')
  film = reader.read(next((tmp_path / 'clips').glob('*.mp4')))
  assert len(film.video) == frames[0]


@one_is_enough
@pytest.mark.parametrize('after', [False, True])
def test_two_stages_are_those_of_diffusers(saved, monkeypatch, tmp_path, after):
  """Small, enlarged in the space of latents, then three steps from what is left of the noise.

  The small clip may be made after a reference, and with changes that the second stage does without.
  """
  from diffusers.pipelines.ltx2 import latent_upsampler, pipeline_ltx2_ic_lora

  pipeline, folder = saved
  half, large = (32, 32), (64, 64)
  small = latent_upsampler.LTX2LatentUpsamplerModel(8, 32, num_blocks_per_stage=1)
  upsampler = randomise(small, 9)
  file = tmp_path / 'file.safetensors'  # as a release has it; its config is in its head
  told = {'in_channels': 8, 'mid_channels': 32, 'num_blocks_per_stage': 1}
  told |= {'spatial_scale': 2.0, 'rational_resampler': True}
  tensors = {name: t.numpy() for name, t in upsampler.state_dict().items()}
  held = [Stored(n, stored.NAMES[x.dtype], x.shape, lambda x=x: x) for n, x in tensors.items()]
  stored.write_file(file, held, {'config': json.dumps(told)})
  path, film = changes_of(service.load(folder), tmp_path), make_clip(FRAMES, size=half, fps=FPS)

  def two(folder):
    plain = service.load(folder)
    changed = service.with_changes(plain, path) if after else plain
    return service.with_refiner(changed, str(file), plain=plain if after else None)

  request = Request(PROMPT, 6, FRAMES / FPS, FPS, *large)
  asked = {**ASKED, 'height': half[0], 'width': half[1], 'output_type': 'latent'}
  if after:
    whole = film.video.repeat(2, axis=1).repeat(2, axis=2)
    request = dataclasses.replace(request, reference=dataclasses.replace(film, video=whole))
  clip, start = made_here(
    folder, monkeypatch, request, load=two, **({'rescale': 0.0} if after else {})
  )
  if after:
    start['video'] = start['video'][:, : start['video'].shape[1] // 2]
    parts = {n: part for n, part in pipeline.components.items() if n != 'duration_head'}
    smaller = diffusers.LTX2InContextPipeline(**parts)
    smaller.set_progress_bar_config(disable=True)
    frames = [PIL.Image.fromarray(frame) for frame in film.video]
    smaller.load_lora_weights(path)
    first = smaller(
      **asked, **given_there(pipeline, start, half), guidance_rescale=0.0,
      audio_guidance_rescale=0.0, noise_scale=0.0,
      reference_conditions=[pipeline_ltx2_ic_lora.LTX2ReferenceCondition(frames)],
    )  # fmt: skip
    smaller.unload_lora_weights()
  else:
    first = pipeline(**asked, **given_there(pipeline, start, half))
  enlarging = diffusers.LTX2LatentUpsamplePipeline(vae=pipeline.vae, latent_upsampler=upsampler)
  enlarged = enlarging(
    latents=first.frames, height=half[0], width=half[1], num_frames=FRAMES, output_type='latent',
    return_dict=False,
  )[0]  # fmt: skip
  ear, eye, levels = pipeline.audio_vae, pipeline.vae, [0.909375, 0.725, 0.421875]
  video = pipeline._normalize_latents(enlarged, eye.latents_mean, eye.latents_std)
  video = pipeline._pack_latents(video)
  sound = pipeline._pack_audio_latents(first.audio)
  begun = {
    'video': video,
    'audio': pipeline._normalize_audio_latents(sound, ear.latents_mean, ear.latents_std),
  }
  for m, x in begun.items():
    noise = sampling._noise(np.array([6], np.uint32), m, x.numpy(), stage=1)
    begun[m] = levels[0] * torch.from_numpy(np.array(noise)) + (1 - levels[0]) * x
  still = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=False)
  second = diffusers.LTX2Pipeline(**{**pipeline.components, 'scheduler': still})
  second.set_progress_bar_config(disable=True)
  none = {f'{m}{name}_scale': scale for m in ('', 'audio_') for name, scale in
          (('guidance', 1.0), ('modality', 1.0), ('stg', 0.0))}  # fmt: skip
  asked = {**ASKED, **none, 'num_inference_steps': 3, 'height': large[0], 'width': large[1]}
  plain = {'guidance_rescale': 0.0, 'audio_guidance_rescale': 0.0}
  theirs = second(**asked, **plain, sigmas=levels, **given_there(pipeline, begun, large))
  check_equal(clip, theirs)


@pytest.mark.parametrize('saved', ['2.5'], indirect=True)
def test_one_step_of_diffusion_decodes_as_that_of_diffusers(saved, monkeypatch, tmp_path):
  """It is the default where a model has it, and the other decoder may be chosen."""
  from diffusers.models.autoencoders import ltx2_diffusion_decoder

  pipeline, folder = saved
  small = diffusers.LTX2VideoDiffusionDecoderModel(
    latent_channels=8, patch_size=2, decoder_head_dim=8, decoder_stage_channels=(32, 16, 8),
    decoder_stage_depths=(1, 1, 2), decoder_stage_kernels=((3, 3, 3), (3, 3, 3)),
    decoder_upsample_strides=((1, 2, 2), (2, 2, 2)), decoder_upsample_channel_reductions=(2, 2),
    decoder_stage5_kernel=(5, 7, 7), decoder_t_emb_dim=12, spatial_compression_ratio=8,
    temporal_compression_ratio=2,
  )  # fmt: skip
  decoder, model = randomise(small, 9), tmp_path / 'model'
  shutil.copytree(folder, model)
  decoder.save_pretrained(model / released.ONE_STEP)
  request = Request(PROMPT, 3, FRAMES / FPS, FPS, *SIZE)
  clip, start = made_here(model, monkeypatch, request)
  latents = pipeline(**{**ASKED, 'output_type': 'latent'}, **given_there(pipeline, start))
  noise = one_step_codec.noise(np.uint32(0), np.zeros(3, int), clip.video.shape[:3], SIZE)
  drawn = torch.from_numpy(np.array(noise).transpose(3, 0, 1, 2)[None])
  monkeypatch.setattr(ltx2_diffusion_decoder, 'randn_tensor', lambda *_, **__: drawn)
  decoding = diffusers.LTX2VideoDiffusionDecodePipeline(decoder, pipeline.scheduler)
  theirs = decoding(latents.frames, output_type='np', denormalize=False).frames[0]
  inside = (clip.video > 0) & (clip.video < 255)
  assert inside.mean() > 0.5
  assert np.abs(theirs - clip.video / 255.0).max() <= 0.5 / 255 + RUN
  whole = service.load(model)
  assert service.with_decoder(whole, 'one_step') is whole and not whole.flags
  chosen = service.with_decoder(whole, 'convolutional')
  assert chosen.flags == ('--decoder=convolutional',)
  plain = service.load(folder)
  assert chosen.codec.fingerprint == plain.codec.fingerprint != whole.codec.fingerprint
  assert service.with_decoder(plain, 'convolutional') is plain
  with refused('a clip of 3 frames .* is too small .* or add --decoder=convolutional'):
    made_here(model, monkeypatch, Request(PROMPT, 3, 3 / FPS, FPS, *SIZE))
  with refused('has no diffusion_decoder; leave --decoder=one_step out'):
    service.with_decoder(plain, 'one_step')


@one_is_enough
def test_a_model_is_rounded_to_8_bits_as_it_is_read(saved):
  _, folder = saved
  early, late = service.load(folder, eight_bits=True), service.of_8_bits(service.load(folder))
  pairs = zip(jax.tree.leaves(early.params), jax.tree.leaves(late.params), strict=True)
  assert all(a.dtype == b.dtype and (np.asarray(a) == b).all() for a, b in pairs)
  kinds = {str(leaf.dtype) for leaf in jax.tree.leaves(early.params['text']['gemma'])}
  assert 'int8' in kinds
  again = service.of_8_bits(early)
  assert jax.tree.all(jax.tree.map(lambda a, b: a is b, again.params, early.params))
  assert again.flags == late.flags == ('--weights=int8',) != early.flags


def test_low_rank_changes_do_there_what_they_do_here(saved, monkeypatch, tmp_path):
  pytest.importorskip('peft', reason=REASON)
  _, folder = saved
  path = changes_of(service.load(folder), tmp_path)
  before, _ = made_here(folder, monkeypatch, Request(PROMPT, 5, FRAMES / FPS, FPS, *SIZE))
  clip = check_changed(saved, monkeypatch, path)
  assert np.abs(clip.video.astype(int) - before.video).mean() > 2


@one_is_enough
def test_changes_that_diffusers_saved_are_as_strong_here(saved, monkeypatch, tmp_path):
  """Of every linear map, with a strength that the file's head tells."""
  peft = pytest.importorskip('peft', reason=REASON)
  pipeline, _ = saved
  network = pipeline.transformer
  network.add_adapter(peft.LoraConfig(r=3, lora_alpha=6, target_modules='all-linear'))
  for seed, (name, value) in enumerate(network.named_parameters()):
    if 'lora_' in name:
      noise = torch.randn(value.shape, generator=torch.Generator().manual_seed(seed))
      value.data = 0.1 * noise
  made = peft.utils.get_peft_model_state_dict(network)
  assert any('av_cross_attn_audio_scale_shift.linear' in name for name in made)
  told = network.peft_config['default'].to_dict()
  pipeline.save_lora_weights(
    tmp_path, transformer_lora_layers=made, transformer_lora_adapter_metadata=told
  )
  network.delete_adapters('default')
  pipeline.unload_lora_weights()
  (path,) = tmp_path.glob('*.safetensors')
  check_changed(saved, monkeypatch, str(path))


@one_is_enough
def test_changes_under_released_names_do_there_what_they_do_here(saved, monkeypatch, tmp_path):
  """Of what prompts go through too."""
  pytest.importorskip('peft', reason=REASON)
  _, folder = saved
  own = safetensors.load_file(changes_of(service.load(folder), tmp_path, 'level/'))
  rng = np.random.default_rng(0)
  for word in ('video', 'audio'):
    place = f'connectors.{word}_text_proj_in'
    weight = getattr(saved[0].connectors, f'{word}_text_proj_in').weight
    own[f'{place}.lora_A.weight'] = rng.normal(size=(3, weight.shape[1])).astype(np.float32)
    own[f'{place}.lora_B.weight'] = rng.normal(size=(weight.shape[0], 3)).astype(np.float32)
  file, released_names = tmp_path / 'released.safetensors', {}
  for name, value in own.items():
    part, _, rest = name.partition('.')
    released_names[ltx2_single_file.name_of(part, {}, rest).removeprefix('model.')] = value
  safetensors.save_file(released_names, file)
  check_changed(saved, monkeypatch, str(file))


def check_converted(pipeline, folder, monkeypatch) -> Clip:
  """Our clip by a model that was written here, after it was found equal to diffusers'."""
  theirs = type(pipeline).from_pretrained(folder)
  theirs.set_progress_bar_config(disable=True)
  clip, start = made_here(folder, monkeypatch, Request(PROMPT, 5, FRAMES / FPS, FPS, *SIZE))
  check_equal(clip, theirs(**ASKED, **given_there(theirs, start)))
  return clip


@one_is_enough
def test_it_is_tuned_on_films_and_diffusers_reads_what_it_learned(saved, monkeypatch, tmp_path):
  """Low-rank changes or all weights, on the latents of its own codec."""
  pytest.importorskip('peft', reason=REASON)
  pipeline, folder = saved
  monkeypatch.setenv('LTX2', str(folder))
  config = '--config=tests/parity/released_config.py'
  (tmp_path / 'films').mkdir()
  for i in range(6):
    film = tmp_path / 'films' / f'{i}.mp4'
    writer.write(film, make_clip(20, size=(32, 64), fps=8.0, rate_hz=16_000, channels=2, seed=i))
    film.with_suffix('.txt').write_text(('two old trees', 'a grey rabbit')[i % 2])
  clips, latents, learned = (tmp_path / name for name in ('clips', 'latents', 'run'))
  run('launch/prepare.py', config, f'--input={tmp_path}/films', f'--output={clips}')
  codec = f'--codec={folder}'
  run('launch/encode.py', config, codec, f'--input={clips}', f'--output={latents}', '--workers=1')
  read, prompts = [f'--checkpoint={folder}', f'--out={tmp_path}/prompts'], f'{tmp_path}/prompts'
  assert '3 prompts in' in run('launch/encode_prompts.py', *read, f'--latents={latents}', config)
  own = (f'--config.data.path={latents}', f'--config.text.encoded={prompts}')
  run('launch/train.py', config, *own, f'--workdir={learned}')
  other = ('--config.text.kind=bytes', f'--config.data.path={latents}', f'--workdir={tmp_path}/no')
  error = run('launch/train.py', config, *other, fails=True)
  assert 'reads prompts by Gemma; add --config.text.kind=ltx2 and its folder' in error
  lines = [json.loads(line) for line in (learned / 'metrics.jsonl').read_text().splitlines()]
  losses = [line['loss'] for line in lines if line['kind'] == 'held_out']
  assert losses[-1] < 0.97 * losses[0]
  path = tmp_path / 'changes.safetensors'
  run('launch/lora.py', f'--checkpoint={learned}', f'--out={path}')
  clip = check_changed(saved, monkeypatch, path)
  monkeypatch.undo()
  model = tmp_path / 'model'
  said = run('launch/convert.py', f'--checkpoint={learned}', f'--out={model}', '--shard_gb=1e-4')
  assert said == f'in {model}: a whole model\n'
  again = check_converted(pipeline, model, monkeypatch)
  assert np.abs(again.video.astype(int) - clip.video).max() <= 1
  before, _ = made_here(folder, monkeypatch, Request(PROMPT, 5, FRAMES / FPS, FPS, *SIZE))
  assert np.abs(before.video.astype(int) - clip.video).mean() > 1
  monkeypatch.setenv('LTX2', str(model))
  every = (f'--workdir={tmp_path}/all', '--config.lora.rank=0', '--config.train.steps=30')
  run('launch/train.py', config, f'--config.data.path={latents}', *every)
  other = tmp_path / 'other'
  run('launch/convert.py', f'--checkpoint={tmp_path}/all', f'--out={other}')
  last = check_converted(pipeline, other, monkeypatch)
  assert np.abs(last.video.astype(int) - again.video).mean() > 0.1


def test_one_file_becomes_a_model_that_diffusers_loads(saved, monkeypatch, tmp_path):
  """Of all parts but Gemma, which comes from a folder of its own; the sizes are the small ones."""
  pipeline, folder = saved
  configs = {part: json.loads((folder / part / 'config.json').read_text()) for part in PARTS}
  monkeypatch.setattr(ltx2_released, 'configs_of', lambda *_: configs)
  for part in ('text_encoder', 'tokenizer'):
    shutil.copytree(folder / part, tmp_path / 'gemma', dirs_exist_ok=True)
  layouts.to_file(export.read(folder), tmp_path / 'file')
  gemma, out = str(tmp_path / 'gemma'), tmp_path / 'out'
  assert layouts.to_folder([tmp_path / 'file'], out, '2.3', gemma) == []
  for part in PARTS:
    file = f'{part}/diffusion_pytorch_model.safetensors'
    assert (out / file).read_bytes() == (folder / file).read_bytes()
  again = type(pipeline).from_pretrained(out)
  for name, part in again.components.items():
    assert type(part) is type(pipeline.components[name])
    if isinstance(part, torch.nn.Module):
      there = pipeline.components[name].state_dict()
      assert all((there[n] == x).all() for n, x in part.state_dict().items())
  assert again.tokenizer(PROMPT).input_ids == pipeline.tokenizer(PROMPT).input_ids
  for name, value in pipeline.scheduler.config.items():
    assert name.startswith('_') or again.scheduler.config[name] == value
  assert service.load(out).settings.sample == service.load(folder).settings.sample


@one_is_enough
def test_the_command_line_samples_from_the_folder(saved, tmp_path):
  from diffusers.pipelines.ltx2 import latent_upsampler

  _, folder = saved
  asked = (f'--seconds={FRAMES / FPS}', f'--fps={FPS}', '--size=32x64')
  prompt = ('--prompt=two old trees', f'--checkpoint={folder}')
  run('launch/sample.py', *prompt, *asked, f'--out={tmp_path}/one')
  latent_upsampler.LTX2LatentUpsamplerModel(8, 32).save_pretrained(tmp_path / 'upsampler')
  two = f'--upsampler={tmp_path}/upsampler'
  run('launch/sample.py', *prompt, *asked, two, f'--out={tmp_path}/two')
  (film,), (refined,) = ((tmp_path / name).glob('*.mp4') for name in ('one', 'two'))
  assert reader.read(film).video.shape == reader.read(refined).video.shape == (FRAMES, *SIZE, 3)
  table = f'--out={tmp_path}/prompts'
  run('launch/encode_prompts.py', *prompt, table)
  run(
    'launch/sample.py', *prompt, *asked, f'--encoded={tmp_path}/prompts', f'--out={tmp_path}/three'
  )
  beforehand = reader.read(next((tmp_path / 'three').glob('*.mp4')))
  assert np.abs(beforehand.video.astype(int) - reader.read(film).video).max() <= 1
  again = f'--again={refined.with_suffix(".json")}'
  run('launch/sample.py', prompt[1], again, two, f'--out={tmp_path}/again')
  assert next((tmp_path / 'again').glob('*.mp4')).read_bytes() == refined.read_bytes()
  error = run('launch/sample.py', prompt[1], again, f'--out={tmp_path}/no', fails=True)
  assert f'was made with --upsampler={tmp_path}/upsampler and not with none; give the same' in error


@one_is_enough
def test_an_upsampler_of_another_codec_is_refused(saved, tmp_path):
  from diffusers.pipelines.ltx2 import latent_upsampler

  latent_upsampler.LTX2LatentUpsamplerModel(6, 32).save_pretrained(tmp_path)
  with refused('is of latents of 6 channels and the codec of the model is another, of 8'):
    service.with_refiner(service.load(saved[1]), str(tmp_path))


@one_is_enough
def test_parts_that_do_not_fit_are_refused(saved, tmp_path):
  _, folder = saved
  shutil.copytree(folder, tmp_path / 'model')
  for part, name, value, message in (
    ('scheduler/scheduler_config', 'time_shift_type', 'linear', 'time_shift_type=linear'),
    ('scheduler/scheduler_config', 'shift', 0.0, 'the scheduler has shift=0.0'),
    ('transformer/config', 'audio_hop_length', 20, 'audio_scale_factor 80 and the codec 640'),
    ('text_encoder/config', 'text_config', {'model_type': 'llama'}, 'is a llama; only gemma3'),
  ):
    file = tmp_path / 'model' / f'{part}.json'
    whole = file.read_text()
    file.write_text(json.dumps({**json.loads(whole), name: value}))
    with refused(message):
      service.load(tmp_path / 'model')
    file.write_text(whole)
  shutil.rmtree(tmp_path / 'model' / 'vocoder')
  with refused('vocoder lacks diffusion_pytorch_model.safetensors; download'):
    service.load(tmp_path / 'model')


@pytest.mark.parametrize('saved', ['2.5'], indirect=True)
def test_a_release_of_several_files_becomes_a_model_that_diffusers_loads(
  saved, monkeypatch, tmp_path
):
  """Text encoder and tokenizer too, from the file that also holds what projects their output."""
  pipeline, folder = saved
  configs = {part: json.loads((folder / part / 'config.json').read_text()) for part in PARTS}
  monkeypatch.setattr(ltx2_released, 'configs_of', lambda *_: configs)
  layouts.to_file(export.read(folder), tmp_path / 'whole')
  whole = File(tmp_path / 'whole')
  flat = {instead: begin for begin, instead in ltx2_release.UNFOLDED.items()}
  text = {}
  for name, value in Shards(folder / 'text_encoder').items():
    begin = next((b for b in flat if name.startswith(b)), '')
    text[flat.get(begin, '') + name.removeprefix(begin)] = value
  assert 'model.layers.0.mlp.up_proj.weight' in text
  words = {
    ltx2_release.ASSET + path.name: np.frombuffer(path.read_bytes(), np.uint8)
    for path in (folder / 'tokenizer').iterdir()
  }
  words[ltx2_release.TOKENIZER] = words.pop(f'{ltx2_release.ASSET}tokenizer.json')
  head = {ltx2_release.GEMMA: (folder / 'text_encoder' / 'config.json').read_text()}
  given = {
    'transformer': {n: x for n, x in whole.items() if n.startswith('model.')},
    'text': {n: x for n, x in whole.items() if n.startswith('text_')} | text | words,
    'video': {n.removeprefix('vae.'): x for n, x in whole.items() if n.startswith('vae.')},
    'audio': {n: x for n, x in whole.items() if n.startswith(('audio_vae.', 'vocoder.'))},
  }
  for name, arrays in given.items():
    tensors = [Stored(n, stored.NAMES[x.dtype], x.shape, lambda x=x: x) for n, x in arrays.items()]
    stored.write_file(tmp_path / name, tensors, head if name == 'text' else {})
  out = tmp_path / 'out'
  assert (
    layouts.to_folder([tmp_path / name for name in given], out, '2.5', shard_bytes=10_000) == []
  )
  again = type(pipeline).from_pretrained(out)
  for name, part in again.components.items():
    assert type(part) is type(pipeline.components[name])
    if isinstance(part, torch.nn.Module):
      wanted = pipeline.components[name].state_dict()
      assert part.state_dict().keys() == wanted.keys()
      assert all(torch.equal(x, wanted[n]) for n, x in part.state_dict().items())
  assert again.tokenizer(PROMPT).input_ids == pipeline.tokenizer(PROMPT).input_ids
