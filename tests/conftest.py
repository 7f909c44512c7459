"""What several test files share."""
import pytest
import torch


@pytest.fixture(scope="module")
def one_thread():
    """Small arrays: threads only wait for each other, most of all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def seeded():
    """Networks that a test makes without a word about chance are the same ones every time."""
    torch.manual_seed(0)
