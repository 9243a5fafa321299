"""FARGAN as the code of opus and xiph reads, written plainly in numpy, a sub-frame at a time; its weights drawn."""

import numpy as np
import torch

FLOATS = {"cond_net_pembed": (224, 12), "cond_net_fdense1": (32, 64), "sig_net_cond_gain_dense": (80, 1),
          "sig_net_gain_dense_out": (192, 4)}  # fmt: skip
INTEGERS = {"cond_net_fconv1": (192, 128), "cond_net_fdense2": (128, 320), "sig_net_fwc0_conv": (328, 192),
            "sig_net_fwc0_glu_gate": (192, 192), "sig_net_gru1_input": (272, 480), "sig_net_gru1_recurrent": (160, 480),
            "sig_net_gru2_input": (240, 384), "sig_net_gru2_recurrent": (128, 384), "sig_net_gru3_input": (208, 384),
            "sig_net_gru3_recurrent": (128, 384), "sig_net_gru1_glu_gate": (160, 160),
            "sig_net_gru2_glu_gate": (128, 128), "sig_net_gru3_glu_gate": (128, 128),
            "sig_net_skip_glu_gate": (128, 128), "sig_net_skip_dense": (688, 128),
            "sig_net_sig_dense_out": (128, 40)}  # fmt: skip


def c_array(name, kind, values):
    return f"static const {kind} {name}[{len(values)}] = {{\n{','.join(map(str, values))}\n}};\n"


