"""Weights and labels of a law's hidden parts: components, or points."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError, suggest


def label_log_weights(
    owner: str,
    log_weights: Tensor,
    labels: Tensor | None,
    batch: int,
    drop: Tensor | None,
    condition: Mapping[str, Tensor],
) -> Tensor:
    """Normalised log-weights given each sample's condition: (1, k), or (batch, k) where a label chooses.

    ``log_weights`` (k,) and ``labels`` (k,) are the law's; ``condition`` may hold ``label``, int64 (batch,), which
    leaves the parts with that label; ``drop``, boolean (batch,), forgets it.
    """
    allowed = [] if labels is None else ["label"]
    for name in condition:
        if name not in allowed:
            hint = suggest(name, allowed) if allowed else "give it labels to make it conditional"
            raise InputError(f"{owner} does not know the condition {name!r}; {hint}")
    if "label" not in condition or labels is None:
        return log_weights.log_softmax(0)[None]
    label = condition["label"].to(log_weights.device)
    if label.shape != (batch,) or label.is_floating_point():
        seen = f"{label.dtype} {tuple(label.shape)}"
        raise InputError(f"the label is a whole number a sample, shape ({batch},); seen {seen}")
    same = labels == label[:, None]
    if drop is not None:
        same = same | drop.to(same.device)[:, None]
    borne = log_weights.where(same, -torch.inf)
    possible = (borne > -torch.inf).any(1)
    if not bool(possible.all()):
        wrong = label[~possible][0].item()
        raise InputError(f"no part of the law has the label {wrong}; allowed: {sorted(set(labels.tolist()))}")
    return borne.log_softmax(1)


def checked_weights(weights: Any, count: int, what: str) -> Tensor:
    """Weights (count,) as normalised float64 logarithms."""
    weights = torch.as_tensor(weights, dtype=torch.float64)
    if weights.shape != (count,) or not bool((weights >= 0).all() & weights.isfinite().all()) or not weights.sum() > 0:
        raise InputError(
            f"weights are one a {what}, finite, none negative and not all zero; "
            f"seen shape {tuple(weights.shape)} for {count}, values {weights.flatten()[:8].tolist()}"
        )
    return weights.log().log_softmax(0)


def checked_labels(labels: Any, count: int, what: str) -> Tensor | None:
    """Labels (count,) as int64."""
    if labels is None:
        return None
    labels = torch.as_tensor(labels)
    if labels.shape != (count,) or labels.is_floating_point() or labels.is_complex():
        seen = f"{labels.dtype} {tuple(labels.shape)}"
        raise InputError(f"labels are one whole number a {what}, shape ({count},); seen {seen}")
    return labels.long()
