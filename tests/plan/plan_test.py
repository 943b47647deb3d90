import dataclasses
import importlib.util
import math
import runpy
from pathlib import Path

import jax
import pytest
from tiny import refused

from sorajax import build, sharding
from sorajax.plan import chips, flops, formula, plan, report, topology, work
from sorajax.plan.advice import advice
from sorajax.plan.estimate import Assumptions, Estimate, estimate
from sorajax.plan.hlo import Program
from sorajax.plan.memory import Memory
from sorajax.plan.planned import Plan
from sorajax.plan.program import QUICK, Compiled

CONFIGS = Path(__file__).parents[2] / 'configs'
GIB = 2**30
SIDE = 8192
# A loop of three matmuls of 8192 × 8192, after which the result is summed over all 16 devices.
LOOP = f"""HloModule step

%body (p: (s32[], bf16[{SIDE},{SIDE}])) -> (s32[], bf16[{SIDE},{SIDE}]) {{
  %p = (s32[], bf16[{SIDE},{SIDE}]{{1,0}}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %x = bf16[{SIDE},{SIDE}]{{1,0}} get-tuple-element(%p), index=1
  %y = bf16[{SIDE},{SIDE}]{{1,0}} dot(%x, %x), lhs_contracting_dims={{1}}
  ROOT %t = (s32[], bf16[{SIDE},{SIDE}]{{1,0}}) tuple(%i, %y)
}}

%cond (p: (s32[], bf16[{SIDE},{SIDE}])) -> pred[] {{
  %p.1 = (s32[], bf16[{SIDE},{SIDE}]{{1,0}}) parameter(0)
  %i.1 = s32[] get-tuple-element(%p.1), index=0
  %three = s32[] constant(3)
  ROOT %less = pred[] compare(%i.1, %three), direction=LT
}}

ENTRY %main (a: bf16[{SIDE},{SIDE}]) -> bf16[{SIDE},{SIDE}] {{
  %a = bf16[{SIDE},{SIDE}]{{1,0}} parameter(0)
  %zero = s32[] constant(0)
  %start = (s32[], bf16[{SIDE},{SIDE}]{{1,0}}) tuple(%zero, %a)
  %loop = (s32[], bf16[{SIDE},{SIDE}]{{1,0}}) while(%start), condition=%cond, body=%body
  %out = bf16[{SIDE},{SIDE}]{{1,0}} get-tuple-element(%loop), index=1
  ROOT %sum = bf16[{SIDE},{SIDE}]{{1,0}} all-reduce(%out), replica_groups=[1,16]<=[16]
}}
"""
MESH = {'data': 1, 'fsdp': 16, 'context': 1, 'tensor': 1}
EXACT = Assumptions(matmuls=1.0, kernels=1.0, memory=1.0, links=1.0, start_s=0.0)


def settings():
  config = runpy.run_path(str(CONFIGS / 'ltx2.py'))['get_config']('2.3')
  return build.settings(config)


def step() -> work.Step:
  chosen = settings()
  (bucket,) = chosen.data.in_order()
  return work.Step(chosen, bucket)


def clips(rows: int | None = 10, **sample) -> work.Clips:
  chosen = settings()
  chosen = dataclasses.replace(chosen, sample=dataclasses.replace(chosen.sample, **sample))
  return work.clips_of(chosen, rows, sharding.abstract_mesh((1, 4, 4, 1)))


def made(peak: float = 20 * GIB, price: float = 0.0, what: work.Work | None = None) -> Plan:
  program = Program(LOOP, MESH)
  held = {'weights': 4.0 * GIB, 'moving average': 4.0 * GIB, 'optimiser': 8.0 * GIB}
  compiled = Compiled(Memory(held, peak), program, MESH, 60.0, 19_000_000_000, 3 * GIB)
  return Plan(
    'big', 'v6e:4x4', chips.CHIPS['v6e'], 16, what or step(), compiled,
    estimate(program, chips.CHIPS['v6e'], (4, 4), EXACT), EXACT, price,
  )  # fmt: skip


def test_a_step_takes_its_matmuls_and_the_communication_after_them():
  chip = chips.CHIPS['v6e']
  found = estimate(Program(LOOP, MESH), chip, (4, 4), EXACT)
  assert found.flops == 3 * 2 * SIDE**3
  assert found.matmuls == pytest.approx(3 * 2 * SIDE**3 / chip.flops)
  # Two lines of four chips each: a chip at their ends sends one way along either.
  sent = 2 * 15 / 16 * 2 * SIDE**2
  assert found.exposed == pytest.approx(sent / (2 * chip.network.link))
  assert found.seconds == pytest.approx(found.matmuls + found.exposed)


