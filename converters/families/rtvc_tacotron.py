"""Real-Time-Voice-Cloning's synthesizer: Tacotron (Wang et al. 2017, arXiv 1703.10135) with location-sensitive
attention, conditioned on a speaker embedding (Jia et al. 2018, arXiv 1806.04558).

Components `encoder`, `decoder_step` and `postnet`; the loop between them is the runtime's
(runtime/playing/chains/attention.py), the audio a vocoder's. Dropout stays on in both prenets, as upstream has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from checkpoints import CheckpointError
from checkpoints.coqui_audio import mel_settings
from checkpoints.front_ends import rtvc_text
from checkpoints.load import LoadedCheckpoint
from converters.component import Component
from converters.options import Shape
from converters.parts import embedding, known_settings, part_component, sized_axis
from converters.upstream.recurrent import both_ways, gru_cell, lstm_cell, one_way
from runtime.bundle.spec import Dim, TensorSpec
from runtime.bundle.voice import Attending, VoiceRecord
from runtime.speech.mel import Mel

TEXT_SIZES = (192, 512)
FRAME_SIZES = (384, 1024)
MOST_FRAMES = 20  # Decoder.max_r: the layers are made for so many frames a step
LEAST_FRAMES = 10  # Tacotron.generate: it ends after more than these
SILENCE = -3.4  # tts_stop_threshold: frames at the end whose loudest band is below it are cut off
_LEAST = -1e4  # of an energy: nothing is left of it after a softmax, in half precision too


@dataclass(frozen=True)
class RtvcSettings:
    """synthesizer/hparams.py; the checkpoint itself has no config, but a JSON beside it may say otherwise."""

    tts_embed_dims: int = 512
    tts_encoder_dims: int = 256
    tts_decoder_dims: int = 128
    tts_postnet_dims: int = 512
    tts_encoder_K: int = 5
    tts_lstm_dims: int = 1024
    tts_postnet_K: int = 5
    tts_num_highways: int = 4
    speaker_embedding_size: int = 256
    max_frames: int = 2000

    @property
    def memory_channels(self) -> int:
        return self.tts_encoder_dims + self.speaker_embedding_size


class Tacotron(nn.Module):
    """Under upstream's names, so that its checkpoints load."""

    encoder: Any
    decoder: Any

    def __init__(self, settings: RtvcSettings, mel: Mel, symbols: int) -> None:
        super().__init__()
        self.settings, self.mel, self.frames_per_step = settings, mel, 1
        encoded, decoder, bands = settings.tts_encoder_dims, settings.tts_decoder_dims, mel.n_mels
        self.encoder = nn.ModuleDict(
            {
                "embedding": nn.Embedding(symbols, settings.tts_embed_dims),
                "pre_net": PreNet(settings.tts_embed_dims, encoded),
                "cbhg": CBHG(settings.tts_encoder_K, encoded, encoded, (encoded, encoded), settings.tts_num_highways),
            }
        )
        self.encoder_proj = nn.Linear(settings.memory_channels, decoder, bias=False)
        width = settings.tts_lstm_dims
        self.decoder = nn.ModuleDict(
            {
                "prenet": PreNet(bands, 2 * decoder),
                "attn_net": LocationSensitive(decoder),
                "attn_rnn": nn.GRUCell(settings.memory_channels + 2 * decoder, decoder),
                "rnn_input": nn.Linear(settings.memory_channels + decoder, width),
                "res_rnn1": nn.LSTMCell(width, width),
                "res_rnn2": nn.LSTMCell(width, width),
                "mel_proj": nn.Linear(width, bands * MOST_FRAMES, bias=False),
                "stop_proj": nn.Linear(settings.memory_channels + width, 1),
            }
        )
        inner = settings.tts_postnet_dims
        self.postnet = CBHG(settings.tts_postnet_K, bands, inner, (inner, bands), settings.tts_num_highways)
        self.post_proj = nn.Linear(inner, bands, bias=False)


class PreNet(nn.Module):
    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(channels, width), nn.Linear(width, width)

    def forward(self, x: Tensor, dropout: Tensor) -> Tensor:
        """x (1, …, C), dropout (1, 2, …, width): what its layers are multiplied with, 0 or 2."""
        x = F.relu(self.fc1(x)) * dropout[:, 0]
        return F.relu(self.fc2(x)) * dropout[:, 1]


