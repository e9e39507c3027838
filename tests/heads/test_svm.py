"""The SVM head: Agarap's and Tang's values, scikit-learn's solution, both decisions."""

import numpy as np
import pytest
import torch

from kdzoo.heads import SVMHead, l2_svm_loss, svm_predict

FORMS = {
    "l2svm_cnn_svm": dict(C=1.0, reduction="mean", regulariser="mean"),
    "l2svm_gru_svm": dict(C=0.5, reduction="sum", regulariser="half_sum"),
    "l2svm_batchmean_classsum": dict(C=1.0, reduction="batchmean", regulariser=None),
}


@pytest.mark.parametrize("form", FORMS)
def test_golden_values_and_gradients(golden, form):
    case = golden[form]
    scores = torch.tensor(case["logits"], dtype=torch.float64, requires_grad=True)
    weight = None
    if "readout_weight" in case:  # [D, K] there
        weight = torch.tensor(case["readout_weight"], dtype=torch.float64).T.requires_grad_()
    loss = l2_svm_loss(scores, torch.tensor(case["labels"]), weight=weight, **FORMS[form])
    assert loss.item() == pytest.approx(case["loss"], rel=1e-10)
    loss.backward()
    np.testing.assert_allclose(scores.grad, case["grad_logits"], rtol=1e-8, atol=1e-10)
    if weight is not None:
        np.testing.assert_allclose(weight.grad.T, case["grad_weight"], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("power", [1, 2])
def test_gradcheck_and_reductions(power):
    scores = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, 3, 1, 1, 2])
    assert torch.autograd.gradcheck(lambda s: l2_svm_loss(s, target, power=power, reduction="sum"), scores)
    rows = l2_svm_loss(scores, target, power=power, reduction="none")
    assert rows.shape == (5,)
    assert l2_svm_loss(scores, target, power=power, reduction="batchmean").item() == pytest.approx(rows.mean().item())
    assert l2_svm_loss(scores, target, power=power).item() == pytest.approx(rows.mean().item() / 4)


def test_its_minimum_is_scikit_learns():
    from sklearn.datasets import load_iris
    from sklearn.svm import LinearSVC

    x, y = load_iris(return_X_y=True)
    x = (x - x.mean(0)) / x.std(0)
    peer = LinearSVC(C=0.1, tol=1e-10, max_iter=100_000, intercept_scaling=1e4).fit(x, y)
    head = SVMHead(4, 3, C=0.1, reduction="sum", regulariser="half_sum").double()
    features, labels = torch.tensor(x), torch.tensor(y)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=500, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = head.loss(head(features), labels)
        loss.backward()
        return loss

    optimizer.step(closure)
    np.testing.assert_allclose(head.weight.detach(), peer.coef_, atol=2e-3)
    np.testing.assert_allclose(head.bias.detach(), peer.intercept_, atol=2e-3)


def test_both_decisions(golden):
    case = golden["svm_predict"]
    scores = torch.tensor(case["logits"])
    assert svm_predict(scores).tolist() == case["plain_argmax"]
    assert svm_predict(scores, "sign").tolist() == case["official_sign_argmax"]
    head = SVMHead(3, 3, decision="sign")
    with torch.no_grad():
        head.weight.copy_(torch.eye(3)), head.bias.zero_()
    assert torch.equal(head(scores), scores)  # training sees scores
    assert head.eval()(scores).argmax(1).tolist() == case["official_sign_argmax"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("scale", [0, 1e-6, 600])
def test_finite(dtype, scale):
    scores = (torch.randn(3, 5) * scale).to(dtype).requires_grad_()
    loss = l2_svm_loss(scores, torch.tensor([0, 1, 4]))
    loss.backward()
    assert loss.dtype == torch.float32 and torch.isfinite(loss) and torch.isfinite(scores.grad).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: l2_svm_loss(torch.zeros(2, 3), torch.tensor([0, 3])), "target must hold class indices 0 to 2"),
        (lambda: l2_svm_loss(torch.zeros(2, 3), torch.zeros(2, 3)), "takes no soft labels"),
        (lambda: l2_svm_loss(torch.full((2, 3), float("nan")), torch.tensor([0, 1])), "scores must be numbers"),
        (lambda: l2_svm_loss(torch.zeros(2, 3), torch.tensor([0, 1]), C=0), "C must be above 0"),
        (lambda: l2_svm_loss(torch.zeros(2, 3), torch.tensor([0, 1]), reduction="avg"), "reduction must be one of"),
        (lambda: SVMHead(4, 1), "num_classes >= 2"),
        (lambda: SVMHead(4, 3, reduction="none"), "loss is one number"),
        (lambda: SVMHead(4, 3, decision="signs"), "decision must be"),
    ],
)
def test_mistakes_are_told(call, words):
    with pytest.raises(ValueError, match=words):
        call()
