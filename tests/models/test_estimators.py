import json
import pickle
import zipfile

import joblib
import numpy as np
import pytest
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM
from skops import io

from rootpoint.errors import InputError
from rootpoint.models import load_estimator
from rootpoint.neuralize.kernels import CityBlockLaplace, Gaussian, Laplace, Student

X = np.random.default_rng(0).normal(size=(20, 3))


@pytest.fixture
def pipeline():
    return make_pipeline(StandardScaler(), OneClassSVM(gamma=0.3)).fit(X)


def test_a_skops_file_gives_the_estimator_back(pipeline, tmp_path):
    io.dump(pipeline, tmp_path / "m.skops")
    loaded = load_estimator(tmp_path / "m.skops")
    np.testing.assert_array_equal(loaded.decision_function(X), pipeline.decision_function(X))


@pytest.mark.parametrize("kernel", [Gaussian(0.4), Laplace(0.5), CityBlockLaplace(1.0), Student(2)])
def test_our_own_kernels_are_trusted(tmp_path, kernel):
    io.dump(OneClassSVM(kernel=kernel).fit(X), tmp_path / "m.skops")
    assert load_estimator(str(tmp_path / "m.skops")).kernel == kernel


def test_other_types_are_listed_and_can_be_trusted_by_name(tmp_path):
    path = tmp_path / "m.skops"
    io.dump(KernelDensity().fit(X), path)
    with pytest.raises(InputError, match="does not trust") as caught:
        load_estimator(path)
    trust = io.get_untrusted_types(file=path)
    assert len(trust) > 1
    assert all(f"--trust {name}" in str(caught.value) for name in trust)
    with pytest.raises(InputError, match=trust[1]):
        load_estimator(path, trust=trust[:1])
    assert isinstance(load_estimator(path, trust=trust), KernelDensity)


class Runs:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))


@pytest.mark.parametrize("suffix", [".pkl", ".pickle", ".joblib", ".PKL"])
def test_a_pickle_is_not_opened_unless_allowed(tmp_path, suffix):
    path, mark = tmp_path / f"m{suffix}", tmp_path / "mark"
    path.write_bytes(pickle.dumps(Runs(mark)))
    with pytest.raises(InputError, match=r"skops.*--unpickle"):
        load_estimator(path)
    assert not mark.exists()


@pytest.mark.parametrize("write", [joblib.dump, lambda e, path: path.write_bytes(pickle.dumps(e))])
def test_an_allowed_pickle_gives_the_estimator_back(pipeline, tmp_path, write):
    path = tmp_path / "m.pkl"
    write(pipeline, path)
    loaded = load_estimator(path, unpickle=True)
    np.testing.assert_array_equal(loaded.decision_function(X), pipeline.decision_function(X))


def test_another_version_of_scikit_learn_is_one_warning(pipeline, tmp_path):
    path, older = tmp_path / "m.skops", tmp_path / "older.skops"
    io.dump(pipeline, path)
    with zipfile.ZipFile(path) as given, zipfile.ZipFile(older, "w") as changed:
        for name in given.namelist():
            data = given.read(name)
            if name == "schema.json":
                from sklearn import __version__

                data = data.replace(json.dumps(json.dumps(__version__)).encode(), b'"\\"1.5.0\\""')
            changed.writestr(name, data)
    with pytest.warns(UserWarning, match=r"scikit-learn 1\.5\.0") as caught:
        load_estimator(older)
    assert len(caught) == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.skops", None, "no file"),
        ("m.skops", b"", "cannot be read"),
        ("m.skops", b"nonsense", "cannot be read"),
        ("m.pkl", b"nonsense", "cannot be read"),
        ("m.pkl", b"", "cannot be read"),
        ("m.pkl", b"cno_such_module\nThing\n.", "no_such_module"),
        ("m.pkl", pickle.dumps({"a": 1}), "holds a dict"),
        ("m.pkl", pickle.dumps(OneClassSVM), "holds a ABCMeta"),
        ("m.onnx", b"", "none of .skops"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_estimator(tmp_path / name, unpickle=True)
