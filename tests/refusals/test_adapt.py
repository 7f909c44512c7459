"""Networks that cannot be adapted to a scene."""
import pytest
import torch

from ssdiff.adapt import adapt
from ssdiff.network import SSDiff
from ssdiff.scenes import simulate
from ssdiff.sensors import SENSORS
from ssdiff.pairs import ArrayScene


@pytest.mark.parametrize("net, words", [
    (lambda: SSDiff(4, "V1"), "needs two branches"),
    (lambda: torch.nn.Linear(1, 1), "adapt is for SSDiff"),
], ids=["one branch", "another network"])
def test_only_ssdiff_with_two_branches_adapts(net, words):
    pair = simulate("QB", 3, 16)
    with pytest.raises(ValueError, match=words): adapt(net(), ArrayScene(pair["pan"], pair["ms"]), SENSORS["QB"], 5)
