import pytest

from sorajax.plan.hlo import Program, members
from sorajax.plan.hlo_text import replica_groups


@pytest.mark.parametrize(
  'text, groups',
  [
    ('replica_groups={{0,1},{2,3}}', [[0, 1], [2, 3]]),
    ('replica_groups=[2,2]<=[4]', [[0, 1], [2, 3]]),
    ('replica_groups=[2,2]<=[2,2]T(1,0)', [[0, 2], [1, 3]]),
    ("replica_groups=mesh['a'=2,'b'=2] {'a'}", [[0, 2], [1, 3]]),
    ("replica_groups=mesh['a'=2,'b'=2] {'b'}", [[0, 1], [2, 3]]),
    ("replica_groups=mesh['a'=2,'b'=2], device_ids=([2,2]T(1,0)) {'a'}", [[0, 1], [2, 3]]),
    ('replica_groups={}', [[0, 1, 2, 3]]),
    ('to_apply=%sum', []),
  ],
)
def test_groups_are_read_in_every_form(text, groups):
  assert replica_groups(text, 4) == groups


WINDOW = 'window={size=3 stride=2 lhs_dilate=3}, dim_labels=0bf_0io->0bf'
BATCHED = f"""ENTRY %main (a: bf16[3,8,16], b: bf16[3,16,4]) -> bf16[3,8,4] {{
  %a = bf16[3,8,16]{{2,1,0}} parameter(0)
  %b = bf16[3,16,4]{{2,1,0}} parameter(1)
  ROOT %c = bf16[3,8,4]{{2,1,0}} convolution(%a, %b), {WINDOW}
}}
"""


def test_only_products_of_numbers_that_are_there_count():
  """Products of a batch of matrices are a convolution that mostly meets padding."""
  (work,) = Program(BATCHED, {'data': 1}).work()
  assert work.flops == 3 * 2 * 8 * 16 * 4
  assert work.bytes == 2 * (3 * 8 * 16 + 3 * 16 * 4 + 3 * 8 * 4)


COLLECTIVE = """ENTRY %main (a: f32[4], b: bf16[2,8]) -> f32[8] {{
  %a = f32[4]{{0}} parameter(0)
  %b = bf16[2,8]{{1,0}} parameter(1)
  %start = ((f32[4]{{0}}, bf16[2,8]{{1,0}}), (f32[8]{{0}}, bf16[4,8]{{1,0}})) \
all-gather-start(%a, %b), replica_groups={{{{0,1}},{{2,3}}}}, backend_config={{"is_sync":{sync}}}
  ROOT %done = (f32[8]{{0}}, bf16[4,8]{{1,0}}) all-gather-done(%start)
}}
"""


@pytest.mark.parametrize('sync', ['true', 'false'])
def test_the_start_of_communication_tells_what_goes_in_before_what_comes_out(sync):
  (one,) = Program(COLLECTIVE.format(sync=sync), {'data': 2, 'fsdp': 2}).collectives()
  assert (one.axes, one.members, one.bytes) == (('fsdp',), (0, 1), 8 * 4 + 4 * 8 * 2)
  assert one.overlapped == (sync == 'false')


HOSTED = """ENTRY %main (a: f32[4,8]) -> f32[4,8] {
  %a = f32[4,8]{1,0:T(8,128)S(5)} parameter(0)
  %in = (f32[4,8]{1,0:T(8,128)}, f32[4,8]{1,0:T(8,128)S(5)}, u32[]{:S(2)}) copy-start(%a)
  %b = f32[4,8]{1,0:T(8,128)} copy-done(%in)
  %near = (f32[4,8]{1,0:T(8,128)S(1)}, f32[4,8]{1,0:T(8,128)}, u32[]{:S(2)}) copy-start(%b)
  %c = f32[4,8]{1,0:T(8,128)S(1)} copy-done(%near)
  %d = f32[4,8]{1,0:T(8,128)} negate(%c)
  %out = (f32[4,8]{1,0:T(8,128)S(5)}, f32[4,8]{1,0:T(8,128)}, u32[]{:S(2)}) copy-start(%d)
  ROOT %e = f32[4,8]{1,0:T(8,128)S(5)} copy-done(%out)
}
"""


def test_what_goes_to_the_memory_of_the_host_and_back_is_told_from_other_copies():
  works = list(Program(HOSTED, {'data': 1}).work())
  assert [w.host_bytes for w in works if w.host_bytes] == [4 * 4 * 8] * 2
  assert sum(w.bytes for w in works) == 4 * 4 * 8  # what negate writes; it reads scratch memory


