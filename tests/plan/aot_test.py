"""Real programs, compiled for chips that are not here; needs pip install 'sorajax[tpu,gpu]'."""

import importlib.util
import re

import pytest
from programs import run


def needs(module: str, whose: str):
  here = importlib.util.find_spec(module) is not None
  return pytest.mark.skipif(not here, reason=f'needs the compiler for {whose}')


for_tpus = needs('libtpu', 'TPUs')
for_gpus = needs('jax_cuda13_plugin', 'GPUs')
TINY = ('--config=configs/tiny.py', '--quick')
FILM = ('--config=configs/film.py', '--config.transformer.layers=2', '--quick')


@for_tpus
def test_a_step_is_planned_and_written_down(tmp_path):
  flags = ('--topology=v5p:2x2x1', '--rows=8', '--price=4.2', f'--out={tmp_path}')
  said = run('launch/plan.py', *TINY, *flags)
  assert 'tiny on v5p:2x2x1: 4 chips, data=4 fsdp=1' in said and 'of 95: fits' in said
  assert 'all-reduce over data' in said
  assert {p.name for p in tmp_path.iterdir()} == {
    'tiny-v5p-2x2x1.html', 'tiny-v5p-2x2x1.hlo.txt'
  }  # fmt: skip


@for_tpus
def test_slices_lie_along_data_and_sum_gradients_through_their_hosts(tmp_path):
  flags = ('--topology=v5p:2x2x1', '--slices=2', '--rows=16', f'--out={tmp_path}')
  said = run('launch/plan.py', *TINY, *flags, '--config.mesh.fsdp=4')
  assert 'tiny on 2 slices of v5p:2x2x1: 8 chips, data=2 fsdp=4' in said
  assert 'all-reduce over data' in said and 'over data+fsdp' not in said
  assert (tmp_path / 'tiny-2-slices-of-v5p-2x2x1.html').is_file()


@for_tpus
@pytest.mark.parametrize('topology', ['v5e:2x2', 'v6e:1x1'])
def test_attention_fits_the_scratch_memory_of_every_chip_in_32_bits(topology):
  """Keys of 6,000 tokens, in the tiles of the backward pass; of one chip too."""
  tokens = '--config.data.buckets.clip.video=6000'
  said = run('launch/plan.py', *FILM, f'--topology={topology}', '--rows=4', tokens)
  assert '4 rows a step' in said


@for_tpus
def test_sampling_is_planned_and_written_down(tmp_path):
  flags = ('--mode=sample', '--topology=v5p:2x2x1', '--rows=3', '--price=4.2', f'--out={tmp_path}')
  said = run('launch/plan.py', *TINY, *flags)
  assert 'data=4 fsdp=1 context=1 tensor=1, 4 clips at once' in said and 'of 95: fits' in said
  assert '4 plain, 4 away from no prompt' in said and 'clip-seconds a day' in said
  assert {p.name for p in tmp_path.iterdir()} == {
    'tiny-v5p-2x2x1-sample.html', 'tiny-v5p-2x2x1-sample.hlo.txt'
  }  # fmt: skip


@for_tpus
def test_decoding_is_planned_with_a_codec_that_comes_along(tmp_path):
  size = '--config.sample.height=64', '--config.sample.width=64', '--config.sample.seconds=4'
  flags = ('--mode=decode', '--codec=world', '--topology=v5p:2x2x1', '--rows=4')
  said = run('launch/plan.py', *TINY, *flags, *size, f'--out={tmp_path}')
  assert '4 clips at once, 52 frames of each in a run' in said and 'of 95: fits' in said
  assert re.search(r'seconds a batch of clips +\d+\.\d\d, in \d+ runs, of 4 s each', said)
  assert {p.suffix for p in tmp_path.iterdir()} == {'.html', '.txt'}


@for_tpus
def test_a_rung_of_the_ladder_is_planned_as_a_row():
  said = run('tools/plan_ladder.py', '--rungs=20m')
  assert '| 20m | 20 M | v5e:2x2 | data 4 | 64 of 256×256 |' in said
  assert re.search(r' \d\.\d of 16 GiB \| 0\.\d\d s \| \d+ % ', said)
  refusal = run('tools/plan_ladder.py', '--rungs=20m,1t', fails=True)
  assert "no rung '1t'; choose some of 20m, 100m" in refusal


@for_gpus
def test_a_step_on_gpus_is_planned():
  said = run('launch/plan.py', *TINY, '--topology=h100:2x4', '--rows=8')
  assert 'tiny on h100:2x4: 8 chips, data=8 fsdp=1' in said and 'of 73: fits' in said
  assert 'all-reduce over data' in said


