"""Layers that conversions from PyTorch do not make, written with coremltools' builder and reckoned with NumPy.

What PyTorch becomes is in test_layers.py; both together are all layers that the engine knows.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import special

from runtime.engines import Execution, open_engine
from runtime.machine.coreml_tools import coremltools
from runtime.neuralnetwork.layers import LAYERS
from runtime.neuralnetwork.layers.arithmetic import ACTIVATIONS, UNARY
from tests.runtime.neuralnetwork.test_layers import CASES as CONVERTED
from tests.runtime.neuralnetwork.test_layers import kinds

rng = np.random.default_rng(0)
X, Y = (rng.standard_normal((2, 3, 4, 5)).astype(np.float32) for _ in range(2))
UNIT = (X - X.min()) / (X.max() - X.min()) * 0.98 + 0.01
COUNTS = np.array([[2.0, 0, 1], [1, 1, 0]], np.float32)
SEQUENCE = rng.standard_normal((6, 2, 4, 1, 1)).astype(np.float32)
VOLUME = rng.standard_normal((1, 2, 4, 5, 6)).astype(np.float32)


def numbers(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def array(*values):
    return np.array(values, np.float32)


def one(name, wanted, x=X, **options):
    """A layer of one input, by the name of the builder's method."""
    return lambda b: getattr(b, f"add_{name}")("l", input_name="x", output_name="y", **options), [x], wanted(x)


def several(name, wanted, *inputs, **options):
    """A layer whose inputs are a list."""
    names = ["x", "z", "w"][: len(inputs)]
    return (
        lambda b: getattr(b, f"add_{name}")("l", input_names=names, output_name="y", **options),
        list(inputs),
        wanted(*inputs),
    )


def activated(name, wanted, params=None):
    return one("activation", wanted, non_linearity=name, params=params)


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def pooled(kind, padding, wanted, x=X, **options):
    sizes = {"height": 2, "width": 3, "stride_height": 1, "stride_width": 2}
    return one("pooling", wanted, x, layer_type=kind, padding_type=padding, **sizes, **options)


def torched(function):
    return lambda *arrays: function(*(torch.from_numpy(x) for x in arrays)).numpy()


def average_without_padding(x):
    """Pads one row below and one column on each side."""
    ones = F.pad(torch.ones(1, 1, 4, 5), (1, 1, 0, 1))
    total = F.avg_pool2d(F.pad(torch.from_numpy(x), (1, 1, 0, 1)), (2, 3), (1, 2))
    return (total / F.avg_pool2d(ones, (2, 3), (1, 2))).numpy()


def convolved(padding, wanted, weight, x=X, is_deconv=False, **options):
    """`weight` as PyTorch has it: the builder wants height and width first."""
    kernel, channels = (weight.shape[0], weight.shape[1]) if is_deconv else (weight.shape[1], weight.shape[0])
    turned = weight.transpose(2, 3, 0, 1) if is_deconv else weight.transpose(2, 3, 1, 0)

    def add(b):
        b.add_convolution(
            "l", kernel, channels, 3, 2, 2, 2, padding, 1, turned, None, False, is_deconv, None, "x", "y", **options
        )

    return add, [x], wanted(x)


KERNEL = numbers(4, 3, 3, 2)
CUBE, TURNED_CUBE = numbers(4, 2, 2, 3, 3), numbers(2, 4, 2, 3, 3)


def convolved_3d(weight, wanted, **options):
    channels_in, channels_out = (2, 4)

    def add(b):
        b.add_convolution3d(
            "l",
            channels_in,
            channels_out,
            2,
            3,
            3,
            weight.transpose(1, 0, 2, 3, 4) if options.get("is_deconv") else weight,
            np.ones(4, np.float32),
            True,
            stride_width=2,
            input_name="x",
            output_name="y",
            **options,
        )

    return add, [VOLUME], wanted(VOLUME)


# ---------------------------------------------------------------------------------------------------- recurrent layers

WIDTH, HIDDEN = 4, 5
W, R, B, P = (
    [numbers(*shape) for _ in range(4)] for shape in ((HIDDEN, WIDTH), (HIDDEN, HIDDEN), (HIDDEN,), (HIDDEN,))
)
W2, R2, B2 = ([numbers(*shape) for _ in range(4)] for shape in ((HIDDEN, WIDTH), (HIDDEN, HIDDEN), (HIDDEN,)))


def sigmoid(x):
    return special.expit(x)