def write_source(path):
    """A file as opus's fargan_data.c, its weights drawn."""
    random, parts = np.random.default_rng(0), ['/* drawn */\n#include "nnet.h"\n']
    for name, (inputs, outputs) in FLOATS.items():
        weights = random.standard_normal(inputs * outputs) / np.sqrt(inputs)
        parts.append(c_array(f"{name}_weights_float", "float", weights.tolist()))
        bias = random.standard_normal(outputs) / 5 if "gain" in name else np.zeros(outputs)
        parts.append(c_array(f"{name}_bias", "float", bias.tolist()))
    for name, (inputs, outputs) in INTEGERS.items():
        parts.append(c_array(f"{name}_weights_int8", "opus_int8", random.integers(-127, 128, inputs * outputs)))
        scale = 1.5 / 127 / 73 / np.sqrt(inputs) * random.uniform(0.5, 1, outputs)
        parts.append(c_array(f"{name}_scale", "float", scale.tolist()))
        parts.append(c_array(f"{name}_subias", "float", random.standard_normal(outputs).tolist()))
        if "gru" not in name or "gate" in name:
            parts.append(c_array(f"{name}_bias", "float", [0.0] * outputs))
    path.write_text("".join([*parts, "int init_fargan(FARGAN *model) {\nreturn 0;\n}\n"]))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class Plainly:
    """The networks of opus's arrays in float64, without its rounding of what layers of integers take."""

    def __init__(self, arrays):
        self.arrays = {name: value.double().numpy() for name, value in arrays.items()}
        self.matrices = {name: self._integers(name, *shape) for name, shape in INTEGERS.items()}

    def _integers(self, name, inputs, outputs):
        matrix = np.zeros((outputs, inputs))
        blocks = iter(self.arrays[f"{name}_weights_int8"].reshape(-1, 8, 4))
        for row in range(0, outputs, 8):
            for column in range(0, inputs, 4):
                matrix[row : row + 8, column : column + 4] = next(blocks)
        return matrix * self.arrays[f"{name}_scale"][:, None] * 127

    def layer(self, name, given):
        if name in INTEGERS:
            return self.matrices[name] @ given
        inputs, outputs = FLOATS[name]
        weights = self.arrays[f"{name}_weights_float"].reshape(inputs, outputs)
        return given @ weights + self.arrays[f"{name}_bias"]

    def gated(self, name, given):
        return given * sigmoid(self.layer(f"sig_net_{name}_gate", given))

    def gru(self, name, given, state):
        ours, kept = self.layer(f"sig_net_{name}_input", given), self.layer(f"sig_net_{name}_recurrent", state)
        size = len(state)
        update, reset = np.split(sigmoid((ours + kept)[: 2 * size]), 2)
        return update * state + (1 - update) * np.tanh(ours[2 * size :] + reset * kept[2 * size :])

    def audio(self, features):
        """features (21, T) -> (160 * T,): zeros before the first frame and after the last."""
        hidden, samples = [], []
        for column in features.T.astype(np.float64):
            row = self.arrays["cond_net_pembed_weights_float"].reshape(224, 12)[int(np.clip(column[20] - 32, 0, 223))]
            hidden.append(np.tanh(self.layer("cond_net_fdense1", np.concatenate([column[:20], row]))))
        hidden = np.pad(np.array(hidden), ((1, 1), (0, 0)))
        self.states = {"gru1": np.zeros(160), "gru2": np.zeros(128), "gru3": np.zeros(128)}
        self.memory, self.excitation = np.zeros(164), np.zeros(256)
        for frame in range(features.shape[1]):
            conv = np.tanh(self.layer("cond_net_fconv1", hidden[frame : frame + 3].ravel()))
            conditions = np.tanh(self.layer("cond_net_fdense2", conv)).reshape(4, 80)
            for cond in conditions:
                samples.append(self.subframe(cond, int(features[20, frame])))
        y, before = np.concatenate(samples), 0.0
        for index in range(len(y)):
            y[index] = before = y[index] + 0.85 * before
        return y

    def subframe(self, cond, period):
        gain = np.exp(self.layer("sig_net_cond_gain_dense", cond))
        place, taps = 256 - period - 2, []
        for _ in range(44):
            taps.append(self.excitation[max(place, 0)])
            place += 1
            if place == 256:
                place -= period
        taps = np.clip(np.array(taps) / (1e-5 + gain), -1, 1)
        before = np.clip(self.excitation[-40:] / (1e-5 + gain), -1, 1)
        given = np.concatenate([cond, taps, before])
        first = np.tanh(self.layer("sig_net_fwc0_conv", np.concatenate([self.memory, given])))
        self.memory = given
        first = self.gated("fwc0_glu", first)
        gates = sigmoid(self.layer("sig_net_gain_dense_out", first))
        x, outputs = first, []
        for gate, name in zip(gates, self.states):
            self.states[name] = self.gru(name, np.concatenate([x, gate * taps[2:-2], before]), self.states[name])
            x = self.gated(f"{name}_glu", self.states[name])
            outputs.append(x)
        x = np.concatenate([*outputs, first, gates[3] * taps[2:-2], before])
        x = self.gated("skip_glu", np.tanh(self.layer("sig_net_skip_dense", x)))
        samples = np.tanh(self.layer("sig_net_sig_dense_out", x)) * gain
        self.excitation = np.concatenate([self.excitation[40:], samples])
        return samples


def features_of(frames, seed=0):
    """Drawn features (21, frames), the periods among them whole."""
    random = np.random.default_rng(seed)
    features = random.standard_normal((21, frames)).astype(np.float32)
    features[20] = random.integers(32, 257, frames)
    features[20, : min(frames, 4)] = (32, 33, 255, 256)[: min(frames, 4)]
    return features


def checkpoint_of_training(weights):
    """What xiph's train_fargan.py saves: weight norm on the gated layers, settings beside the weights."""
    state = {}
    for name, value in weights.items():
        if name.endswith("gate.weight") or name.endswith("fwc0.conv.weight"):
            gain = value.norm(dim=1, keepdim=True)
            state[f"{name}_g"], state[f"{name}_v"] = gain, value * torch.linspace(0.5, 2, len(value))[:, None]
        else:
            state[name] = value
    return {"batch_size": 512, "lr": 1e-3, "epochs": 20, "adam_betas": [0.8, 0.99], "model_args": (),
            "model_kwargs": {"cond_size": 256, "gamma": 0.9}, "state_dict": state, "epoch": 20}  # fmt: skip