def test_rings_send_both_ways():
  closed = estimate(Program(LOOP, MESH), chips.CHIPS['v6e'], (16, 16), EXACT)
  open_ = estimate(Program(LOOP, MESH), chips.CHIPS['v6e'], (8, 8), EXACT)
  assert open_.exposed == pytest.approx(closed.exposed)  # one ring of 16, or lines both ways of 8
  cube = estimate(Program(LOOP, MESH), chips.CHIPS['v5p'], (4, 4, 4), EXACT)
  assert cube.exposed == pytest.approx(closed.exposed / 2)


def test_a_part_of_a_ring_is_a_line():
  network = chips.CHIPS['v6e'].network
  speeds = [network.speed(range(n), (16, 16)) / network.link for n in (2, 8, 16, 64, 256)]
  assert speeds == [1, 1, 2, 3, 4]


def test_communication_between_machines_goes_through_all_their_cards():
  one, whole, apart = range(8), range(64), range(0, 64, 8)
  network = chips.CHIPS['h100'].network
  assert network.speed(one, (8,)) == network.speed(one, (8, 8)) == network.near
  assert network.speed(apart, (8, 8)) == network.far
  assert network.speed(whole, (8, 8)) == min(network.near, 8 * network.far)
  assert network.speed(range(0, 64, 2), (8, 8)) == 4 * network.far


def test_communication_between_slices_goes_through_the_cards_of_all_their_chips():
  chip, double, sides = chips.CHIPS['v5p'], chips.CHIPS['tpu7x'], (2, 2, 2)
  within = chip.speed(range(8), sides)
  assert within == chip.speed(range(8, 16), sides) == chip.network.speed(range(8), sides)
  assert chip.speed((0, 8), sides) == chip.far < chip.speed(range(16), sides) == 8 * chip.far
  assert chip.speed((0, 2, 8, 10), sides) == 2 * chip.far
  assert double.speed((0, 15), sides) == double.network.link / 2  # of one slice
  assert double.speed((0, 16), sides) == double.far / 2
  faster = dataclasses.replace(chip, far=chip.network.link)
  assert faster.speed(range(16), sides) == faster.network.speed(range(8), sides)


def test_less_of_what_chips_can_do_takes_longer():
  exact = estimate(Program(LOOP, MESH), chips.CHIPS['v6e'], (4, 4), EXACT)
  half = dataclasses.replace(EXACT, matmuls=0.5, links=0.5)
  slow = estimate(Program(LOOP, MESH), chips.CHIPS['v6e'], (4, 4), half)
  assert slow.seconds == pytest.approx(2 * exact.seconds)


def test_a_plan_says_whether_it_fits_what_binds_and_what_it_costs():
  text = report.text(made(price=2.5))
  assert 'big on v6e:4x4: 16 chips' in text and 'fsdp=16' in text
  assert 'compiled in 60 s, with 3.0 GiB of the memory here at most' in text
  assert 'of 32: fits with 38 % to spare' in text
  assert 'activations, gradients         4.00' in text
  assert 'all-reduce over fsdp' in text and '0.12' in text
  assert 'cost a day                        960 at 2.5 a chip-hour' in text
  assert 'which is tight' in report.text(made(peak=30 * GIB))


def test_what_waits_in_the_memory_of_the_host_is_told_and_takes_its_time():
  found = {}
  for remat in ('full', 'offload'):
    own = with_remat(remat)
    sizes = {'data': 1, 'fsdp': 16, 'context': 1, 'tensor': 1}
    by_formula = formula.Formula(own, sizes, formula.shapes_of(own.settings))
    found[remat] = by_formula.memory(), estimate(by_formula, chips.CHIPS['v6e'], (4, 4), EXACT)
  (here, fast), (there, slow) = found.values()
  assert there.offloaded == pytest.approx(here.peak - there.peak) and not here.offloaded
  assert slow.host == pytest.approx(2 * there.offloaded / EXACT.host) and not fast.host
  assert slow.seconds == pytest.approx(fast.seconds + slow.host)
  plan = made()
  memory = dataclasses.replace(plan.compiled.memory, offloaded=3 * GIB)
  compiled = dataclasses.replace(plan.compiled, memory=memory)
  spent = dataclasses.replace(plan.estimate, host=0.25)
  changed = dataclasses.replace(plan, compiled=compiled, estimate=spent)
  told = report.text(changed)
  assert 'beside, in that of the host' in told and 'to the memory of the host and back' in told
  assert 'to the memory of the host and back' not in report.text(plan)
  size = f'{compiled.memory.offloaded / GIB:.2f} GiB beside, in that of the host'
  assert size in report.page(changed) and 'that of the host' not in report.page(plan)