def lstm(x, w, r, b, peep=None, coupled=False, forget=0.0, order=1):
    """Gates i, f, o, z. Every output in the order of computation."""
    h, c, steps = np.zeros((x.shape[1], HIDDEN)), np.zeros((x.shape[1], HIDDEN)), []
    for step in x[::order, :, :, 0, 0]:
        i, f, o, z = (step @ w[gate].T + h @ r[gate].T + b[gate] for gate in range(4))
        if peep is not None:
            i, f = i + peep[0] * c, f + peep[1] * c
        i = sigmoid(i)
        c = (1 - i if coupled else sigmoid(f + forget)) * c + i * np.tanh(z)
        h = sigmoid(o + (peep[2] * c if peep is not None else 0)) * np.tanh(c)
        steps.append(h)
    return np.stack(steps)[..., None, None]


def gru(x, order=1):
    """Gates z, r, o."""
    h, steps = np.zeros((x.shape[1], HIDDEN)), []
    for step in x[::order, :, :, 0, 0]:
        z, r = (sigmoid(step @ W[gate].T + h @ R[gate].T + B[gate]) for gate in range(2))
        h = (1 - z) * np.tanh(step @ W[2].T + (r * h) @ R[2].T + B[2]) + z * h
        steps.append(h)
    return np.stack(steps)[..., None, None]


def simple(x, activation=lambda x: np.maximum(x, 0)):
    h, steps = np.zeros((x.shape[1], HIDDEN)), []
    for step in x[:, :, :, 0, 0]:
        h = activation(step @ W[0].T + h @ R[0].T + B[0])
        steps.append(h)
    return np.stack(steps)[..., None, None]


def unidirectional(wanted, **options):
    def add(b):
        b.add_unilstm("l", R, W, B, HIDDEN, WIDTH, ["x"], ["y"], **options)

    return add, [SEQUENCE], wanted(SEQUENCE)


def _both_ways(b):
    b.add_bidirlstm("l", R, W, B, R2, W2, B2, HIDDEN, WIDTH, ["x"], ["y"], output_all=True)


def both_ways(x):
    return np.concatenate([lstm(x, W, R, B), lstm(x, W2, R2, B2, order=-1)[::-1]], 2)


# -------------------------------------------------------------------------------------------------------- control flow


def _branch(b):
    layer = b.add_branch("l", "z")
    for network, factor in ((layer.branch.ifBranch, 2.0), (layer.branch.elseBranch, -1.0)):
        scaled = network.layers.add(name=f"by {factor}", input=["x"], output=["y"])
        scaled.multiply.alpha = factor


def _counting(last, b):
    """Doubles y four times, but that the turn in which it is beyond z ends by the layer `last` before a fifth is
    added."""
    b.add_copy("start", "x", "y")
    body = b.add_loop("l", max_iterations=4).loop.bodyNetwork
    body.layers.add(name="double", input=["y"], output=["twice"]).multiply.alpha = 2.0
    body.layers.add(name="keep", input=["twice"], output=["y"]).copy.SetInParent()
    body.layers.add(name="far", input=["y", "z"], output=["is_far"]).greaterThan.SetInParent()
    way = body.layers.add(name="if far", input=["is_far"]).branch.ifBranch
    getattr(way.layers.add(name="leave"), last).SetInParent()
    body.layers.add(name="more", input=["y"], output=["added"]).add.alpha = 0.2
    body.layers.add(name="keep more", input=["added"], output=["y"]).copy.SetInParent()


def _normalised(x, axes):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)


def _batchnorm_of_the_batch(b):
    """The builder writes statistics of an instance only."""
    twos, ones = np.full(3, 2, np.float32), np.ones(3, np.float32)
    layer = b.add_batchnorm("l", 3, twos, ones, None, None, "x", "y", True, True)
    layer.batchnorm.instanceNormalization = False


