"""The ensemble: golden regression and layer scores, tuning on validation samples only, the adversarial protocol."""

import numpy as np
import pytest
import torch

from kdzoo.robust.attacks import FGSM
from kdzoo.robust.ood import (
    ODIN,
    Mahalanobis,
    MahalanobisEnsemble,
    Regression,
    adversarial_detection,
    make_triples,
    tune,
)
from kdzoo.robust.ood.adversarial import layer_scores
from kdzoo.robust.ood.taps import LayerReader


def test_golden_regression(golden):
    values = golden["mahalanobis_digits"]
    scores, reference = values["score_by_magnitude"]["0.0"], values["logistic"]
    found = Regression.fit(np.array(scores["in"]).T, np.array(scores["out"]).T, C=reference["C"])
    np.testing.assert_allclose(found.weight, reference["coef"][0], atol=1e-5)
    assert found.bias == pytest.approx(reference["intercept"][0], abs=1e-5)
    # Higher means in-distribution: minus the log-odds of label 1.
    assert found.score([[0.0, 0.0]])[0] == pytest.approx(-found.bias)


def test_golden_layer_scores_at_every_step(golden, digits):
    values, (model, images) = golden["mahalanobis_digits"], digits
    detector = MahalanobisEnsemble(model, ["first", "second"], epsilons=(0.0, 0.0014, 0.01))
    detector.fit([images(values["train_idx"][:111]), images(values["train_idx"][111:])])
    found = detector.layer_scores(images(values["test_out_idx"])[0])
    assert found.shape == (3, 30, 2)
    for place, epsilon in enumerate(("0.0", "0.0014", "0.01")):
        expected = torch.tensor(values["score_by_magnitude"][epsilon]["out"]).double().T
        torch.testing.assert_close(found[place], expected, rtol=1e-6, atol=1e-6)


def test_the_stages_of_a_kdzoo_model_and_one_layer_agree(model, loader):
    images = loader[0][0][:6]
    ensemble = MahalanobisEnsemble(model, epsilons=(0.0, 0.002)).fit(loader)
    assert list(ensemble.gaussians) == ["stage0", "stage1", "stage2", "stage3"]
    single = Mahalanobis(model, "layer2", epsilon=0.002).fit(loader)
    torch.testing.assert_close(ensemble.layer_scores(images)[1, :, 2], single.score(images), rtol=1e-4, atol=1e-4)
    # What a layer returns before a ReLU in place is what counts, not what the ReLU makes of it.
    assert (LayerReader(model, ["bn1"])(images)[1]["bn1"] < 0).any()


def test_tuning_chooses_the_step_that_separates_and_scores_and_files_follow(model, loader, tmp_path):
    ensemble = MahalanobisEnsemble(model, epsilons=(0.0, 0.002)).fit(loader)
    known, other = loader[0][0], torch.rand(24, 3, 16, 16) * 0.2
    with pytest.raises(ValueError, match="not tuned"):
        ensemble.score(known)
    ensemble.tune(known, other)
    scores = ensemble.score(known), ensemble.score(other)
    assert scores[0].min() > scores[1].max()
    ensemble.save(tmp_path / "e.safetensors")
    again = MahalanobisEnsemble(model, epsilons=(0.0, 0.002)).load(tmp_path / "e.safetensors")
    torch.testing.assert_close(again.score(known), scores[0], rtol=1e-6, atol=1e-6)


def test_half_fits_and_the_other_half_chooses():
    rng = np.random.default_rng(0)
    known, other = rng.normal(size=(2, 60, 1)), rng.normal(size=(2, 60, 1))
    # At step 1 the samples that fit are apart and the samples that choose are not; at step 2 both are, a little.
    other[0, ::2] -= 9
    other[1] -= 3
    assert tune(known, other, (0.1, 0.2)).epsilon == 0.2
    assert tune(known, other, (0.1, 0.2), criterion="auroc").quality > 0.9
    with pytest.raises(ValueError, match="at least 5 of each kind"):
        tune(known[:, :8], other, (0.1, 0.2))
    with pytest.raises(ValueError, match="criterion is expected"):
        tune(known, other, (0.1, 0.2), criterion="fpr")