def test_utilisation_is_useful_work_by_what_chips_can_do():
  plan, own = made(), step()
  useful = 3 * flops.forwards(own.settings.transformer, own.bucket).total * own.bucket.rows / 16
  assert plan.mfu == pytest.approx(useful / (plan.estimate.seconds * plan.chip.flops))


def test_a_batch_of_clips_is_of_the_size_that_sampling_makes():
  """121 frames of 512×768 and their sound, in rows and tokens that divide over the mesh."""
  bucket = clips(rows=10).bucket
  assert (bucket.rows, bucket.video, bucket.text) == (12, 16 * 16 * 24, 1024)
  assert bucket.audio % 4 == 0 and 0 <= bucket.audio - 121 / 24 * 16_000 / 640 < 5


def test_steps_and_guidance_of_sampling_count():
  one, all_ = clips(steps=1), clips()
  assert [n for _, n in all_.asked] == [30] * 4
  assert all_.flops().total == pytest.approx(30 * one.flops().total)
  apart = [p for p, _ in all_.asked if not p.joined]
  assert len(apart) == 1
  free = clips(guidance=dict.fromkeys(('audio', 'video'), 1.0))
  c, b = all_.settings.transformer, all_.bucket
  assert all_.flops().total - free.flops().total == pytest.approx(
    30 * b.rows * flops.forwards(c, b).total
  )


def test_a_plan_of_sampling_says_what_a_clip_takes_and_costs():
  plan = made(what=clips(), price=3600.0)
  text, seconds = report.text(plan), plan.estimate.seconds
  assert 'big on v6e:4x4: 16 chips' in text and '12 clips at once' in text
  assert '30 plain, 30 away from no prompt, 30 away from streams apart, 30 away from' in text
  assert f'clip-seconds a day                {86_400 * 12 * 5.0 / seconds:,.0f}' in text
  assert f'cost a clip                       {16 * seconds / 12:.4g}' in text
  assert (
    'decoding by the codec' in text
    and 'optimiser' in text
    and 'activations                    4.00' in text
  )


def test_guidance_within_an_interval_adds_passes_there_alone():
  some = clips(steps=10, interval=(0.5, 1.0))
  (_, plain), *weaker = some.asked
  assert plain == 10 and {n for _, n in weaker} == {round(10 * some.guided)}
  assert 0 < some.guided < 1 == clips().guided


def test_the_page_needs_nothing_else_and_lies_beside_the_program(tmp_path):
  page = report.write(made(), tmp_path / 'plans')
  assert page.name == 'big-v6e-4x4.html'
  text = page.read_text()
  assert 'http' not in text and 'src=' not in text and 'weights 4.00 GiB' in text
  assert page.with_suffix('.hlo.txt').read_text() == LOOP


def test_the_config_of_wan_is_of_its_size():
  """81 frames of 720×1280 by strides of 4, 16 and 16; 14 billion parameters without the text's."""
  own = build.settings(runpy.run_path(str(CONFIGS / 'wan.py'))['get_config']())
  (bucket,) = own.data.in_order()
  clip = work.clips_of(own, 2, sharding.abstract_mesh((1, 2, 1, 1))).bucket
  assert bucket.video == clip.video == 21 * 45 * 80 and bucket.audio >= clip.audio
  parameters = jax.tree.leaves(formula.shapes_of(own)['transformer'])
  assert 14e9 < sum(math.prod(leaf.shape) for leaf in parameters) < 15e9


def test_unknown_chips_and_topologies_are_refused():
  with refused("no chip 'v9' in the table; choose one of v5e, v5p, v6e, tpu7x"):
    chips.chip_of('v9:4x4')
  with refused("no topology 'v5p:4by4'; write CHIP:SIDExSIDE"):
    chips.sides_of('v5p:4by4')
  assert chips.sides_of('v5p:4x4x8') == (4, 4, 8)


