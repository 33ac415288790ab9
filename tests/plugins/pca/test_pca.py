import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA as Sklearn

from genpipe.dataspec import DataSpec
from genpipe.errors import DataError
from genpipe.plugins.pca import extractor
from genpipe.plugins.pca.config import PCAConfig

RNG = np.random.default_rng(0)
IMAGES = DataSpec(name="images", event="image", shape=(1, 6, 8), low=-100.0, high=100.0)
# Of falling variances in directions of no axis, about a mean far from 0.
ROTATION = np.linalg.qr(RNG.normal(size=(48, 48)))[0]
X = ((RNG.normal(size=(500, 48)) * 2.0 ** -(np.arange(48) / 3)) @ ROTATION.T + 40).reshape(500, 1, 6, 8)


def prepared(x=X, spec=IMAGES, **options):
    made = extractor.build(PCAConfig(**options))
    made.prepare(spec, None, x)
    return made


@pytest.mark.parametrize("solver", ["eigh", "randomised"])
def test_components_are_those_of_sklearn_up_to_the_sign(solver, monkeypatch):
    monkeypatch.setattr(extractor, "BLOCK_BYTES", 8 * 48 * 70)  # several blocks, the last one short
    theirs = Sklearn(n_components=5, svd_solver="full").fit_transform(X.reshape(500, -1))
    ours = prepared(solver=solver, num_components=5)(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-6)


def test_whitened_features_have_the_identity_as_covariance():
    features = prepared(whiten=True, num_components=8)(torch.from_numpy(X))
    torch.testing.assert_close(features.T.cov(correction=0), torch.eye(8, dtype=torch.float64), atol=1e-8, rtol=0)


def test_the_sign_is_fixed():
    directions = prepared(num_components=6).state()["directions"]
    assert all(row[row.abs().argmax()] > 0 for row in directions)


def test_plain_features_keep_distances_where_all_components_are_kept():
    x = torch.from_numpy(X)
    kept = prepared(num_components=48)(x)
    torch.testing.assert_close(torch.cdist(kept[:9], kept[9:20]), torch.cdist(x[:9].flatten(1), x[9:20].flatten(1)))


def test_columns_of_a_table_enter_standardised():
    table = np.stack([RNG.normal(size=400), 1000 * RNG.normal(size=400)], axis=1).astype(np.float32)
    spec = DataSpec(
        name="t", event="vector", shape=(2,), mean=tuple(table.mean(0).tolist()), std=tuple(table.std(0).tolist())
    )
    assert prepared(table, spec).state()["variance"].tolist() == pytest.approx([1, 1], abs=0.15)


def test_directions_that_the_data_does_not_vary_in_are_left_out():
    flat = X.copy()
    flat[:, :, 2:] = 7  # two rows of pixels vary
    assert prepared(flat, whiten=True)(torch.from_numpy(flat)).shape == (500, 16)
    with pytest.raises(DataError, match="varies in 16 directions, expected at least 20"):
        prepared(flat, num_components=20)
    with pytest.raises(DataError, match="varies in 0 directions"):
        prepared(np.full_like(X, 3.0))


def test_more_components_than_there_can_be_are_an_error():
    with pytest.raises(DataError, match=r"num_components is 49, and 500 .* have at most 48"):
        prepared(num_components=49)
    with pytest.raises(DataError, match="at most 9"):
        prepared(X[:10], num_components=10)


def test_restored_it_gives_the_same_features_and_fingerprint():
    made = prepared(whiten=True)
    again = extractor.build(PCAConfig(whiten=True))
    again.restore(IMAGES, made.state())
    assert torch.equal(again(torch.from_numpy(X)), made(torch.from_numpy(X)))
    assert again.fingerprint == made.fingerprint


def test_fingerprint_follows_data_and_options_but_not_the_order_of_sums():
    first = prepared().fingerprint
    assert prepared(X[::-1].copy()).fingerprint == first
    assert len({first, prepared(X * 2).fingerprint, prepared(whiten=True).fingerprint}) == 3


def test_what_is_not_of_the_data_set_is_refused():
    made = prepared()
    for x, message in (
        (torch.full((1, 1, 6, 8), torch.nan), "not finite"),
        (torch.full((1, 1, 6, 8), 300.0), r"expected \[-100, 100\]"),
        (torch.zeros(1, 1, 8, 6), r"expected \(B, 1, 6, 8\)"),
    ):
        with pytest.raises(DataError, match=message):
            made(x)
