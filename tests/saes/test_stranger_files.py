"""SAE files of strangers: none may claim more than it holds, and none may run."""

from __future__ import annotations

import pickle
import zipfile

import numpy as np
import pytest
import torch

from conceptbasis.errors import SaeError
from conceptbasis.saes.bounds import check_archive, check_stored
from conceptbasis.saes.formats import read_dictionary_learning, read_gemma_scope


class Marker:
    """Pickled, it would create a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_an_archive_that_unpacks_to_far_more_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "params.npz"
    np.savez_compressed(path, W_enc=np.zeros((2**12, 2**13), "float32"))
    with pytest.raises(SaeError, match=r"unpacks to 0\.1 GB"):
        check_archive(path)
    with pytest.raises(SaeError, match="unpacks to"):
        read_gemma_scope(tmp_path)
    np.savez(path, W_enc=np.ones((64, 64), "float32"))  # the control
    check_archive(path)


def test_an_archive_that_is_none_is_refused(tmp_path):
    (tmp_path / "params.npz").write_bytes(b"no archive")
    with pytest.raises(SaeError, match="no archive of arrays"):
        check_archive(tmp_path / "params.npz")


def test_a_tensor_of_few_numbers_in_a_huge_shape_is_refused(tmp_path):
    wide = torch.zeros(1).expand(10**9, 48)
    with pytest.raises(SaeError, match="W_enc claims 48000000000 numbers"):
        check_stored(tmp_path, {"W_enc": wide})
    with pytest.raises(SaeError, match="holds a list"):
        check_stored(tmp_path, [1])
    with pytest.raises(SaeError, match="W_enc is a int"):
        check_stored(tmp_path, {"W_enc": 1})
    check_stored(tmp_path, {"W_enc": torch.zeros(4, 8).T, "threshold": torch.tensor(1.0)})


def test_pickled_objects_are_never_opened(tmp_path):
    made = tmp_path / "made"
    (tmp_path / "config.json").write_text('{"trainer": {"dict_class": "AutoEncoder"}}')
    (tmp_path / "ae.pt").write_bytes(pickle.dumps(Marker(made)))
    with pytest.raises(Exception, match=r"(?i)weights.?only|unsupported"):
        read_dictionary_learning(tmp_path)
    with zipfile.ZipFile(tmp_path / "params.npz", "w") as archive:
        array = np.array([Marker(made)], dtype=object)
        with archive.open("W_enc.npy", "w") as handle:
            np.save(handle, array, allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        read_gemma_scope(tmp_path)
    assert not made.exists()
    pickle.loads(pickle.dumps(Marker(made))).close()  # the control: it does act when it is opened
    assert made.exists()