@for_gpus
def test_attention_of_cudnn_is_counted():
  """Its way back computes scores once more than the formula has it: nine matmuls for eight."""
  two = ('--config.transformer.layers=2', '--config.sample.skip_layers=(1,)')
  config = ('--config=configs/ltx2.py:2.3', *two, '--config.mesh.fsdp=1', '--quick')
  said = run('launch/plan.py', *config, '--topology=h100:1', '--rows=1')
  figure = lambda name: float(said.split(name)[1].split()[0].rstrip(','))
  by_formula, in_program = figure('device, by formula'), figure('device, in the program')
  assert 0 < by_formula <= in_program < 9 / 8 * by_formula
  assert figure('attention kernels') > 0


@for_tpus
def test_a_search_compiles_the_best_by_formula_and_plans_the_fastest(tmp_path):
  flags = ('--search', '--search_compile=1', '--price=4.2', f'--out={tmp_path}')
  said = run('launch/plan.py', *TINY, '--topology=v5e:2x2', *flags)
  first, _, last = said.partition('1 compiled')
  assert '0 compiled' in first and 'fastest of the compiled: --config.mesh.data=' in last
  assert 'tiny on v5e:2x2: 4 chips' in last and 'at 4.2 a chip-hour' in last
  assert {p.suffix for p in tmp_path.iterdir()} == {'.html', '.txt'}


@for_gpus
@pytest.mark.parametrize(
  'flags, said',
  [
    (('--topology=h100:9',), "no topology 'h100:9'; write h100:GPUS or h100:MACHINESxGPUS"),
    (('--topology=h100:8', '--slices=2'), 'slices are of TPUs; write machines of GPUs as h100:2x8'),
    (('--topology=h100:0x8',), "no topology 'h100:0x8'; write h100:GPUS or h100:MACHINESxGPUS"),
    (
      ('--topology=h100:1', '--config.data.buckets.clip.video=60000', '--rows=16',
       '--config.transformer.attention.kernel=reference'),
      'a step does not fit: it needs',
    ),
  ],
)  # fmt: skip
def test_what_cannot_be_planned_on_gpus_is_refused_in_one_line(flags, said):
  message = run('launch/plan.py', *TINY, *flags, fails=True).strip()
  assert message.startswith('error: ') and said in message and '\n' not in message


@for_tpus
@pytest.mark.parametrize(
  'flags, said',
  [
    (('--topology=v9:2x2',), "no chip 'v9' in the table; choose one of v5e, v5p, v6e, tpu7x, h100"),
    (('--topology=v5p:2x2xx',), "no topology 'v5p:2x2xx'; write CHIP:SIDExSIDE"),
    (('--topology=v5p:3x5x7',), "no topology 'v5p:3x5x7'"),
    (('--topology=v5p:2x2x1', '--slices=2', '--config.mesh.fsdp=8'), 'choose a multiple of 2'),
    (('--topology=v5p:2x2x1', '--rows=6'), 'micro-batch of 6 does not divide over 4 shards'),
    (('--topology=v5p:2x2x1', '--config.mesh.fsdp=3'), 'needs a multiple of 3 devices and there'),
    (
      ('--topology=v5e:2x2', '--config.data.buckets.clip.video=400000',
       '--config.transformer.attention.kernel=reference'),
      'a step does not fit: it needs',
    ),
    (
      ('--mode=sample', '--topology=v5e:2x2', '--config.sample.seconds=20000',
       '--config.transformer.attention.kernel=reference'),
      'sampling does not fit: it needs',
    ),
    (('--topology=v5p:2x2x1', '--search', '--search_compile=-1'), '--search_compile=-1 is below 0'),
    (
      ('--topology=v5p:2x2x1', '--search', '--rows=7', '--config.data.buckets.clip.video=21'),
      'no mesh over v5p:2x2x1 divides heads, widths, rows and tokens',
    ),
    (('--mode=sample', '--topology=v5p:2x2x1', '--rows=0'), '--rows=0 asks for nothing'),
    (('--mode=decode', '--topology=v5p:2x2x1', '--codec=no'), 'no codec'),
    (('--mode=sample', '--topology=v5p:2x2x1', '--config.sample.height=20'), 'do not divide by'),
  ],
)  # fmt: skip
def test_what_cannot_be_planned_is_refused_in_one_line(flags, said):
  message = run('launch/plan.py', *TINY, *flags, fails=True).strip()
  assert message.startswith('error: ') and said in message and '\n' not in message


@pytest.mark.parametrize(
  'flags, said',
  [
    (('--weights=bfloat16',), '--weights is for --mode=sample and --mode=refine'),
    (('--codec=world',), '--codec is for --mode=decode'),
    (('--search_compile=1',), '--search_compile is for --search'),
    (('--mode=decode', '--search'), '--search is for all modes but decode'),
    (('--search', '--search_compile=0', '--out=x'), '--out is for plans; --search_compile=0 makes'),
    (('--search', '--search_compile=0', '--price=2'), '--price is for plans; --search_compile=0'),
  ],
)
def test_a_flag_that_would_change_nothing_is_refused(flags, said):
  message = run('launch/plan.py', *TINY, '--topology=v5p:2x2x1', *flags, fails=True).strip()
  assert message.startswith(f'error: {said}') and message.endswith('; leave it out')
