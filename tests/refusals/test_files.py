"""Weights that are missing, torn, or of another network are refused, and the message says what is wrong."""
import pytest
from torch import nn

from ssdiff.files import fill_weights, read_weights, write_weights


@pytest.fixture
def written(tmp_path):
    "A file of weights of a small layer, and what it holds."
    path = tmp_path/"net.safetensors"
    write_weights(nn.Linear(2, 3), path, {})
    return path, read_weights(path)[0]


@pytest.mark.parametrize("net, change, message", [
    (nn.Linear(2, 4), lambda v: v, "expected torch.float32 (4"),
    (nn.Linear(2, 3, bias=False), lambda v: v, "unexpected ['bias']"),
    (nn.Linear(2, 3), lambda v: v/0, "NaN or infinite"),
])
def test_weights_that_do_not_fit_are_refused(written, net, change, message):
    path, tensors = written
    with pytest.raises(ValueError) as e: fill_weights(net, {k: change(v) for k, v in tensors.items()}, path)
    assert message in str(e.value)


def test_a_torn_file_and_a_missing_one_are_refused(written):
    path, _ = written
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="not a readable safetensors file"): read_weights(path)
    with pytest.raises(FileNotFoundError, match="no weights at"): read_weights(path.with_name("none"))
