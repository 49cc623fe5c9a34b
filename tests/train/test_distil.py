import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from geocamnet.errors import ModelError
from geocamnet.train.distil import FeatureMatch, dist, dkd, kl, kl_sigmoid, logit_loss, map_loss


def drawn(seed, *shape, scale=3.0):
    """Draw float64 values, so that equality means equality."""
    return torch.from_numpy(np.random.default_rng(seed).normal(0, scale, shape))


def softmax(row, temperature):
    values = np.exp(np.asarray(row) / temperature - np.max(row) / temperature)
    return values / values.sum()


seeds = st.integers(0, 10**6)
temperatures = st.floats(0.5, 8)


@given(seeds, temperatures)
def test_kl_equals_its_formula(seed, temperature):
    student, teacher = drawn(seed, 5, 7), drawn(seed + 1, 5, 7)
    expected = 0.0
    for s_row, t_row in zip(student.numpy(), teacher.numpy(), strict=True):
        s, t = softmax(s_row, temperature), softmax(t_row, temperature)
        expected += sum(t[c] * (np.log(t[c]) - np.log(s[c])) for c in range(7))
    expected *= temperature**2 / 5
    assert float(kl(student, teacher, temperature=temperature)) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(seeds, temperatures)
def test_kl_is_zero_for_equal_logits_and_for_any_common_shift(seed, temperature):
    teacher = drawn(seed, 4, 6)
    assert float(kl(teacher, teacher, temperature=temperature)) == pytest.approx(0, abs=1e-12)
    assert float(kl(teacher + drawn(seed + 1, 4, 1), teacher, temperature=temperature)) == pytest.approx(0, abs=1e-10)
    assert float(kl(drawn(seed + 2, 4, 6), teacher, temperature=temperature)) > 0


@given(seeds, temperatures)
def test_kl_sigmoid_is_the_mean_of_bernoulli_divergences_and_never_negative(seed, temperature):
    student, teacher = drawn(seed, 3, 5), drawn(seed + 1, 3, 5)
    s, t = (1 / (1 + np.exp(-one.numpy() / temperature)) for one in (student, teacher))
    expected = (t * np.log(t / s) + (1 - t) * np.log((1 - t) / (1 - s))).mean() * temperature**2
    found = float(kl_sigmoid(student, teacher, temperature=temperature))
    assert found == pytest.approx(expected, rel=1e-7, abs=1e-10)
    assert found > 0
    assert float(kl_sigmoid(teacher, teacher, temperature=temperature)) == pytest.approx(0, abs=1e-10)


def test_kl_sigmoid_holds_at_logits_no_probability_can_tell_from_certainty():
    certain = torch.tensor([[200.0, -200.0]])
    assert float(kl_sigmoid(certain, certain, temperature=1)) == 0
    assert torch.isfinite(kl_sigmoid(-certain, certain, temperature=1))


@pytest.mark.parametrize("kind", ["kl", "dkd", "dist", "kl_sigmoid"])
def test_every_loss_works_under_mixed_precision(kind):
    student, teacher = drawn(0, 4, 5).float().requires_grad_(True), drawn(1, 4, 5).float()

    def loss():
        if kind == "kl_sigmoid":
            return kl_sigmoid(student, teacher)
        return logit_loss(student, teacher, kind=kind, temperature=4)

    with torch.autocast("cpu", torch.bfloat16):
        rough = loss()
    rough.backward()
    assert torch.isfinite(student.grad).all()
    assert float(rough.detach()) == pytest.approx(float(loss().detach()), rel=0.05)


def test_kl_sigmoid_uses_nothing_that_mixed_precision_refuses_on_a_gpu(monkeypatch):
    # PyTorch raises for it in an autocast region on CUDA alone, where most tests do not run.
    monkeypatch.setattr(F, "binary_cross_entropy", None)
    kl_sigmoid(drawn(0, 2, 3), drawn(1, 2, 3))


@given(seeds, temperatures, st.integers(2, 8))
def test_dkd_with_the_teachers_doubt_as_weight_is_kl(seed, temperature, classes):
    # KL = TCKD + (1 - p_target) NCKD (Zhao et al. 2022, eq. 5), photograph by photograph.
    student, teacher = drawn(seed, 1, classes), drawn(seed + 1, 1, classes)
    target = torch.tensor([seed % classes])
    doubt = 1 - float(softmax(teacher[0].numpy(), temperature)[target])
    found = dkd(student, teacher, target, temperature=temperature, alpha=1, beta=doubt)
    assert float(found) == pytest.approx(float(kl(student, teacher, temperature=temperature)), rel=1e-6, abs=1e-9)