CASES = {
    "NonMaximumSuppression": (
        lambda b: b.add_nms("l", ["x", "z"], ["y", "scores", "indices", "count"], 0.4, 0.2, 3),
        [
            array([[0, 0, 2, 2], [0.1, 0, 2, 2], [5, 5, 2, 2], [9, 9, 1, 1]]),
            array([[0.6], [0.9], [0.5], [0.1]]),
        ],
        array([[0.1, 0, 2, 2], [5, 5, 2, 2], [0, 0, 0, 0]]),
    ),
    "activation ELU": activated("ELU", lambda x: np.where(x < 0, 0.7 * np.expm1(x), x), 0.7),
    "activation PReLU": activated(
        "PRELU", lambda x: np.where(x < 0, x * array(0.1, 0.2, 0.3)[:, None, None], x), array(0.1, 0.2, 0.3)
    ),
    "activation parametricSoftplus": activated(
        "PARAMETRICSOFTPLUS",
        lambda x: array(1, 2, 3)[:, None, None] * np.log1p(np.exp(array(0.5, 1, 2)[:, None, None] * x)),
        [array(1, 2, 3), array(0.5, 1, 2)],
    ),
    "activation scaledTanh": activated("SCALED_TANH", lambda x: 1.5 * np.tanh(0.4 * x), [1.5, 0.4]),
    "activation sigmoidHard": activated("SIGMOID_HARD", lambda x: np.clip(0.3 * x + 0.4, 0, 1), [0.3, 0.4]),
    "activation softsign": activated("SOFTSIGN", lambda x: x / (1 + np.abs(x))),
    "activation thresholdedReLU": activated("THRESHOLDEDRELU", lambda x: np.where(x < 0.4, 0, x), 0.4),
    "argMax": one("argmax", lambda x: x.argmax(2, keepdims=True), axis=2),
    "argMin": one("argmin", lambda x: x.argmin(1), axis=-3, keepdims=False),
    "argSort": one("argsort", lambda x: np.argsort(-x, 2, kind="stable"), axis=2, descending=True),
    "average": several("elementwise", lambda x, y: (x + y) / 2, X, Y, mode="AVE"),
    "batchedMatmul, vectors": several("batched_mat_mul", lambda a, b: a[None] @ b[:, None], X[0, 0, 0], Y[0, 0, 0]),
    "batchnorm, of the batch": (_batchnorm_of_the_batch, [X], _normalised(X, (0, 2, 3)) * 2 + 1),
    "batchnorm, of the instance": one(
        "batchnorm",
        lambda x: _normalised(x, (2, 3)) * 2 + 1,
        channels=3,
        gamma=array(2, 2, 2),
        beta=array(1, 1, 1),
        compute_mean_var=True,
        instance_normalization=True,
    ),
    "bias": one("bias", lambda x: x + array(1, 2, 3)[:, None, None], b=array(1, 2, 3), shape_bias=[3]),
    "biDirectionalLSTM": (_both_ways, [SEQUENCE], both_ways(SEQUENCE)),
    "branch, true": (_branch, [X, array(1)], 2 * X),
    "branch, false": (_branch, [X, array(0)], -X),
    "broadcastToDynamic": several("broadcast_to_dynamic", lambda x, s: np.tile(x, (2, 1, 1)), X[0, 0], array(2, 4, 5)),
    "broadcastToLike": several("broadcast_to_like", lambda x, y: np.broadcast_to(x, y.shape), X[0, 0], Y),
    "broadcastToStatic": one(
        "broadcast_to_static", lambda x: np.broadcast_to(x, X.shape), X[0, 0], output_shape=list(X.shape)
    ),
    "clampedReLU": one("clamped_relu", lambda x: np.minimum(np.where(x < 0, 0.2 * x, x), 0.6), alpha=0.2, beta=0.6),
    "concat, sequences": (
        lambda b: b.add_elementwise("l", ["x", "z"], "y", "SEQUENCE_CONCAT"),
        [SEQUENCE, SEQUENCE],
        np.concatenate([SEQUENCE, SEQUENCE]),
    ),
    "concatND, interleaved": several(
        "concat_nd", lambda x, y: np.stack([x, y], 2).reshape(2, 6, 4, 5), X, Y, axis=1, interleave=True
    ),
    "constantPad, to a size": several(
        "constant_pad",
        lambda x: np.pad(x, ((0, 0), (0, 0), (3, 0), (0, 4)), constant_values=7),
        X,
        value=7.0,
        pad_to_given_output_size_mode=True,
        pad_amounts=[0, 0, 0, 0, 7, 0, 0, 9],
    ),
    "constantPad, by an input": several(
        "constant_pad", lambda x, n: np.pad(x, ((1, 0), (0, 2))), X[0, 0], array(1, 0, 0, 2)
    ),
    "convolution, weights as an input": (
        lambda b: b.add_convolution(
            "l", 3, 4, 3, 2, 1, 1, "valid", 1, None, None, False, input_name=["x", "z"], output_name="y"
        ),
        [X, KERNEL],
        torched(F.conv2d)(X, KERNEL),
    ),
    "convolution, same": convolved(
        "same",
        lambda x: torched(lambda x, w: F.conv2d(x, w, stride=2))(np.pad(x, ((0, 0), (0, 0), (0, 1), (0, 1))), KERNEL),
        KERNEL,
    ),
    "convolution, same from the top": convolved(
        "same",
        lambda x: torched(lambda x, w: F.conv2d(x, w, stride=2))(np.pad(x, ((0, 0), (0, 0), (1, 0), (1, 0))), KERNEL),
        KERNEL,
        same_padding_asymmetry_mode="TOP_LEFT_HEAVY",
    ),
    "convolution, transposed to the same": convolved(
        "same",
        lambda x: torched(lambda x, w: F.conv_transpose2d(x, w, stride=2)[..., :8, :10])(
            x, KERNEL.transpose(1, 0, 2, 3)
        ),
        KERNEL.transpose(1, 0, 2, 3),
        is_deconv=True,
    ),
    "convolution3d": convolved_3d(
        CUBE, torched(lambda x: F.conv3d(x, torch.from_numpy(CUBE), torch.ones(4), (1, 1, 2)))
    ),
    "convolution3d, transposed": convolved_3d(
        TURNED_CUBE,
        torched(lambda x: F.conv_transpose3d(x, torch.from_numpy(TURNED_CUBE), torch.ones(4), (1, 1, 2))),
        is_deconv=True,
    ),
    "crop, like another": (
        lambda b: b.add_crop("l", 0, 0, 0, 0, [1, 2], ["x", "z"], "y"),
        [X, X[:, :, :2, :3]],
        X[:, :, 1:3, 2:5],
    ),
    "cropResize": (
        lambda b: b.add_crop_resize("l", ["x", "z"], "y", 2, 2),
        [X[None], array(0, 0, 1, 2).reshape(1, 1, 4, 1, 1)],
        X[None][:, :, :, :2, [0, 2]],
    ),
    "cumSum, backward without the last": several(
        "cumsum",
        lambda x: np.cumsum(x[:, ::-1], 1)[:, ::-1] - x,
        X,
        axis=1,
        reverse=True,
        exclusive=True,
    ),
    "dot": several(
        "elementwise", lambda x, y: (x * y).sum(1, keepdims=True), X[:, :, :1, :1], Y[:, :, :1, :1], mode="DOT"
    ),
    "dot, cosine": several(
        "elementwise",
        lambda x, y: (
            (x * y).sum(1, keepdims=True)
            / np.linalg.norm(x, axis=1, keepdims=True)
            / np.linalg.norm(y, axis=1, keepdims=True)
        ),
        X[:, :, :1, :1],
        Y[:, :, :1, :1],
        mode="COS",
    ),
    "embedding": one(
        "embedding",
        lambda i: np.arange(6, dtype=np.float32).reshape(2, 3).T[i.astype(int)[:, 0, 0, 0]][..., None, None] + 1,
        array(2, 0).reshape(2, 1, 1, 1),
        W=np.arange(6, dtype=np.float32).reshape(2, 3),
        b=array(1, 1),
        input_dim=3,
        output_channels=2,
        has_bias=True,
    ),
    "fillDynamic": one("fill_dynamic", lambda s: np.full((2, 3), 0.5), array(2, 3), value=0.5),
    "fillLike": one("fill_like", lambda x: np.full(x.shape, 0.5), value=0.5),
    "flatten": one("flatten", lambda x: x.reshape(2, 60, 1, 1), mode=0),
    "flatten, channels last": one("flatten", lambda x: x.transpose(0, 2, 3, 1).reshape(2, 60, 1, 1), mode=1),
    "flattenTo2D": one("flatten_to_2d", lambda x: x.reshape(6, 20), axis=2),
    "floorDivBroadcastable": several("floor_div_broadcastable", lambda x, y: x // y, X, Y[:, :1]),
    "gatherAlongAxis": several(
        "gather_along_axis",
        lambda x, i: np.take_along_axis(x, i.astype(int), 1),
        X[0, 0, :2],
        COUNTS,
        axis=1,
    ),
    "gatherND": several("gather_nd", lambda x, i: x[[1, 0], [0, 2]], X, array([1, 0], [0, 2])),
    "gelu, sigmoid": one("gelu", lambda x: x * sigmoid(1.702 * x), mode="SIGMOID_APPROXIMATION"),
    "getShape": one("get_shape", lambda x: array(*x.shape)),
    "globalPooling3d": one(
        "global_pooling3d", lambda x: x.mean((2, 3, 4), keepdims=True), VOLUME, pooling_type="AVERAGE"
    ),
    "gru": (
        lambda b: b.add_gru("l", R[:3], W[:3], B[:3], HIDDEN, WIDTH, ["x"], ["y"], "TANH", "SIGMOID", True),
        [SEQUENCE],
        gru(SEQUENCE),
    ),
    "gru, backward": (
        lambda b: b.add_gru("l", R[:3], W[:3], B[:3], HIDDEN, WIDTH, ["x"], ["y"], "TANH", "SIGMOID", False, True),
        [SEQUENCE],
        gru(SEQUENCE, -1)[-1:],
    ),
    "innerProduct, images": one(
        "inner_product",
        lambda x: (x.reshape(2, 60) @ np.eye(60, 2, dtype=np.float32))[..., None, None],
        W=np.eye(2, 60, dtype=np.float32),
        b=None,
        input_channels=60,
        output_channels=2,
        has_bias=False,
    ),
    "l2normalize": one(
        "l2_normalize", lambda x: x / np.sqrt((x * x).sum((1, 2, 3), keepdims=True) + 1e-3), epsilon=1e-3
    ),
    "layerNormalization": one(
        "layer_normalization",
        lambda x: (x - x.mean(3, keepdims=True)) / np.sqrt(x.var(3, keepdims=True) + 1e-5) * np.arange(5) + 1,
        normalized_shape=[5],
        gamma=np.arange(5, dtype=np.float32),
        beta=np.ones(5, np.float32),
    ),
    "loadConstant": (
        lambda b: (
            b.add_load_constant("c", "c", X[0], [3, 4, 5]),
            b.add_add_broadcastable("l", ["x", "c"], "y"),
        ),
        [X],
        X[None] + X[0],
    ),
    "logicalXor": several("logical", lambda x, y: (x != 0) ^ (y != 0), COUNTS, array([0, 1, 1], [0, 0, 0]), mode="XOR"),
    "loopBreak": (lambda b: _counting("loopBreak", b), [array(1), array(4)], array(4.4)),
    "loopContinue": (lambda b: _counting("loopContinue", b), [array(1), array(4)], array(17.6)),
    "lowerTriangular": one("lower_triangular", lambda x: np.tril(x, 1), k=1),
    "lrn": one(
        "lrn",
        lambda x: (
            x / (2 + 0.5 / 3 * np.stack([(x[:, max(c - 1, 0) : c + 2] ** 2).sum(1) for c in range(3)], 1)) ** 0.75
        ),
        alpha=0.5,
        beta=0.75,
        local_size=3,
        k=2.0,
    ),
    "matrixBandPart": one("matrix_band_part", lambda x: np.triu(np.tril(x, 2), -1), num_lower=1, num_upper=2),
    "modBroadcastable": several("mod_broadcastable", lambda x, y: np.mod(x, y), X, Y[:, :1]),
    "oneHot": several(
        "one_hot",
        lambda i: np.eye(3)[i.astype(int)] * 2 - 1,
        COUNTS,
        one_hot_vector_size=3,
        on_value=1.0,
        off_value=-1.0,
    ),
    "permute": one("permute", lambda x: x.transpose(0, 1, 4, 2, 3), VOLUME, dim=[0, 3, 1, 2]),
    "pooling": pooled("MAX", "VALID", torched(lambda x: F.max_pool2d(x, (2, 3), (1, 2)))),
    "pooling, average with padding": pooled(
        "AVERAGE",
        "VALID",
        torched(lambda x: F.avg_pool2d(F.pad(x, (1, 1, 0, 1)), (2, 3), (1, 2))),
        exclude_pad_area=False,
        padding_bottom=1,
        padding_left=1,
        padding_right=1,
    ),
    "pooling, average without padding": pooled(
        "AVERAGE", "VALID", average_without_padding, padding_bottom=1, padding_left=1, padding_right=1
    ),
    "pooling, L2": pooled("L2", "VALID", torched(lambda x: F.lp_pool2d(x, 2, (2, 3), (1, 2)))),
    "pooling, same": pooled(
        "MAX", "SAME", torched(lambda x: F.max_pool2d(F.pad(x, (1, 1, 0, 1), value=-9), (2, 3), (1, 2)))
    ),
    "pooling, the last pixel": pooled(
        "MAX", "INCLUDE_LAST_PIXEL", torched(lambda x: F.max_pool2d(x, (2, 3), (1, 2), ceil_mode=True)), X[..., :4]
    ),
    "pooling, global": pooled("AVERAGE", "VALID", lambda x: x.mean((2, 3), keepdims=True), is_global=True),
    "pooling3d": one(
        "pooling3d",
        torched(lambda x: F.max_pool3d(F.pad(x, (1, 0, 0, 0, 0, 0), value=-9), (2, 2, 3), (1, 1, 2))),
        VOLUME,
        pooling_type="MAX",
        kernel_depth=2,
        kernel_height=2,
        kernel_width=3,
        stride_depth=1,
        stride_height=1,
        stride_width=2,
        padding_mode="custom",
        custom_padding_left=1,
    ),
    "powBroadcastable": several("pow_broadcastable", lambda x, y: x**y, UNIT, Y[:, :1]),
    "rangeDynamic": several("range_dynamic", lambda end: np.arange(1, 7, 2), array(7), start=1, step=2),
    "reduce": one("reduce", lambda x: x.sum((2, 3), keepdims=True), axis="HW", mode="sum"),
    "reduceL1": one("reduce_l1", lambda x: np.abs(x).sum(1, keepdims=True), axes=[1]),
    "reduceLogSum": one("reduce_logsum", lambda x: np.log(x.sum(1)), UNIT, axes=[1], keepdims=False),
    "reduceLogSumExp": one("reduce_logsumexp", lambda x: np.log(np.exp(x).sum(1, keepdims=True)), axes=[1]),
    "reduceMin": one("reduce_min", lambda x: x.min().reshape(1), reduce_all=True, keepdims=False),
    "reduceProd": one("reduce_prod", lambda x: x.prod((1, 3), keepdims=True), axes=[1, 3]),
    "reduceSumSquare": one("reduce_sumsquare", lambda x: (x * x).sum(-1, keepdims=True), axes=[-1]),
    "reorganizeData, space to depth": one(
        "reorganize_data",
        lambda x: x[..., :4].reshape(2, 3, 2, 2, 2, 2).transpose(0, 3, 5, 1, 2, 4).reshape(2, 12, 2, 2),
        X[..., :4],
        mode="SPACE_TO_DEPTH",
    ),
    "reorganizeData, pixel shuffle": one(
        "reorganize_data", torched(lambda x: F.pixel_shuffle(x, 2)), numbers(2, 8, 3, 2), mode="PIXEL_SHUFFLE"
    ),
    "reshape": one("reshape", lambda x: x.reshape(1, 2, 4, 15, 1), X[None], target_shape=[4, 15, 1], mode=0),
    "reshape, channels last": one(
        "reshape",
        lambda x: x.transpose(0, 1, 3, 4, 2).reshape(1, 2, 15, 1, 4).transpose(0, 1, 4, 2, 3),
        X[None],
        target_shape=[4, 15, 1],
        mode=1,
    ),
    "reshapeDynamic": several("reshape_dynamic", lambda x, s: x.reshape(6, 20), X, array(6, -1)),
    "reshapeLike": several("reshape_like", lambda x, y: x.reshape(2, 60), X, X.reshape(2, 60)),
    "resizeBilinear": one(
        "resize_bilinear",
        torched(lambda x: F.interpolate(x, (7, 3), mode="bilinear", align_corners=True)),
        target_height=7,
        target_width=3,
        mode="STRICT_ALIGN_ENDPOINTS_MODE",
    ),
    "reverseSeq": several(
        "reverse_sequence",
        lambda x, n: np.stack([x[0, [1, 0, 2]], x[1, [2, 1, 0]]]),
        X,
        array(2, 3),
        batch_axis=0,
        seq_axis=1,
    ),
    "scatterAlongAxis": several(
        "scatter_along_axis",
        lambda x, i, u: np.array([[9, x[0, 1], 7], [x[1, 0], 5, x[1, 2]]]),
        X[0, 0, :2, :3],
        array([2, 0], [1, 1]),
        array([7, 9], [5, 5]),
        axis=1,
    ),
    "scatterND": several(
        "scatter_nd",
        lambda x, i, u: x + array([0, 0, 0], [0, 3, 0]),
        X[0, 0, :2, :3],
        array([1, 1], [1, 1]),
        array(1, 2),
        mode="ADD",
    ),
    "sequenceRepeat": one("sequence_repeat", lambda x: np.concatenate([x] * 3), SEQUENCE, nrep=3),
    "simpleRecurrent": (
        lambda b: b.add_simple_rnn("l", R[0], W[0], B[0], HIDDEN, WIDTH, "RELU", ["x"], ["y"], True),
        [SEQUENCE],
        np.minimum(simple(SEQUENCE), 50),
    ),
    "simpleRecurrent, a hard sigmoid": (
        lambda b: b.add_simple_rnn("l", R[0], W[0], B[0], HIDDEN, WIDTH, "SIGMOID_HARD", ["x"], ["y"], True),
        [SEQUENCE],
        simple(SEQUENCE, lambda x: np.clip(0.2 * x + 0.5, 0, 1)),
    ),
    "sliceBySize": several("slice_by_size", lambda x, n: x[:, :, 1:3], X, array(1), axis=2, size=2),
    "sliceDynamic": several(
        "slice_dynamic",
        lambda x, b, e: x[0, 3:0:-1],
        X[0, 0],
        array(0, 3),
        array(1, 0),
        strides=[1, -1],
        begin_masks=[False, False],
        end_masks=[False, False],
        squeeze_masks=[True, False],
    ),
    "sliceStatic, backward": one(
        "slice_static",
        lambda x: x[:, ::-2],
        X[0, 0],
        begin_ids=[0, 0],
        end_ids=[0, 0],
        strides=[1, -2],
        begin_masks=[True, True],
        end_masks=[True, True],
    ),
    "slidingWindows": one(
        "sliding_windows",
        lambda x: np.lib.stride_tricks.sliding_window_view(x, 3, 3)[..., ::2, :],
        axis=3,
        window_size=3,
        step=2,
    ),
    "softmax": one("softmax", lambda x: softmax(x, 1)),
    "split": (
        lambda b: b.add_split("l", "x", ["a", "y", "c"]),
        [X],
        X[:, 1:2],
    ),
    "tile, by an input": (
        lambda b: b.add_tile("l", ["x", "z"], "y"),
        [X[0, 0], array(2, 3)],
        np.tile(X[0, 0], (2, 3)),
    ),
    "topK": (
        lambda b: b.add_topk("l", ["x"], ["y", "places"], 2, 1, True),
        [X],
        np.sort(X, 1)[:, :2],
    ),
    "transpose, of images": one("transpose", lambda x: x.transpose(0, 2, 3, 1), axes=[0, 2, 3, 1]),
    "uniDirectionalLSTM, peepholes": unidirectional(lambda x: lstm(x, W, R, B, P[:3]), peep=P[:3], output_all=True),
    "uniDirectionalLSTM, coupled, backward": unidirectional(
        lambda x: lstm(x, W, R, B, coupled=True, order=-1)[-1:],
        coupled_input_forget_gate=True,
        reverse_input=True,
    ),
    "uniDirectionalLSTM, forget bias": unidirectional(lambda x: lstm(x, W, R, B, forget=1.0)[-1:], forget_bias=True),
    "upperTriangular": one("upper_triangular", lambda x: np.triu(x, -1), k=-1),
    "upsample, corners aligned": one(
        "upsample",
        torched(lambda x: F.interpolate(x, scale_factor=(2, 3), mode="bilinear", align_corners=True)),
        scaling_factor_h=2,
        scaling_factor_w=3,
        mode="BILINEAR",
        linear_upsample_mode="ALIGN_CORNERS_TRUE",
    ),
    "upsample, a grid": one(
        "upsample",
        lambda x: array(1, 4 / 3, 5 / 3, 2, 7 / 3, 8 / 3, 3, 3, 3)[None, None, None],
        array([[[1, 2, 3]]]),
        scaling_factor_h=1,
        scaling_factor_w=3,
        mode="BILINEAR",
    ),
    "whereNonZero": one("where_nonzero", lambda x: np.transpose(np.nonzero(x)), COUNTS),
}

RANDOM = {
    "randomBernoulli": ("random_bernoulli", {"prob": 0.25}, 0.25, 0.25 * 0.75),
    "randomNormal": ("random_normal", {"mean": 3.0, "stddev": 2.0}, 3.0, 4.0),
    "randomUniform": ("random_uniform", {"minval": -1.0, "maxval": 3.0}, 1.0, 16 / 12),
}


def computed(add, inputs, folder, rank_5=False):
    """The output `y` of what `add` puts into a network of the inputs x, z and w, and what it consists of."""
    ct = coremltools()
    names = dict(zip("xzw", inputs))
    features = [(name, ct.models.datatypes.Array(*x.shape)) for name, x in names.items()]
    builder = ct.models.neural_network.NeuralNetworkBuilder(
        features, [("y", None)], disable_rank5_shape_mapping=not rank_5
    )
    add(builder)
    path = folder / "net.mlmodel"
    ct.utils.save_spec(builder.spec, str(path))
    return open_engine(path, Execution("neuralnetwork")).run(names)["y"], kinds(path)


@pytest.mark.parametrize("case", CASES)
def test_a_layer_computes_what_it_says(case, tmp_path):
    add, inputs, wanted = CASES[case]
    y, layers = computed(add, inputs, tmp_path)
    assert case.split(",")[0] in layers
    assert y.shape == np.shape(wanted)
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("suffix", ["static", "dynamic", "like"])
@pytest.mark.parametrize("kind", RANDOM)
def test_random_layers_have_their_mean_and_variance_and_a_seed_repeats_them(kind, suffix, tmp_path):
    name, options, mean, variance = RANDOM[kind]
    place = {
        "static": {"output_shape": [40, 50]},
        "dynamic": {"input_names": ["x"]},
        "like": {"input_name": "x"},
    }[suffix]
    x = np.zeros((40, 50), np.float32) if suffix == "like" else array(40, 50)

    def add(b):
        getattr(b, f"add_{name}_{suffix}")("l", output_name="y", seed=7, **place, **options)

    (y, layers), (again, _) = (computed(add, [x], tmp_path) for _ in range(2))
    assert f"{kind}{suffix.capitalize()}" in layers
    assert y.shape == (40, 50)
    assert (y == again).all()
    assert y.mean() == pytest.approx(mean, abs=0.2)
    assert y.var() == pytest.approx(variance, rel=0.15)


@pytest.mark.parametrize("is_logits", [True, False])
def test_drawn_classes_come_as_often_as_they_are_likely(is_logits, tmp_path):
    likely = array([0.1, 0.6, 0.3])

    def add(b):
        b.add_categorical_distribution("l", "x", "y", 4000, is_logits, seed=3)

    y, _ = computed(add, [np.log(likely) if is_logits else likely], tmp_path)
    shares = np.bincount(y.reshape(-1).astype(int), minlength=3) / 4000
    np.testing.assert_allclose(shares, likely[0], atol=0.03)


def test_a_fixed_filling_and_a_fixed_range_need_no_input(tmp_path):
    def add(b):
        b.add_fill_static("f", "f", [3], 0.5)
        b.add_range_static("r", "r", end=7, start=1, step=2)
        b.add_elementwise("l", ["x", "f", "r"], "y", "ADD")

    y, layers = computed(add, [array(0, 0, 0)], tmp_path)
    assert layers >= {"fillStatic", "rangeStatic"}
    assert y.tolist() == [1.5, 3.5, 5.5]


@pytest.mark.parametrize(
    "name", ["acos", "asin", "atan", "atanh", "ceil", "cos", "exp2", "floor", "round", "sin", "sinh", "tan"]
)
def test_functions_of_one_tensor_are_numpy_s(name, tmp_path):
    reference = {"acos": np.arccos, "asin": np.arcsin, "atan": np.arctan, "atanh": np.arctanh}.get(name)
    y, layers = computed(lambda b: getattr(b, f"add_{name}")("l", "x", "y"), [UNIT], tmp_path)
    assert name in layers
    np.testing.assert_allclose(y, (reference or getattr(np, name))(UNIT), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "reference"), [("acosh", np.arccosh), ("asinh", np.arcsinh), ("cosh", np.cosh), ("tanh", np.tanh)]
)
def test_hyperbolic_functions_are_numpy_s(name, reference, tmp_path):
    y, _ = computed(lambda b: getattr(b, f"add_{name}")("l", "x", "y"), [UNIT + 1], tmp_path)
    np.testing.assert_allclose(y, reference(UNIT + 1), rtol=1e-4)


