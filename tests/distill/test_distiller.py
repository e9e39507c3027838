"""The Distiller: who trains, who does not, and what a step's losses are."""

import pytest
import torch
from torch import nn

from kdzoo.distill import Distiller, build_terms, loss_context
from kdzoo.errors import ConfigError
from kdzoo.losses import functional as KF
from kdzoo.models import create_model
from kdzoo.output import ModelOutput

CE_KD = [dict(type="CrossEntropy", weight=0.1), dict(type="KD", temperature=2.0, weight=9.0)]
DHKD = [dict(type="CrossEntropy"), dict(type="BinaryKLNorm", weight=0.1, head="nonlinear", until_epoch=2)]


def distiller_of(networks, images, losses=CE_KD, **keywords):
    context = loss_context(*networks, images[:2], train_size=60, epochs=7)
    return Distiller(networks[0], build_terms(losses, **context), networks[1], **keywords)


def test_total_is_the_weighted_sum(networks, images, target):
    distiller = distiller_of(networks, images).eval()
    losses = distiller(images, target)
    student, teacher = (network.outputs(images).logits for network in networks)
    parts = torch.stack([0.1 * KF.cross_entropy(student, target), 9.0 * KF.kd(student, teacher, 2.0)])
    torch.testing.assert_close(losses.terms, parts.detach())
    torch.testing.assert_close(losses.total, parts.sum())
    assert losses.total.requires_grad and not losses.terms.requires_grad
    assert losses.correct == (student.argmax(dim=1) == target).sum()


def test_the_student_learns_and_the_teacher_does_not(networks, images, target):
    student, teacher = networks
    distiller = distiller_of(networks, images)
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    distiller(images, target).total.backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in student.classifier.parameters())
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert all(torch.equal(before[key], value) for key, value in teacher.state_dict().items())


def test_the_teacher_stays_in_evaluation_mode(networks, images):
    student, teacher = networks
    distiller = distiller_of(networks, images)
    for mode in (True, False, True):
        distiller.train(mode)
        assert student.training is mode and not any(module.training for module in teacher.modules())


def test_the_teacher_is_in_no_state_and_no_parameters(networks, images):
    distiller = distiller_of(networks, images)
    assert set(distiller.state_dict()) == {f"student.{key}" for key in networks[0].state_dict()}
    mine = {id(p) for p in distiller.parameters()}
    assert not mine & {id(p) for p in networks[1].parameters()}
    assert networks[1] not in set(distiller.modules())


def test_what_a_loss_trains_is_the_distiller_s_and_not_the_student_s(networks, images, target):
    distiller = distiller_of(networks, images, DHKD)
    own = {key for key in distiller.state_dict() if not key.startswith("student.")}
    assert any("head.classify.weight" in key for key in own)
    assert not any("head" in key for key in networks[0].state_dict())
    distiller(images, target).total.backward()
    head = distiller.losses[1].head
    assert all(p.grad.abs().max() > 0 for p in head.classify.parameters())
    assert {id(p) for p in head.parameters()} <= {id(p) for p in distiller.parameters()}
    assert networks[0].classifier.weight.grad.abs().max() > 0


def test_a_missing_teacher_is_told(networks):
    with pytest.raises(ConfigError) as error:
        Distiller(networks[0], build_terms(CE_KD))
    assert str(error.value) == ("losses[1]: KD needs a teacher; set teacher = dict(checkpoint=...) or remove this loss")


def test_plain_training_needs_no_teacher_and_never_runs_one(networks, images, target):
    distiller = Distiller(networks[0], build_terms([dict(type="CrossEntropy")]))
    distiller(images, target).total.backward()
    idle = Distiller(networks[0], build_terms([dict(type="CrossEntropy")]), Broken())
    assert torch.isfinite(idle(images, target).total)


class Broken(nn.Module):
    def outputs(self, images, features=False):
        raise AssertionError("the teacher ran")


def test_cached_logits_spare_the_teacher(networks, images, target):
    distiller = distiller_of(networks, images).eval()
    expected = distiller(images, target).total
    logits = networks[1].outputs(images).logits.detach()
    spared = Distiller(networks[0], build_terms(CE_KD), Broken()).eval()
    torch.testing.assert_close(spared(images, target, logits).total, expected)