class LocationSensitive(nn.Module):
    """LSA: by where was attended to so far."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 32, 31, padding=15)
        self.L, self.W = nn.Linear(32, width, bias=False), nn.Linear(width, width)
        self.v = nn.Linear(width, 1, bias=False)

    def forward(self, keys: Tensor, query: Tensor, so_far: Tensor, mask: Tensor) -> Tensor:
        """keys (1, T, H), query (1, H), so_far (1, 1, T), mask (1, T) -> weights (1, T)."""
        located = self.L(self.conv(so_far).transpose(1, 2))
        energies = self.v(torch.tanh(self.W(query).unsqueeze(1) + keys + located)).squeeze(2)
        return torch.softmax(energies.masked_fill(mask == 0, _LEAST), 1)


class CBHG(nn.Module):
    """Convolutions of every width up to K, a maximum, two more, highway layers and a GRU in both directions."""

    def __init__(self, widest: int, channels: int, inner: int, projected: tuple[int, int], highways: int) -> None:
        super().__init__()
        self.conv1d_bank = nn.ModuleList(BatchNormConv(channels, inner, width) for width in range(1, widest + 1))
        self.conv_project1 = BatchNormConv(widest * inner, projected[0], 3)
        self.conv_project2 = BatchNormConv(projected[0], projected[1], 3)
        if projected[1] != inner:
            self.pre_highway = nn.Linear(projected[1], inner, bias=False)
        self.highways = nn.ModuleList(Highway(inner) for _ in range(highways))
        self.rnn = nn.GRU(inner, inner // 2, batch_first=True, bidirectional=True)


class BatchNormConv(nn.Module):
    def __init__(self, channels: int, out_channels: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, out_channels, width, padding=width // 2, bias=False)
        self.bnorm = nn.BatchNorm1d(out_channels)


class Highway(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.W1, self.W2 = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        opened = torch.sigmoid(self.W2(x))
        return opened * F.relu(self.W1(x)) + (1 - opened) * x


def load(checkpoint: LoadedCheckpoint) -> nn.Module:
    """The model with its weights in eval mode. Raises CheckpointError where config and weights do not fit together."""
    settings = known_settings(RtvcSettings, checkpoint.config)
    mel = mel_settings(checkpoint.audio, checkpoint.stats)
    module = Tacotron(settings, mel, len(rtvc_text().symbols) + 2)
    module.load_state_dict(checkpoint.weights_for(module, ("",)))
    kept = checkpoint.weights.get("decoder.r")
    module.frames_per_step = int(checkpoint.config.get("r") or 2) if kept is None else int(kept)
    if not 1 <= module.frames_per_step <= MOST_FRAMES:
        raise CheckpointError(
            f"checkpoint {checkpoint.name}: decoder.r is {module.frames_per_step}, not 1 to {MOST_FRAMES}"
        )
    if checkpoint.located.is_random:  # drawn weights would end an utterance at once
        nn.init.constant_(module.decoder["stop_proj"].bias, -8.0)
    return module.eval().requires_grad_(False)


def components(module: nn.Module, checkpoint: LoadedCheckpoint, shape: Shape) -> list[Component]:
    """`encoder`: ids -> what is attended to; `decoder_step`: a step of attention and LSTMs; `postnet`: to mel."""
    assert isinstance(module, Tacotron)
    settings, step = module.settings, DecoderStep(module)
    ids, frames = sized_axis(TEXT_SIZES), sized_axis(FRAME_SIZES)
    text_sizes, frame_sizes = ((), ()) if shape.flexible else (TEXT_SIZES, FRAME_SIZES)
    text_mask = TensorSpec("text_mask", (1, 1, ids), "float32", "1 where there is text to attend to")
    memory = TensorSpec(
        "memory", (1, ids, step.encoded + settings.tts_decoder_dims), "float32", "encoded text, then keys"
    )
    kept = (
        TensorSpec("carried", (1, step.state_channels), "float32", "GRU, LSTMs, context"),
        TensorSpec("alignment", (1, 2, ids), "float32", "attention weights, their sum so far"),
    )
    bands, unit, dropped = module.mel.n_mels, module.mel.unit, 2 * settings.tts_decoder_dims

    def backward(length: Dim) -> TensorSpec:
        return TensorSpec("backward", (1, length), "int32", "positions from the last to the first")

    return [
        part_component(
            Encoder(module),
            "encoder",
            (
                TensorSpec("ids", (1, ids), "int32", "symbols"),
                text_mask,
                backward(ids),
                *embedding("speaker", settings.speaker_embedding_size),
                TensorSpec("dropout", (1, 2, ids, settings.tts_encoder_dims), "float32", "0 or 2"),
            ),
            (memory,),
            "Tacotron.generate of Real-Time-Voice-Cloning up to the decoder",
            text_sizes,
        ),
        part_component(
            step,
            "decoder_step",
            (
                TensorSpec("frame", (1, bands), "float32", unit), memory, text_mask, *kept,
                TensorSpec("dropout", (1, 2, dropped), "float32", "0 or 2"),
            ),
            (
                TensorSpec("frames", (1, module.frames_per_step, bands), "float32", unit),
                TensorSpec("stop", (1, 1), "float32", "logit"),
                *(TensorSpec(f"next_{spec.name}", spec.shape, spec.dtype, spec.unit) for spec in kept),
            ),
            "Decoder.forward of Real-Time-Voice-Cloning's synthesizer",
            text_sizes,
        ),
        part_component(
            Postnet(module),
            "postnet",
            (
                TensorSpec("frames", (1, bands, frames), "float32", unit),
                TensorSpec("frame_mask", (1, 1, frames), "float32", "1 where there is sound"),
                backward(frames),
            ),
            (TensorSpec("mel", (1, bands, frames), "float32", unit),),
            "Tacotron.generate of Real-Time-Voice-Cloning from the decoder on",
            frame_sizes,
        ),
    ]  # fmt: skip


def voice(module: nn.Module) -> VoiceRecord:
    """Records how the components make a mel; which vocoder plays it is not the family's."""
    assert isinstance(module, Tacotron)
    settings, mel, step = module.settings, module.mel, DecoderStep(module)
    return VoiceRecord(
        chain="attention",
        text=rtvc_text(),
        sample_rate=mel.sample_rate,
        samples_per_frame=mel.hop_length,
        features=mel,
        channels=mel.n_mels,
        embedding_channels=settings.speaker_embedding_size,
        last="",
        attending=Attending(
            frames_per_step=module.frames_per_step,
            state_channels=step.state_channels,
            rows=("zeros", "zeros"),
            least_steps=LEAST_FRAMES // module.frames_per_step + 2,
            most_steps=-(-settings.max_frames // module.frames_per_step),
            dropout=2 * settings.tts_decoder_dims,
            text_dropout=settings.tts_encoder_dims,
            silence=SILENCE,
        ),
    )


def tables(module: nn.Module) -> dict[str, Tensor]:
    """It speaks as any embedding, and has no speakers of its own."""
    return {}


# ---------------------------------------------------------------------------------------------------- components


class MaskedCBHG(nn.Module):
    bank: Any

    def __init__(self, layers: CBHG) -> None:
        super().__init__()
        self.bank, self.first, self.second = layers.conv1d_bank, layers.conv_project1, layers.conv_project2
        self.widen, self.highways = getattr(layers, "pre_highway", None), layers.highways
        self.ahead, self.back = (one_way(layers.rnn, suffix) for suffix in ("", "_reverse"))

    def forward(self, x: Tensor, mask: Tensor, backward: Tensor) -> Tensor:
        """x (1, C, T), mask (1, 1, T), backward (1, T) -> (1, T, inner). Zeros follow the sequence wherever a layer
        looks beyond it, as upstream's padding has it."""
        x, length = x * mask, x.shape[2]
        bank = torch.cat([layer.bnorm(F.relu(layer.conv(x)[..., :length])) for layer in self.bank], 1)
        # the maximum with the position before; upstream pads with the least there is
        before = torch.cat([bank[..., :1], bank[..., :-1]], 2)
        output = torch.maximum(bank, before) * mask
        output = self.first.bnorm(F.relu(self.first.conv(output))) * mask
        output = (self.second.bnorm(self.second.conv(output)) + x).transpose(1, 2)
        if self.widen is not None:
            output = self.widen(output)
        for layer in self.highways:
            output = layer(output)
        return both_ways(self.ahead, self.back, output, backward)


class Encoder(nn.Module):
    def __init__(self, model: Tacotron) -> None:
        super().__init__()
        self.embedding, self.pre_net = model.encoder["embedding"], model.encoder["pre_net"]
        self.cbhg, self.keys = MaskedCBHG(model.encoder["cbhg"]), model.encoder_proj

    def forward(self, ids: Tensor, text_mask: Tensor, backward: Tensor, speaker: Tensor, dropout: Tensor) -> Tensor:
        """ids (1, T), text_mask (1, 1, T), backward (1, T), speaker (1, D, 1), dropout (1, 2, T, P) -> (1, T, M)."""
        x = self.pre_net(self.embedding(ids), dropout).transpose(1, 2)
        x = self.cbhg(x, text_mask, backward)
        memory = torch.cat([x, speaker.transpose(1, 2).expand(1, x.shape[1], speaker.shape[1])], 2)
        return torch.cat([memory, self.keys(memory)], 2)


class DecoderStep(nn.Module):
    def __init__(self, model: Tacotron) -> None:
        super().__init__()
        settings = model.settings
        self.decoder, self.encoded = model.decoder, settings.memory_channels
        self.bands, self.frames = model.mel.n_mels, model.frames_per_step
        self.sizes = [settings.tts_decoder_dims, *[settings.tts_lstm_dims] * 4, self.encoded]
        self.state_channels = sum(self.sizes)

    def forward(
        self, frame: Tensor, memory: Tensor, text_mask: Tensor, carried: Tensor, alignment: Tensor, dropout: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """frame (1, n_mels): the last of the step before; memory (1, T, M); carried (1, S); alignment (1, 2, T);
        dropout (1, 2, P) -> frames (1, r, n_mels), the stop token's logit (1, 1), carried, alignment."""
        parts = self.decoder
        query, hidden1, cell1, hidden2, cell2, context = carried.split(self.sizes, dim=1)
        encoded, keys = memory[..., : self.encoded], memory[..., self.encoded :]
        x = torch.cat([context, parts["prenet"](frame, dropout)], 1)
        cell = parts["attn_rnn"]
        from_input, from_hidden = (
            F.linear(x, cell.weight_ih, cell.bias_ih),
            F.linear(query, cell.weight_hh, cell.bias_hh),
        )
        query = gru_cell(from_input, from_hidden, query)
        weights = parts["attn_net"](keys, query, alignment[:, 1:], text_mask.squeeze(1))
        context = (weights.unsqueeze(1) @ encoded).squeeze(1)
        x = parts["rnn_input"](torch.cat([context, query], 1))
        hidden1, cell1 = lstm_cell(parts["res_rnn1"], x, hidden1, cell1)
        x = x + hidden1
        hidden2, cell2 = lstm_cell(parts["res_rnn2"], x, hidden2, cell2)
        x = x + hidden2
        frames = parts["mel_proj"](x).reshape(1, self.bands, MOST_FRAMES)[..., : self.frames].transpose(1, 2)
        stop = parts["stop_proj"](torch.cat([x, context], 1))
        kept = torch.cat([query, hidden1, cell1, hidden2, cell2, context], 1)
        return frames, stop, kept, torch.stack([weights, alignment[:, 1] + weights], 1)


class Postnet(nn.Module):
    def __init__(self, model: Tacotron) -> None:
        super().__init__()
        self.cbhg, self.project = MaskedCBHG(model.postnet), model.post_proj

    def forward(self, frames: Tensor, frame_mask: Tensor, backward: Tensor) -> Tensor:
        """frames (1, n_mels, F), frame_mask (1, 1, F), backward (1, F) -> mel (1, n_mels, F)."""
        return self.project(self.cbhg(frames, frame_mask, backward)).transpose(1, 2)
