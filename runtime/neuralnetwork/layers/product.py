"""Products with matrices and tables of vectors."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from runtime.neuralnetwork.layers.parameters import Function, Layer, bias_of, weights


def _inner_product(layer: Any) -> Function:
    """Multiplies the last axis; of four and five axes the last three together, which become (C_out, 1, 1)."""
    weight = weights(layer.weights, layer.outputChannels, layer.inputChannels)
    bias = bias_of(layer, layer.outputChannels)

    def multiplied(x: Tensor) -> Tensor:
        if x.dim() < 4:
            return F.linear(x, weight, bias)
        return F.linear(x.flatten(-3), weight, bias)[..., None, None]

    return multiplied


def _batched_matmul(layer: Any) -> Function:
    """Multiplies two tensors, or one and weights: then coremltools turns the input in a layer before it."""
    if layer.weightMatrixFirstDimension:
        weight = weights(layer.weights, layer.weightMatrixSecondDimension, layer.weightMatrixFirstDimension)
        bias = bias_of(layer, layer.weightMatrixSecondDimension)
        return lambda x: F.linear(x, weight, bias)

    def multiplied(a: Tensor, b: Tensor) -> Tensor:
        a, b = a[None] if a.dim() == 1 else a, b[:, None] if b.dim() == 1 else b
        return (a.mT if layer.transposeA else a) @ (b.mT if layer.transposeB else b)

    return multiplied


def _table(held: Any, size: int, symbols: int) -> Tensor:
    """(symbols, size): stored with a column for every symbol."""
    return weights(held, size, symbols).T.contiguous()


def _embedding_nd(layer: Any) -> Function:
    """Indices (…, 1) -> (…, C)."""
    table, bias = _table(layer.weights, layer.embeddingSize, layer.vocabSize), bias_of(layer, layer.embeddingSize)

    def rows(index: Tensor) -> Tensor:
        vectors = table[index[..., 0].long()]
        return vectors if bias is None else vectors + bias

    return rows


def _embedding(layer: Any) -> Function:
    """Indices (…, 1, 1, 1) -> (…, C, 1, 1)."""
    table, bias = _table(layer.weights, layer.outputChannels, layer.inputDim), bias_of(layer, layer.outputChannels)

    def rows(index: Tensor) -> Tensor:
        vectors = table[index[..., 0, 0, 0].long()]
        return (vectors if bias is None else vectors + bias)[..., None, None]

    return rows


def _dot(layer: Any) -> Function:
    """Vectors along the third axis from the end; of unit length first where their cosine is asked for."""

    def product(a: Tensor, b: Tensor) -> Tensor:
        if layer.cosineSimilarity:
            a, b = (x / torch.linalg.vector_norm(x, dim=-3, keepdim=True) for x in (a, b))
        return (a * b).sum(-3, keepdim=True)

    return product


TABLE: dict[str, Layer] = {
    "batchedMatmul": _batched_matmul,
    "dot": _dot,
    "embedding": _embedding,
    "embeddingND": _embedding_nd,
    "innerProduct": _inner_product,
}