def test_soft_targets(networks, images, target):
    soft = 0.7 * torch.eye(5)[target] + 0.3 * torch.eye(5)[target.roll(1)]
    distiller = distiller_of(networks, images, [dict(type="CrossEntropy"), dict(type="DKD"), dict(type="USKD")]).eval()
    losses = distiller(images, soft)
    losses.total.backward()
    assert torch.isfinite(losses.total) and losses.correct == distiller(images, target).correct


def test_features_are_asked_for_only_where_a_loss_reads_them(networks, images, target):
    asked = []
    for network in networks:
        outputs = network.outputs
        network.outputs = lambda x, features=False, o=outputs: asked.append(features) or o(x, features)
    for losses, wanted in ((CE_KD, False), ([*CE_KD, dict(type="USKD")], True)):
        distiller = distiller_of(networks, images, losses)
        asked.clear()
        distiller(images, target)
        assert asked == [wanted, wanted]


def test_weights_of_an_epoch(networks, images, target):
    losses = [dict(type="CrossEntropy"), dict(type="DKD", weight=2.0, warmup_epochs=4), *DHKD[1:]]
    distiller = distiller_of(networks, images, losses)
    seen = []
    for epoch in (0, 1, 2, 9):
        distiller.set_epoch(epoch)
        seen.append(distiller.weights.tolist())
    tenth = pytest.approx(0.1)
    assert seen == [[1.0, 0.5, tenth], [1.0, 1.0, tenth], [1.0, 1.5, 0.0], [1.0, 2.0, 0.0]]
    assert "weights" not in distiller.state_dict()
    before = distiller(images, target).terms
    assert before[2] == 0 and before[1] > 0


def test_a_term_that_is_off_moves_nothing(networks, images, target):
    distiller = distiller_of(networks, images, DHKD).eval()
    plain = Distiller(networks[0], build_terms(DHKD[:1])).eval()
    grads = []
    for epoch, module in ((0, distiller), (2, distiller), (2, plain)):
        module.zero_grad()
        module.set_epoch(epoch)
        module(images, target).total.backward()
        grads.append([p.grad.clone() for p in networks[0].parameters()])
        moved = [bool(p.grad.any()) for p in module.losses.parameters()]
        assert any(moved) == (module is distiller and epoch == 0)
    torch.testing.assert_close(grads[1], grads[2])
    assert not torch.allclose(grads[0][0], grads[1][0])


def test_a_new_epoch_compiles_nothing_anew(networks, images, target):
    losses = [dict(type="CrossEntropy"), dict(type="DKD", warmup_epochs=3), dict(type="CTKD", until_epoch=2)]
    distiller = distiller_of(networks, images, losses).eval()
    torch._dynamo.reset()
    compiled = torch.compile(distiller, fullgraph=True, backend="aot_eager")
    for epoch in range(3):
        distiller.set_epoch(epoch)
        with torch._dynamo.config.patch(error_on_recompile=epoch > 0):
            torch.testing.assert_close(compiled(images, target).terms, distiller(images, target).terms)


def test_losses_are_computed_in_float32_under_autocast(networks, images, target):
    distiller = distiller_of(networks, images, [*CE_KD, *DHKD[1:], dict(type="USKD")]).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = distiller(images, target)
    assert losses.total.dtype == torch.float32
    losses.total.backward()
    torch.testing.assert_close(losses.total, distiller(images, target).total, rtol=0.05, atol=0.05)


class Recorder(nn.Module):
    """A loss that remembers what it was handed."""

    def forward(self, student: ModelOutput, teacher, target):
        self.student, self.teacher = student, teacher
        return student.logits.sum()


def recorded(networks, losses, **flags):
    terms = build_terms(losses)
    for term in terms:
        term.loss = Recorder()
        for key, value in flags.items():
            setattr(term.loss, key, value)
    return Distiller(networks[0], terms, networks[1]).eval()


def test_a_second_view(networks, images, target):
    distiller = recorded(networks, [dict(type="KD"), dict(type="KD", view="second")], needs_teacher=True)
    assert distiller.needs_second
    strong = images.flip(3)
    distiller(images, target, second=strong)
    first, second = (loss.student for loss in distiller.losses)
    assert first.second is second and torch.equal(second.logits, networks[0].outputs(strong).logits)
    taught = distiller.losses[0].teacher
    assert distiller.losses[1].teacher is taught.second
    assert torch.equal(taught.second.logits, networks[1].outputs(strong).logits)
    with pytest.raises(ValueError, match="needs second"):
        distiller(images, target)