FAR = """ENTRY %main (a: f32[4]) -> f32[8] {{
  %a = f32[4]{{0}} parameter(0)
  %t = token[] after-all()
  %recv.1 = (f32[4]{{0}}, u32[], token[]) recv(%t), frontend_attributes={{\
_xla_host_transfer_rendezvous="sum.1",_xla_megascale_target="{{1,3:4}}x{{0:1}}",\
_xla_megascale_transfer_type="ALL_REDUCE"}}
  %send.1 = (f32[4]{{0}}, u32[], token[]) send(%a, %t), frontend_attributes={{\
_xla_host_transfer_rendezvous="sum.1",_xla_megascale_target="{{1,3:4}}x{{0:1}}",\
_xla_megascale_transfer_type="ALL_REDUCE"}}
  {meanwhile} = f32[4]{{0}} {operation}(%a)
  %done.1 = (f32[4]{{0}}, token[]) recv-done(%recv.1)
  ROOT %b = f32[4]{{0}} get-tuple-element(%done.1), index=0
}}
"""


@pytest.mark.parametrize('operation, apart', [('negate', True), ('bitcast', False)])
def test_communication_between_slices_goes_by_way_of_their_hosts(operation, apart):
  program = Program(FAR.format(meanwhile='%c', operation=operation), {'data': 3, 'fsdp': 2})
  (one,) = program.collectives()
  assert (one.kind, one.axes, one.members) == ('all-reduce', ('data',), (0, 2, 4))
  assert one.bytes == 4 * 4 and one.overlapped == apart


def test_devices_along_axes_of_a_mesh():
  mesh = {'data': 2, 'fsdp': 3, 'context': 2}
  assert members(mesh, ('context',)) == (0, 1) and members(mesh, ('data',)) == (0, 6)
  assert members(mesh, ('data', 'context')) == (0, 1, 6, 7)


CUDNN = """ENTRY %main (q: bf16[2,512,4,64], k: bf16[2,256,4,64]) -> bf16[2,512,4,64] {
  %q = bf16[2,512,4,64]{3,2,1,0} parameter(0)
  %k = bf16[2,256,4,64]{3,2,1,0} parameter(1)
  ROOT %o = (bf16[2,4,512,64]{3,1,2,0}, u8[0]{0}) custom-call(%q, %k, %k), \
custom_call_target="__cudnn$fmhaSoftmax", operand_layout_constraints={bf16[2,512,4,64]{3,2,1,0}}, \
backend_config={"intermediate_tensor_shape": {"dimensions": ["2", "4", "512", "256"]}}
}
"""


@pytest.mark.parametrize('back, matmuls', [('', 2), ('Backward', 5)])
def test_products_within_kernels_of_cudnn_are_known_by_their_shapes(back, matmuls):
  (work,) = Program(CUDNN.replace('Softmax"', f'Softmax{back}"'), {'data': 1}).work()
  assert work.kernel_flops == 2 * matmuls * 2 * 4 * 512 * 256 * 64


CUBLAS = """ENTRY %main (a: bf16[3,8,16], b: bf16[3,16,4]) -> bf16[3,8,4] {
  %a = bf16[3,8,16]{2,1,0} parameter(0)
  %b = bf16[3,16,4]{2,1,0} parameter(1)
  ROOT %c = (bf16[3,8,4]{2,1,0}, s8[64]{0}) custom-call(%a, %b), \
custom_call_target="__cublas$lt$matmul", backend_config={"gemm_backend_config":\
{"dot_dimension_numbers":{"lhs_contracting_dimensions":["2"],"rhs_contracting_dimensions":["1"]}}}
}
"""


def test_products_of_cublas_are_known_by_their_shapes():
  (work,) = Program(CUBLAS, {'data': 1}).work()
  assert work.flops == 3 * 2 * 8 * 16 * 4


KERNEL = """ENTRY %main (q: bf16[2,4,512,64], k: bf16[2,4,256,64]) -> bf16[2,4,512,64] {{
  %q = bf16[2,4,512,64]{{3,2,1,0}} parameter(0)
  %k = bf16[2,4,256,64]{{3,2,1,0}} parameter(1)
  %m = s8[1,2,2]{{2,1,0}} constant({{...}})
  ROOT %{name}.7 = bf16[2,4,512,64]{{3,2,1,0}} custom-call(%m, %q, %k, %k), {rest}
}}
"""


@pytest.mark.parametrize(
  'name, matmuls', [('splash_mha_fwd', 2), ('splash_mha_dkv', 5), ('other', 0)]
)
def test_products_within_kernels_of_attention_count(name, matmuls):
  q, k = 'bf16[2,4,512,64]{3,2,1,0}', 'bf16[2,4,256,64]{3,2,1,0}'
  shapes = f'operand_layout_constraints={{s8[1,2,2]{{2,1,0}}, {q}, {k}, {k}}}'
  rest = f'custom_call_target="tpu_custom_call", {shapes}, frontend_attributes={{}}'
  text = KERNEL.format(name=name, rest=rest)
  (work,) = Program(text, {'data': 1}).work()
  assert work.kernel_flops == matmuls * 2 * 2 * 4 * 512 * 256 * 64