def test_adversarial_protocol(digits):
    model, images = digits
    x, labels = images(list(range(400)))
    with torch.no_grad():
        # A classifier that is right on most: nearest class mean of the second layer, as a linear layer.
        keep = labels < 5
        x, labels = x[keep], labels[keep]
        detector = Mahalanobis(model, "second").fit([(x, labels)])
        precision = torch.linalg.pinv(detector.gaussian.covariance)
        weight = detector.gaussian.means @ precision
        model.fc.weight.data, model.fc.bias.data = weight, -0.5 * (weight * detector.gaussian.means).sum(dim=1)
    triples = make_triples(model, [(x, labels)], FGSM(eps=0.1))
    count = len(triples.clean)
    assert count > 20 and triples.noisy.shape == triples.adversarial.shape == triples.clean.shape
    lengths = [(part - triples.clean).flatten(1).norm(dim=1) for part in (triples.noisy, triples.adversarial)]
    assert (lengths[0] <= lengths[1] * (1 + 1e-9)).all()  # noise as long as the attack, then clipped to [0, 1]
    assert (model(triples.clean).argmax(1) == model(triples.noisy).argmax(1)).all()
    assert (model(triples.clean).argmax(1) != model(triples.adversarial).argmax(1)).all()
    ensemble = MahalanobisEnsemble(model, ["first", "second"], epsilons=(0.0, 0.01)).fit([(x, labels)])
    scores = layer_scores(ensemble, triples)
    assert scores[0].shape == (2, 2 * count, 2) and scores[1].shape == (2, count, 2)
    result = adversarial_detection("FGSM", scores, ensemble.epsilons, share=0.5)
    assert result.images == count and result.metrics["auroc"] > 0.55
    with pytest.raises(ValueError, match="too few to tune on"):
        adversarial_detection("FGSM", scores, ensemble.epsilons, share=0.01)
    with pytest.raises(ValueError, match="no image is right clean"):
        make_triples(model, [(x, labels)], FGSM(eps=1e-9))


def test_mistakes(model):
    with pytest.raises(ValueError, match="there is no layer 'stage9'; there are: pooled, conv1"):
        MahalanobisEnsemble(model, ["stage9"])
    with pytest.raises(ValueError, match="does not name its stages; give layers, from: 0"):
        MahalanobisEnsemble(torch.nn.Sequential(torch.nn.Linear(2, 2)))
    with pytest.raises(ValueError, match="epsilons"):
        MahalanobisEnsemble(model, epsilons=(-0.1,))
    with pytest.raises(ValueError, match="not fitted"):
        MahalanobisEnsemble(model).layer_scores(torch.rand(1, 3, 8, 8))
    with pytest.raises(ValueError, match="of 1 layers"):
        MahalanobisEnsemble(model).use(Regression(np.ones(1), 0.0))


def test_noisy_images_count_as_clean_when_the_regression_is_fitted():
    """Noise moves the first layer further than the attack does, the second tells the attack alone."""
    rng = np.random.default_rng(0)
    clean, noisy, attacked = (rng.normal(at, 1, (400, 2)) for at in ((0, 0), (-8, 0), (-4, -2)))
    negative = torch.tensor(np.stack([clean, noisy], axis=1).reshape(1, 800, 2))
    found = adversarial_detection("x", (negative, torch.tensor(attacked)[None]), (0.0,))
    assert found.metrics["auroc"] > 0.9  # the second layer alone: P(N(2, 2) > 0) = 0.921


@pytest.mark.parametrize("count", [100, 105, 110, 115])
def test_no_image_both_tunes_and_tests(count, monkeypatch):
    """Each score is its image's number: those that reach the regression, and those that are tested."""
    from kdzoo.robust.ood import adversarial

    seen = {}
    image = torch.arange(count, dtype=torch.float64)
    negative, attacked = image.repeat_interleave(2)[None, :, None], image[None, :, None]
    monkeypatch.setattr(
        adversarial, "detection", lambda _, held, test, __: seen.update(held=held, test=test) or
        adversarial.AdversarialResult("x", 0, 0.0, {}),
    )  # fmt: skip
    adversarial_detection("x", (negative, attacked), (0.0,))
    held, test = ({float(v) for part in seen[side] for v in part.flatten()} for side in ("held", "test"))
    assert not held & test and len(held | test) == count


def test_other_layers_or_another_order_are_refused(model, loader, tmp_path):
    names = ["layer1", "layer3"]
    MahalanobisEnsemble(model, names, epsilons=(0.0,)).fit(loader).save(tmp_path / "e.safetensors")
    for other in (names[::-1], names[:1], None):
        ensemble = MahalanobisEnsemble(model, other, epsilons=(0.0,)).load(tmp_path / "e.safetensors")
        with pytest.raises(ValueError, match="was fitted to the layers layer1, layer3 but reads"):
            ensemble.layer_scores(loader[0][0][:2])


def test_nan_in_an_image_is_one_clear_error(model, loader):
    images = torch.full((2, 3, 16, 16), float("nan"))
    with pytest.raises(ValueError, match="NaN or infinity"):
        MahalanobisEnsemble(model, epsilons=(0.0,)).fit(loader).layer_scores(images)
    with pytest.raises(ValueError, match="the scores of ODIN hold NaN"):
        ODIN(model).score(images)
    with pytest.raises(ValueError, match="epsilon"):
        ODIN(model, epsilon=float("nan"))