@pytest.mark.parametrize(
    ("mode", "reference"),
    [
        ("UPDATE", np.array([5, 9, 7])),
        ("SUB", [-4, 2, -4]),
        ("MUL", [5, 18, 21]),
        ("MAX", [5, 9, 7]),
        ("MIN", [1, 2, 3]),
    ],
)
def test_scattering_reckons_with_what_is_there(mode, reference, tmp_path):
    inputs = [array(1, 2, 3), array(0, 2), array(5, 7)]
    wanted = np.where([True, False, True], reference, [1, 2, 3])
    y, _ = computed(lambda b: b.add_scatter("l", ["x", "z", "w"], "y", 0, mode), inputs, tmp_path)
    assert y.tolist() == wanted.tolist()


def test_no_layer_that_is_known_goes_untested():
    """`copy` is part of a loop, an activation and a function of one tensor have their own names."""
    functions = {"acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "exp2", "floor", "round"}
    functions |= {"sin", "sinh", "tan", "tanh"}
    elsewhere = {"activation", "unary", "copy", "scatter", "categoricalDistribution", "fillStatic", "rangeStatic"}
    drawn = {kind + suffix for kind in RANDOM for suffix in ("Static", "Dynamic", "Like")}
    tested = {case.split(",")[0] for case in (*CONVERTED, *CASES)} | functions | elsewhere | drawn
    assert tested - {"loop", "branch", "loopBreak", "loopContinue"} == {
        *LAYERS,
        *(f"activation {kind}" for kind in ACTIVATIONS),
        *(f"unary {kind}" for kind in UNARY),
    }