def test_mlkd_on_two_views(networks, images, target):
    losses = [dict(type="CrossEntropy"), dict(type="CrossEntropy", view="second"), dict(type="MLKD", masks="sample")]
    distiller = distiller_of(networks, images, losses).eval()
    assert distiller.needs_second
    strong = images.flip(3)
    result = distiller(images, target, second=strong)
    views = [networks[0].outputs(x).logits for x in (images, strong)]
    expected = torch.stack([KF.cross_entropy(x, target) for x in views]).detach()
    torch.testing.assert_close(result.terms[:2], expected)
    single = distiller_of(networks, images, [dict(type="MLKD", masks="sample", second_view=False)]).eval()
    assert not single.needs_second and single(images, target).total < result.terms[2]


def test_positions_reach_the_losses(networks, images, target):
    distiller = recorded(networks, [dict(type="KD")], needs_index=True)
    index = torch.arange(6)
    distiller(images, target, index=index)
    assert torch.equal(distiller.losses[0].student.index, index)
    with pytest.raises(ValueError, match="needs index"):
        distiller(images, target)


def test_split_gives_task_and_distillation(networks, images, target):
    distiller = distiller_of(networks, images, CE_KD, align=True).eval()
    losses = distiller(images, target)
    task, distill = distiller.split(losses)
    torch.testing.assert_close(torch.stack([task, distill]), losses.terms)
    task.backward(retain_graph=True)
    distill.backward()
    ours = [p.grad.clone() for p in networks[0].parameters()]
    networks[0].zero_grad()
    distiller(images, target).total.backward()
    torch.testing.assert_close(ours, [p.grad for p in networks[0].parameters()])


def test_nothing_to_align_is_told(networks, images):
    for losses in (CE_KD[:1], CE_KD[1:]):
        with pytest.raises(ConfigError, match="losses: aligning gradients takes"):
            distiller_of(networks, images, losses, align=True)


@pytest.mark.gpu
def test_a_step_waits_for_nothing(networks, images, target):
    networks = [network.cuda() for network in networks]
    losses = [*CE_KD, *DHKD[1:], dict(type="DKD"), dict(type="USKD"), dict(type="PLD"), dict(type="CTKD")]
    losses += [dict(type="MLKD"), dict(type="DIST"), dict(type="NKD"), dict(type="WSLD")]
    images, target = images.cuda(), target.cuda()
    distiller = distiller_of(networks, images, losses).cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        distiller(images, target, second=images).total.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.isfinite(networks[0].classifier.weight.grad).all()


def normed_teacher():
    teacher = create_model("resnet8", num_classes=5)
    torch.manual_seed(0)
    for module in teacher.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    return teacher


def test_a_folded_teacher_answers_alike_without_batch_norms():
    teacher, images = normed_teacher(), torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    distiller = Distiller(create_model("resnet8", num_classes=5), build_terms(CE_KD), teacher)
    wanted = distiller.teach(images).logits
    distiller.fold_teacher(images)
    distiller.train()
    norms = []
    for module in teacher.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda *_: norms.append(1))
    assert torch.allclose(distiller.teach(images).logits, wanted, atol=1e-3 * wanted.abs().max())
    assert not norms and not distiller.teach(images).logits.requires_grad
    assert not any("teacher" in name for name, _ in distiller.named_modules())


def test_a_teacher_whose_features_are_read_is_not_folded():
    teacher, images = normed_teacher(), torch.rand(4, 3, 32, 32)
    student = create_model("resnet8", num_classes=5)
    context = loss_context(student, teacher, images[:2], 10, 1)
    distiller = Distiller(student, build_terms([dict(type="FitNet")], **context), teacher)
    distiller.fold_teacher(images)
    assert len(distiller.teach(images).features) == 4


def test_a_teacher_that_cannot_be_traced_teaches_itself(networks, images):
    class Branching(nn.Module):
        def outputs(self, images, features=False):
            return ModelOutput(self(images))

        def forward(self, images):
            return images.flatten(1)[:, :3] * (1 if images.sum() > 0 else -1)

    distiller = Distiller(networks[0], build_terms(CE_KD), Branching())
    distiller.fold_teacher(images)
    assert torch.equal(distiller.teach(images).logits, Branching()(images))
