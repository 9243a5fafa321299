"""Streaming forms as artefacts: converted, saved, executed, compared with the offline original on every sample."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

import voxport
from converters.component import Component, format_
from converters.options import KEEPS, ConversionError, FormatOptions, PrecisionOptions, StreamOptions
from converters.streaming import offline_multiply_adds, streaming_component, truncation_db
from ops.streaming import KEEPS as PLACES
from ops.streaming import Input, read
from runtime.engines import Execution, open_engine
from runtime.mil.package import read_specification
from runtime.playing.player import open_player
from runtime.playing.stream import StreamingArtefact
from runtime.speech.metrics import snr_db
from tests.ops.streaming.networks import CHANNELS, Recurrent, Residual, networks
from tests.ops.streaming.player import FORMS, described, example, lively, play, streaming
from tests.ops.streaming.test_networks import offline, prepared


def converted(made, precision, name, folder):
    format_module, options = format_(name), FormatOptions(name)
    if len(made.functions) > 1:
        return format_module.convert_functions(made.functions, PrecisionOptions(precision), options, folder).path
    return format_module.convert(made.functions["edge"], PrecisionOptions(precision), options, folder).path


def opened(path, form, engine, **options):
    def function(name):
        chosen = {"function": name} if name and path.suffix == ".mlpackage" else {}
        return open_engine(path, Execution(engine), **chosen, **options)

    return StreamingArtefact(form, function(form.edge), function(form.steady) if form.steady else None)


class Drawn(torch.nn.Module):
    """A network of everything: strides, both upsamplings, a join, other paddings, and optionally a recurrent layer."""

    def __init__(self, recurrent):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv1d(CHANNELS, CHANNELS, 5, 1, 2, padding_mode="reflect"),
            torch.nn.Conv1d(CHANNELS, CHANNELS, 4, 2, 1),
            *([Recurrent(torch.nn.LSTM, 1)] if recurrent else []),
            Residual(3, 2, True),
            torch.nn.ConvTranspose1d(CHANNELS, CHANNELS, 7, 4, 2, 1),
            torch.nn.BatchNorm1d(CHANNELS),
            torch.nn.Upsample(scale_factor=2, mode="linear"),
            torch.nn.Conv1d(CHANNELS, CHANNELS, 3, 1, 2, 2, padding_mode="replicate"),
            torch.nn.MaxPool1d(4, 2, 1),
        )

    def forward(self, x):
        return self.layers(x)


OTHERS = ("window", "stateful", "stateful-stage", "recurrent-layer", "recurrent")


@pytest.mark.parametrize("form", ["stateful-layer", *(pytest.param(name, marks=pytest.mark.proof) for name in OTHERS)])
def test_a_network_of_everything_streams_through_its_artefact(form, tmp_path):
    torch.manual_seed(0)
    module = lively(Drawn("recurrent" in form)).float()
    network = read(module, [Input("x", (1, CHANNELS, 0), 2, 2)], polyphase=True)
    made = streaming(network, form.replace("recurrent", "stateful"), 3)
    path = converted(made, "fp32", "mlprogram", tmp_path)
    for frames in (3, 29):
        taken = example(network.inputs, frames)
        with torch.inference_mode():
            whole = module(**taken)
        for engine in ("mil", "onnx"):
            (streamed,) = play(opened(path, made.form, engine), taken, [1] * frames)
            assert streamed.shape == whole.shape
            assert (streamed - whole).abs().max() < 5e-5, engine


DRAWN = settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture],
)


@DRAWN
@given(networks(), st.sampled_from(FORMS), st.integers(1, 4), st.integers(5, 20))
@pytest.mark.proof
def test_networks_that_nobody_chose_stream_through_their_artefacts(tmp_path_factory, network, form, chunk, frames):
    module, inputs = prepared(network, torch.float32)
    whole = example(inputs, frames)
    expected = offline(module, whole)
    assume(expected is not None and expected.shape[-1] > 0)
    read_network = read(module, inputs, polyphase=True)
    made = streaming(read_network, form, chunk)
    path = converted(made, "fp32", "mlprogram", tmp_path_factory.mktemp("drawn"))
    for engine in ("mil", "onnx"):
        (streamed,) = play(opened(path, made.form, engine), whole)
        assert streamed.shape == expected.shape
        assert (streamed - expected).abs().max() < 5e-5 * max(1.0, float(expected.abs().max())), engine


def test_the_job_converts_a_stream_that_passes_the_gates_of_the_offline_one(stateful, width):
    assert stateful.passed
    record = stateful.bundle.component()
    form = record.stream
    assert (form.mode, form.exact, form.chunk) == ("stateful", True, 8)
    assert (form.delay, form.lookahead) == {"small": (1111, 5), "full": (3258, 13)}[width]
    assert (form.edge, form.steady, form.state) == ("edge", "steady", "explicit")
    assert len(form.states) <= 6, "packed per stage"
    assert sum(np.prod(state.shape) for state in form.states) < 96_096, "no more than layer by layer"
    assert "stateful8" in stateful.bundle.manifest.name
    timed = next(m for m in stateful.measurements if m.engine == "onnx")
    assert (timed.mode, timed.chunk_frames, timed.latency.window_frames) == ("stateful", 8, len(form.inputs[0]))


def test_half_precision_streamed_is_as_near_offline_half_precision_as_that_is_to_single(stateful, fp16):
    """The error of streaming hides below the one of rounding."""
    record = fp16.bundle.component()
    case = fp16.bundle.goldens(record)[0]
    mel = case.inputs["mel"][..., :150]
    offline = open_player(fp16.bundle, Execution("mil")).play(mel)
    streamed = open_player(stateful.bundle, Execution("mil")).play(mel)
    exact = case.outputs["audio"][..., : 150 * 256 - 20 * 256]  # the last frames know what follows in the whole clip
    rounding = snr_db(exact, offline[..., : exact.shape[-1]])
    assert snr_db(offline, streamed) > rounding


def test_the_core_ml_engine_calls_both_functions(stateful):
    """Its own code, over enable_predict."""
    voxport.enable_predict("onnx")
    form, path = stateful.bundle.component().stream, stateful.bundle.artefact(stateful.bundle.component())
    mel = stateful.bundle.goldens(stateful.bundle.component())[0].inputs["mel"][..., :90]
    given = {"mel": torch.from_numpy(mel)}
    (expected,) = play(opened(path, form, "onnx"), given)
    (streamed,) = play(opened(path, form, "coreml", compute_unit="cpu", guard_seconds=0), given)
    assert torch.equal(streamed, expected)


def test_weights_are_stored_once_for_both_functions(stateful):
    def weights(function):
        """Where in the file each constant of a function lies that is not in the program itself."""
        (block,) = function.block_specializations.values()
        constants = [op for op in block.operations if op.type == "const"]
        return {op.attributes["val"].blobFileValue.offset for op in constants} - {0}

    program = read_specification(stateful.bundle.artefact(stateful.bundle.component())).mlProgram
    steady, edge = weights(program.functions["steady"]), weights(program.functions["edge"])
    assert len(steady) > 10
    assert steady <= edge


def test_masks_at_the_ends_of_an_utterance_are_made_at_once(stateful, width):
    """A phone pays for each operation."""
    program = read_specification(stateful.bundle.artefact(stateful.bundle.component())).mlProgram
    operations = {}
    for name, function in program.functions.items():
        (block,) = function.block_specializations.values()
        operations[name] = [op.type for op in block.operations if op.type != "const"]
    masked = operations["edge"].count("mul") - operations["steady"].count("mul")
    assert 0 < masked <= operations["edge"].count("conv")
    assert len(operations["edge"]) - len(operations["steady"]) - masked <= 6  # two comparisons to split
    if width == "full":
        assert len(operations["edge"]) <= 400


def test_core_mls_own_states_hold_the_same(generator, tmp_path):
    options = StreamOptions("stateful", 8, state="mlstate", keep="stage")
    made = streaming_component(generator, options, "polyphase", True)
    assert list(made.functions) == ["edge"]
    path = converted(made, "fp16", "mlprogram", tmp_path)
    mel = torch.randn(1, 80, 18, generator=torch.Generator().manual_seed(0)) - 5
    with torch.inference_mode():
        offline = generator.module(mel)
    for engine, least in (("mil", 35), ("onnx", 40)):
        played = opened(path, made.form, engine)
        assert not any(spec.name.startswith("state") for spec in played.edge.inputs)
        (streamed,) = play(played, {"mel": mel})
        if engine == "onnx":
            (again,) = play(played, {"mel": mel})
            assert torch.equal(streamed, again), "each stream has states of its own"
        assert snr_db(offline.numpy(), streamed.numpy()) > least
    voxport.enable_predict("onnx")
    played = opened(path, made.form, "coreml", compute_unit="cpu", guard_seconds=0)
    (by_predict,) = play(played, {"mel": mel})
    assert torch.equal(by_predict, streamed), "the Core ML engine's own code, over enable_predict"
    with pytest.raises(ConversionError, match="fp16"):
        converted(made, "fp32", "mlprogram", tmp_path)
    with pytest.raises(ConversionError, match="explicit"):
        converted(made, "fp16", "onnx", tmp_path)


@pytest.mark.parametrize("precision", ["fp32", pytest.param("fp16", marks=pytest.mark.proof)])
def test_an_onnx_file_streams_too(precision, generator, tmp_path):
    made = streaming_component(generator, StreamOptions("window", 8), "polyphase", False)
    played = opened(converted(made, precision, "onnx", tmp_path), made.form, "onnx")
    mel = torch.randn(1, 80, 30, generator=torch.Generator().manual_seed(0)) - 5
    with torch.inference_mode():
        offline = generator.module(mel)
    (streamed,) = play(played, {"mel": mel})
    assert snr_db(offline.numpy(), streamed.numpy()) > {"fp32": 95, "fp16": 35}[precision]


@pytest.mark.parametrize("recurrent", [False, True])
def test_what_a_call_costs_is_known_from_two_short_ones(recurrent):
    torch.manual_seed(0)
    module = lively(Drawn(recurrent)).float()
    component = described(read(module, [Input("x", (1, CHANNELS, 0), 2, 2)]))
    counted = offline_multiply_adds(dataclasses.replace(component, module=module, shortest=4))
    for positions in (6, 32, 114):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module.to("meta")(torch.zeros(1, CHANNELS, positions, device="meta"))
        assert counted(positions) == counter.get_total_flops() / 2 > 0


def test_what_a_bounded_lookahead_costs_falls_as_it_grows(generator, fp16, width, monkeypatch):
    """On speech; from the full lookahead on nothing is cut off."""
    monkeypatch.setattr("converters.streaming._CHUNKS_PER_CLIP", 5)
    mel = torch.from_numpy(fp16.bundle.goldens(fp16.bundle.component())[0].inputs["mel"])
    table = truncation_db(generator, StreamOptions("lowlat", 4, 5), [{"mel": mel}])
    repeated = [pair[0] for pair in table.values()]
    assert list(table) == list(range(3, 14))
    assert all(later > earlier - 5 for earlier, later in itertools.pairwise(repeated))
    assert table[13][0] > 100
    if width == "full":
        assert table[5][0] > table[5][1], "repeating the last frame is better than the layers' zeros"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"mode": "stream"}, "there is no stream.mode 'stream'"),
        ({"chunk": 0}, "stream needs chunk >= 1"),
        ({"lookahead": -1}, "lookahead >= 0"),
        ({"state": "kept"}, "there is no stream.state 'kept'"),
        ({"keep": "none"}, "there is no stream.keep 'none'"),
        ({"mode": "window", "state": "mlstate"}, "for stream=stateful, not window"),
    ],
)
def test_options_that_cannot_be_are_sentences(change, sentence):
    with pytest.raises(ConversionError, match=sentence):
        StreamOptions(**change)


def test_the_setting_has_the_places_of_state_that_the_rewrite_has():
    assert KEEPS == PLACES


def test_a_component_that_is_not_local_is_refused_with_the_layers_name(generator):
    class Normalised(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.norm = inner, torch.nn.InstanceNorm1d(80)

        def forward(self, mel):
            return self.inner(self.norm(mel))

    changed = dataclasses.replace(generator, module=Normalised(generator.module).eval())
    with pytest.raises(ConversionError, match="generator cannot be streamed exactly: layer norm, instance_norm"):
        streaming_component(changed, StreamOptions("window", 8), "native", False)
    assert isinstance(changed, Component)