def test_dkd_equals_its_two_parts():
    student, teacher, targets = drawn(0, 6, 4), drawn(1, 6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    tckd = nckd = 0.0
    for s_row, t_row, target in zip(student.numpy(), teacher.numpy(), targets.tolist(), strict=True):
        s, t = softmax(s_row, 4), softmax(t_row, 4)
        tckd += t[target] * np.log(t[target] / s[target]) + (1 - t[target]) * np.log((1 - t[target]) / (1 - s[target]))
        s_rest, t_rest = (np.delete(one, target) / (1 - one[target]) for one in (s, t))
        nckd += (t_rest * np.log(t_rest / s_rest)).sum()
    for alpha, beta in ((1, 0), (0, 1), (1, 8)):
        expected = 16 * (alpha * tckd + beta * nckd) / 6
        assert float(dkd(student, teacher, targets, alpha=alpha, beta=beta)) == pytest.approx(expected, rel=1e-9)


@given(seeds)
def test_dkd_is_zero_for_equal_logits(seed):
    teacher = drawn(seed, 3, 5)
    assert float(dkd(teacher, teacher, torch.tensor([0, 4, 2]))) == pytest.approx(0, abs=1e-10)


def test_dkd_sets_the_teachers_answer_apart_where_no_label_is_given():
    student, teacher = drawn(0, 3, 5), drawn(1, 3, 5)
    by_answer = logit_loss(student, teacher, kind="dkd", temperature=2)
    assert torch.equal(by_answer, dkd(student, teacher, teacher.argmax(1), temperature=2))
    targets = (teacher.argmax(1) + 1) % 5
    by_label = logit_loss(student, teacher, kind="dkd", temperature=2, targets=targets)
    assert torch.equal(by_label, dkd(student, teacher, targets, temperature=2))


def test_dist_equals_its_correlations():
    student, teacher = drawn(0, 6, 4), drawn(1, 6, 4)
    s = np.array([softmax(row, 4) for row in student.numpy()])
    t = np.array([softmax(row, 4) for row in teacher.numpy()])
    between = 1 - np.mean([np.corrcoef(s[i], t[i])[0, 1] for i in range(6)])
    within = 1 - np.mean([np.corrcoef(s[:, c], t[:, c])[0, 1] for c in range(4)])
    assert float(dist(student, teacher)) == pytest.approx(16 * (between + within), rel=1e-6)
    assert float(dist(student, teacher, beta=2, gamma=0)) == pytest.approx(32 * between, rel=1e-6)
    assert float(dist(student, teacher, beta=0, gamma=3)) == pytest.approx(48 * within, rel=1e-6)


@given(seeds)
def test_dist_is_zero_for_equal_logits_and_at_most_two_a_part(seed):
    teacher = drawn(seed, 5, 4)
    assert float(dist(teacher, teacher)) == pytest.approx(0, abs=1e-6)
    assert float(dist(teacher + drawn(seed + 2, 5, 1), teacher)) == pytest.approx(0, abs=1e-6)
    assert -1e-6 <= float(dist(drawn(seed + 1, 5, 4), teacher, temperature=1)) <= 4 + 1e-6


def test_dist_does_not_mind_how_probabilities_are_stretched():
    # Correlations ignore an affine change of the probabilities: here towards an even spread.
    teacher = drawn(0, 5, 4)
    p = F.softmax(teacher / 4, dim=1)
    student = 4 * torch.log(0.5 * p + 0.5 / 4)
    assert float(dist(student, teacher)) == pytest.approx(0, abs=1e-6)
    assert float(kl(student, teacher)) > 0.01


def test_dist_of_a_single_photograph_compares_classes_alone():
    student, teacher = drawn(0, 1, 4), drawn(1, 1, 4)
    assert torch.equal(dist(student, teacher), dist(student, teacher, gamma=0))


@given(seeds, st.integers(0, 3))
def test_map_loss_equals_its_formula(seed, cells):
    student, teacher = drawn(seed, 2, 3, 6, 6), drawn(seed + 1, 2, 3, 2 * 3, 3 * 2)
    grid = cells or 6
    step = 6 // grid
    total = 0.0
    for b in range(2):
        for c in range(3):
            vectors = []
            for one in (student[b, c].numpy(), teacher[b, c].numpy()):
                pooled = one.reshape(grid, step, grid, step).mean((1, 3)).ravel()
                vectors.append(pooled / np.linalg.norm(pooled))
            total += ((vectors[0] - vectors[1]) ** 2).sum()
    assert float(map_loss(student, teacher, cells=cells)) == pytest.approx(total / 6, rel=1e-9)


@given(seeds, st.floats(0.01, 100))
def test_map_loss_compares_patterns_not_strengths(seed, strength):
    student, teacher = drawn(seed, 2, 3, 4, 4), drawn(seed + 1, 2, 3, 2, 2)
    loss = float(map_loss(student, teacher))
    assert float(map_loss(student * strength, teacher)) == pytest.approx(loss, rel=1e-7)
    assert float(map_loss(student, teacher * strength)) == pytest.approx(loss, rel=1e-7)
    assert 0 <= loss <= 4
    assert float(map_loss(student * strength, student)) == pytest.approx(0, abs=1e-10)
    assert float(map_loss(-student, student)) == pytest.approx(4)


def test_map_loss_takes_the_teachers_grid_and_survives_empty_maps():
    fine = drawn(0, 1, 2, 14, 14)
    coarse = F.adaptive_avg_pool2d(fine, 7)
    assert float(map_loss(fine, coarse)) == pytest.approx(0, abs=1e-10)
    student = torch.zeros(1, 2, 4, 4, requires_grad=True)
    map_loss(student, torch.zeros(1, 2, 2, 2)).backward()
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("loss", [kl, kl_sigmoid, dist, map_loss])
def test_following_a_loss_downhill_brings_the_student_to_the_teacher(loss):
    shape = (4, 3, 3, 3) if loss is map_loss else (4, 3)
    teacher, student = drawn(0, *shape), drawn(1, *shape).requires_grad_(True)
    start = float(loss(student, teacher).detach())
    optimiser = torch.optim.Adam([student], lr=0.1)
    for _ in range(150):
        optimiser.zero_grad()
        loss(student, teacher).backward()
        optimiser.step()
    assert float(loss(student, teacher).detach()) < 0.05 * start


def test_an_unknown_loss_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ModelError, match=r"'hinton'.*kl, dkd, dist"):
        logit_loss(drawn(0, 2, 3), drawn(1, 2, 3), kind="hinton", temperature=4)


