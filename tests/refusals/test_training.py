"""What the training engine refuses, and that it says why."""
import numpy as np
import pytest
import torch

from ssdiff.inputs import toy_batch
from ssdiff.batches import batch_indices, view
from ssdiff.training import Trainer
from ssdiff.updates import lr_factor


def test_a_batch_larger_than_the_training_set():
    with pytest.raises(ValueError, match="simulate more scenes"): batch_indices(0, 2, 3)


@pytest.mark.parametrize("patch, says", [(15, "multiple of 4"), (64, "at most 32")])
def test_a_crop_that_does_not_fit(patch, says):
    with pytest.raises(ValueError, match=says): view(toy_batch(3, 1, 32), patch, np.random.default_rng(0))


def test_an_unknown_schedule():
    with pytest.raises(ValueError, match="cosin"): lr_factor(0, 10, "cosin")


@pytest.mark.parametrize("options, says", [
    (dict(batch=0), "batch must be a whole number of at least 1, got 0"),
    (dict(iterations=1.5), "iterations must be a whole number"),
    (dict(ema=1.), "ema = 1.0"),
    (dict(mixed_precision="half"), "'half' is not known"),
])
def test_options_of_the_trainer(options, says):
    with pytest.raises(ValueError, match=says): Trainer(torch.nn.Conv2d(2, 2, 1), None, [], **options)
