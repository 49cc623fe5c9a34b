"""What a student can learn from a teacher: its logits and its class maps. Each loss with its paper."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geocamnet.errors import ModelError, unknown_name

LOGIT_LOSSES = ("kl", "dkd", "dist")


def logit_loss(
    student: Tensor, teacher: Tensor, *, kind: str, temperature: float, targets: Tensor | None = None
) -> Tensor:
    """Return the loss between two sets of logits.

    Args:
        student, teacher: (B, C) logits.
        kind: ``kl``, ``dkd`` or ``dist``.
        temperature: that softens both.
        targets: (B,) class ids that ``dkd`` sets apart; the teacher's own answer where None.

    Raises:
        ModelError: an unknown kind.
    """
    if kind == "kl":
        return kl(student, teacher, temperature=temperature)
    if kind == "dkd":
        return dkd(student, teacher, teacher.argmax(1) if targets is None else targets, temperature=temperature)
    if kind == "dist":
        return dist(student, teacher, temperature=temperature)
    raise ModelError(unknown_name("logit loss", kind, LOGIT_LOSSES))


def kl(student: Tensor, teacher: Tensor, *, temperature: float = 4.0) -> Tensor:
    """Return ``T^2 KL(softmax(t/T) || softmax(s/T))`` (Hinton et al. 2015, arXiv 1503.02531).

    Args:
        student, teacher: (B, C) logits s and t.
        temperature: T; T^2 keeps the gradient's size as T grows.
    """
    return temperature**2 * F.kl_div(
        F.log_softmax(student / temperature, dim=1),
        F.log_softmax(teacher / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )


def kl_sigmoid(student: Tensor, teacher: Tensor, *, temperature: float = 4.0) -> Tensor:
    """Return the same for several labels: the mean over classes of ``T^2 KL`` between Bernoulli variables."""
    soft = torch.sigmoid(teacher / temperature)
    # Both from logits: the form that takes probabilities is refused under mixed precision on a GPU.
    entropy = F.binary_cross_entropy_with_logits(teacher / temperature, soft)
    cross = F.binary_cross_entropy_with_logits(student / temperature, soft)
    return temperature**2 * (cross - entropy)


def dkd(
    student: Tensor,
    teacher: Tensor,
    targets: Tensor,
    *,
    temperature: float = 4.0,
    alpha: float = 1.0,
    beta: float = 4.0,
) -> Tensor:
    """Return decoupled distillation, ``T^2 (alpha TCKD + beta NCKD)`` (Zhao et al. 2022, arXiv 2203.08679).

    TCKD is the KL between (target, all others) probabilities; NCKD the KL between the distributions over
    the other classes alone, which plain KL weights down by the teacher's confidence.

    Args:
        student, teacher: (B, C) logits.
        targets: (B,) class ids.
        temperature: T.
        alpha, beta: weights of the two parts; the paper's are 1 and up to 8.
    """
    hot = F.one_hot(targets, student.shape[1]).bool()
    parts = []
    for logits in (student, teacher):
        log_p = F.log_softmax(logits / temperature, dim=1)
        log_target = log_p[hot]  # (B,)
        log_rest = torch.logsumexp(log_p.masked_fill(hot, -torch.inf), dim=1)  # (B,)
        others = log_p[~hot].view(len(logits), -1)  # (B, C - 1)
        parts.append((torch.stack([log_target, log_rest], dim=1), F.log_softmax(others, dim=1)))
    (student_pair, student_others), (teacher_pair, teacher_others) = parts
    tckd = F.kl_div(student_pair, teacher_pair, reduction="batchmean", log_target=True)
    nckd = F.kl_div(student_others, teacher_others, reduction="batchmean", log_target=True)
    return temperature**2 * (alpha * tckd + beta * nckd)


def dist(
    student: Tensor, teacher: Tensor, *, temperature: float = 4.0, beta: float = 1.0, gamma: float = 1.0
) -> Tensor:
    """Return DIST, ``beta (1 - r_between) + gamma (1 - r_within)`` (Huang et al. 2022, arXiv 2205.10536).

    r are Pearson correlations of the softened probabilities: between the classes of one photograph, and
    within one class over the photographs of the batch. Made for a teacher much stronger than its student.

    Args:
        student, teacher: (B, C) logits.
        temperature: that softens both.
        beta, gamma: weights of the two parts.
    """
    s = F.softmax(student / temperature, dim=1)
    t = F.softmax(teacher / temperature, dim=1)
    between = 1 - _pearson(s, t).mean()
    within = 1 - _pearson(s.T, t.T).mean() if len(s) > 1 else between.new_zeros(())
    return temperature**2 * (beta * between + gamma * within)


def map_loss(student: Tensor, teacher: Tensor, *, cells: int = 0) -> Tensor:
    """Return CAT-KD, the distance between class maps of *all* classes (Guo et al. 2023, CVPR, CAT-KD eq. 6).

    ``mean_c || P(S_c) / ||P(S_c)|| - P(T_c) / ||P(T_c)|| ||^2``, with P the average pooling to a coarse grid.
    Normalising leaves each map's pattern and takes its strength, which the logits carry.

    Args:
        student: (B, C, h, w) class maps.
        teacher: (B, C, h', w') class maps of the same crops and classes.
        cells: side of the grid; 0 takes the teacher's.
    """
    size = (cells, cells) if cells else (teacher.shape[-2], teacher.shape[-1])
    s = F.normalize(F.adaptive_avg_pool2d(student, size).flatten(2), dim=2)  # (B, C, n)
    t = F.normalize(F.adaptive_avg_pool2d(teacher, size).flatten(2), dim=2)
    return (s - t).square().sum(dim=2).mean()


class FeatureMatch(nn.Module):
    """The distance between a student's features and a teacher's, through one linear map that is trained along.

    ``mean over cells of 1 - cos(W f_s + v, (f_t - mu) / sigma)``: FitNets' hint (Romero et al. 2015, arXiv 1412.6550)
    on the last features, with the teacher's standardised over the batch so that its strongest channels don't rule
    (Heo et al. 2019, arXiv 1904.01866, normalise likewise). Needs no label and no common class, and teaches the trunk
    what the classifier alone would not ask for.

    Args:
        student_channels, teacher_channels: of the features.
        student_stride, teacher_stride: pixels per cell; the teacher's a whole multiple of the student's.

    Raises:
        ModelError: strides that are no multiples.
    """

    def __init__(
        self, student_channels: int, teacher_channels: int, *, student_stride: int, teacher_stride: int
    ) -> None:
        super().__init__()
        if teacher_stride % student_stride:
            raise ModelError(
                f"Features can be matched where the teacher's output stride ({teacher_stride}) is a whole multiple of "
                f"the student's ({student_stride})."
            )
        self.ratio = teacher_stride // student_stride
        self.projection = nn.Conv2d(student_channels, teacher_channels, kernel_size=1)
        # The teacher does not change, so all its past counts alike (momentum None).
        self.standardise = nn.BatchNorm2d(teacher_channels, affine=False, momentum=None)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the distance, 0 to 2, of features (B, K, h, w) and (B, L, h', w') of the same crops."""
        wide = 2 * self.ratio - 1  # centred on the student's cell that lies where the teacher's does
        student = F.avg_pool2d(student, wide, self.ratio, self.ratio - 1, count_include_pad=False)
        cosine = F.cosine_similarity(self.projection(student), self.standardise(teacher), dim=1)
        return 1 - cosine.mean()


class StageMatch(nn.Module):
    """The mean of `FeatureMatch` over several depths of two networks.

    Depth by depth, as Heo et al. (2019) do it: the last features of a network with published weights know what its
    own classes ask for; those of the stages before know textures, which is what rock is named by.

    Args:
        pairs: the student's stage, the teacher's stage, and the distance between the two.
    """

    def __init__(self, pairs: Sequence[tuple[int, int, FeatureMatch]]) -> None:
        super().__init__()
        self.places = [(one, other) for one, other, _ in pairs]
        self.matches = nn.ModuleList(match for _, _, match in pairs)

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """Return the distance, 0 to 2, of two networks' stages, each (B, K, h, w), of the same crops."""
        pairs = zip(self.places, self.matches, strict=True)
        return torch.stack([match(student[one], teacher[other]) for (one, other), match in pairs]).mean()


def _pearson(a: Tensor, b: Tensor) -> Tensor:
    """Return the (N,) correlations between the rows of two (N, M) matrices."""
    a, b = a - a.mean(dim=1, keepdim=True), b - b.mean(dim=1, keepdim=True)
    return F.cosine_similarity(a, b, dim=1, eps=1e-8)