@pytest.mark.skipif(importlib.util.find_spec('libtpu') is not None, reason='has the compiler')
def test_without_a_compiler_it_is_said_how_to_get_one(monkeypatch):
  monkeypatch.delenv('TPU_LIBRARY_PATH', raising=False)
  with refused(r"no compiler for TPUs here; pip install 'sorajax\[tpu\]'"):
    topology.describe('v5p:2x2x1')


def test_less_effort_is_asked_for_by_names_that_this_jax_knows():
  double = jax.jit(lambda x: 2 * x).lower(1.0)
  assert double.compile(QUICK)(2.0) == 4.0


def test_nothing_asked_for_and_codecs_that_are_not_there_are_refused():
  with refused('--rows=0 asks for nothing; give 1 or more'):
    plan.of_sampling(settings(), plan.Place('big', 'v6e:4x4'), rows=0)
  mesh = sharding.abstract_mesh((1, 1, 1, 1))
  with refused('nowhere holds no codec'):
    work.clips_of(dataclasses.replace(settings(), trained='nowhere'), 1, mesh)


QUIET = Estimate(1.0, 0.0, 0.0, 0.0, 0.0, 1.0, {})


def advised(peak: float = 24 * GIB, what=None, fsdp: int = 16, estimate=QUIET) -> Plan:
  found = made(peak, what=what)
  compiled = dataclasses.replace(found.compiled, mesh={**MESH, 'fsdp': fsdp})
  return dataclasses.replace(found, compiled=compiled, estimate=estimate)


def with_remat(remat: str):
  own = step()
  transformer = dataclasses.replace(own.settings.transformer, remat=remat)
  return dataclasses.replace(
    own, settings=dataclasses.replace(own.settings, transformer=transformer)
  )


def said(*args, **kwargs) -> str:
  return '; '.join(advice(advised(*args, **kwargs)))


def test_nothing_is_said_where_nothing_is_wasted():
  assert not said() and 'take fewer' not in report.text(advised())
  assert 'take fewer' in report.text(advised(31 * GIB))


@pytest.mark.parametrize(
  'fsdp, streams', [(1, ''), (16, ''), (32, 'audio'), (64, 'audio video')], ids=str
)
def test_weights_that_are_cut_finer_than_a_tile_and_sent_whole_are_told(fsdp, streams):
  communication = {
    ('all-gather', ('fsdp',), False): (10.0, 0.0),
    ('all-reduce', ('fsdp',), False): (2.0, 0.0),
  }
  whole = dataclasses.replace(QUIET, by_collective=communication)
  assert not said(fsdp=fsdp)  # the compiler gathered them all the same
  lines = list(advice(advised(fsdp=fsdp, estimate=whole)))
  assert [line.split(' channels of ')[1].split()[0] for line in lines] == streams.split()
  if fsdp == 64:
    assert 'fsdp=64 leaves 64 of 4096 channels' in lines[1] and 'fsdp of 32 at most' in lines[1]


def test_little_memory_asks_for_less_and_much_for_less_work():
  assert '6 % of memory is left: take fewer --rows, remat=offload or more of fsdp' in said(
    30 * GIB, with_remat('full')
  )
  assert 'fewer --rows, remat=narrow or more' in said(30 * GIB, with_remat('dots'))
  assert 'fewer --rows, remat=full or more' in said(30 * GIB, with_remat('attention'))
  assert 'computed twice: try remat=attention' in said(12 * GIB, with_remat('full'))
  assert 'computed twice: try remat=none' in said(12 * GIB, with_remat('dots'))
  assert not said(12 * GIB, with_remat('none')) and not said(12 * GIB, clips())


def test_communication_that_all_wait_for_is_told_with_where_it_goes():
  by = {
    ('all-gather', ('fsdp',), False): (1.0, 0.3), ('all-reduce', ('data',), False): (1.0, 0.1),
    ('all-to-all', ('context',), True): (1.0, 9.0),
  }  # fmt: skip
  loud = dataclasses.replace(QUIET, exposed=0.4, hidden=0.9, by_collective=by)
  assert '29 % of the time is exposed communication, most of it over fsdp' in said(estimate=loud)
  assert not said(estimate=dataclasses.replace(loud, exposed=0.2))
  page = report.page(advised(estimate=loud))
  assert 'fewer devices along fsdp</b>' in page.replace('<p>', '</b>')