SLICES = """%write (p: bf16[48,8,16], u: bf16[1,8,16], i: s32[]) -> bf16[48,8,16] {
  %p = bf16[48,8,16]{2,1,0} parameter(0)
  %u = bf16[1,8,16]{2,1,0} parameter(1)
  %i = s32[] parameter(2)
  ROOT %d = bf16[48,8,16]{2,1,0} dynamic-update-slice(%p, %u, %i, %i, %i)
}

ENTRY %main (a: bf16[48,8,16], b: bf16[1,8,16], c: s32[]) -> bf16[48,8,16] {
  %a = bf16[48,8,16]{2,1,0} parameter(0)
  %b = bf16[1,8,16]{2,1,0} parameter(1)
  %c = s32[] parameter(2)
  %cut = bf16[1,8,16]{2,1,0} dynamic-slice(%a, %c, %c, %c), dynamic_slice_sizes={1,8,16}
  ROOT %out = bf16[48,8,16]{2,1,0} fusion(%a, %b, %c), kind=kLoop, calls=%write
}
"""


def test_a_slice_moves_itself_and_not_its_array():
  size = 2 * 8 * 16
  cut, out = Program(SLICES, {'data': 1}).work()
  assert cut.bytes == pytest.approx(2 * size, abs=16) and out.bytes == pytest.approx(
    2 * size, abs=16
  )


NESTED = """%cut (p: bf16[48,8,16], i: s32[]) -> bf16[1,8,16] {
  %p = bf16[48,8,16]{2,1,0} parameter(0)
  %i = s32[] parameter(1)
  ROOT %c = bf16[1,8,16]{2,1,0} dynamic-slice(%p, %i, %i, %i), dynamic_slice_sizes={1,8,16}
}

%more (j: s32[], q: bf16[48,8,16], r: bf16[1,8,16]) -> bf16[1,8,16] {
  %r = bf16[1,8,16]{2,1,0} parameter(2)
  %q = bf16[48,8,16]{2,1,0} parameter(1)
  %j = s32[] parameter(0)
  %inner = bf16[1,8,16]{2,1,0} fusion(%q, %j), kind=kLoop, calls=%cut
  ROOT %sum = bf16[1,8,16]{2,1,0} add(%inner, %r)
}

ENTRY %main (a: bf16[48,8,16], b: bf16[1,8,16], k: s32[]) -> bf16[1,8,16] {
  %a = bf16[48,8,16]{2,1,0} parameter(0)
  %b = bf16[1,8,16]{2,1,0} parameter(1)
  %k = s32[] parameter(2)
  ROOT %out = bf16[1,8,16]{2,1,0} fusion(%k, %a, %b), kind=kLoop, calls=%more
}
"""


def test_a_slice_that_is_cut_within_a_fusion_of_fusions_moves_itself_alone():
  (out,) = Program(NESTED, {'data': 1}).work()
  assert out.bytes == pytest.approx(3 * 2 * 8 * 16, abs=16)


BRANCHES = """%small (x: bf16[8,8]) -> bf16[8,8] {{
  %x = bf16[8,8]{{1,0}} parameter(0)
  ROOT %s = bf16[8,8]{{1,0}} dot(%x, %x), lhs_contracting_dims={{1}}
}}

%large (y: bf16[8,8]) -> bf16[8,8] {{
  %y = bf16[8,8]{{1,0}} parameter(0)
  %l = bf16[8,8]{{1,0}} call(%y), to_apply=%small
  ROOT %m = bf16[8,8]{{1,0}} call(%l), to_apply=%small
}}

ENTRY %main (a: bf16[8,8], i: s32[]) -> bf16[8,8] {{
  %a = bf16[8,8]{{1,0}} parameter(0)
  %i = s32[] parameter(1)
  ROOT %out = bf16[8,8]{{1,0}} conditional(%i, %a, %a), {branches}
}}
"""


@pytest.mark.parametrize(
  'branches',
  ['branch_computations={%small, %large}', 'true_computation=%large, false_computation=%small'],
)
def test_a_branch_counts_as_often_as_it_is_taken(branches):
  """What several call counts once for each call."""
  program = Program(BRANCHES.format(branches=branches), {'data': 1}, second=0.25)
  counted = sum(w.flops * w.times for w in program.work())
  assert counted == (0.75 + 0.25 * 2) * 2 * 8**3