@given(seeds, st.floats(0.1, 10))
def test_feature_match_equals_its_formula_and_ignores_the_scale_of_a_channel(seed, strength):
    torch.manual_seed(seed)
    match = FeatureMatch(3, 4, student_stride=16, teacher_stride=16).double()
    student, teacher = drawn(seed, 2, 3, 4, 5), drawn(seed + 1, 2, 4, 4, 5)
    weight, bias = match.projection.weight[:, :, 0, 0].detach().numpy(), match.projection.bias.detach().numpy()
    mean = teacher.numpy().mean((0, 2, 3), keepdims=True)
    spread = np.sqrt(teacher.numpy().var((0, 2, 3), keepdims=True) + 1e-5)
    wanted = (teacher.numpy() - mean) / spread
    cosines = []
    for b, y, x in np.ndindex(2, 4, 5):
        mine, theirs = weight @ student[b, :, y, x].numpy() + bias, wanted[b, :, y, x]
        cosines.append(mine @ theirs / np.linalg.norm(mine) / np.linalg.norm(theirs))
    distance = match(student, teacher).item()
    assert distance == pytest.approx(1 - np.mean(cosines), rel=1e-6)
    teacher[:, 1] *= strength
    assert match(student, teacher).item() == pytest.approx(distance, abs=2e-3)  # as far as the 1e-5 in the root allows


def test_features_are_compared_where_both_networks_look():
    # A student's features that are the position itself: cells 0, 2, 4 lie where the teacher's 0, 1, 2 do.
    match = FeatureMatch(1, 1, student_stride=16, teacher_stride=32)
    seen = []
    match.projection.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    match(torch.arange(6.0).view(1, 1, 1, 6).expand(1, 1, 6, 6), torch.rand(1, 1, 3, 3))
    assert seen[0].shape == (1, 1, 3, 3)
    torch.testing.assert_close(seen[0][0, 0, 1], torch.tensor([0.5, 2.0, 4.0]))  # the first has no left neighbour
