import torch

from coursework.theory import kernel_attention as ka
from properties import SEED, every


@every((1, 24), (1, 4), SEED)
def test_rank_is_at_most_the_number_of_features(n: int, d: int, seed: int) -> None:
    q, k, _ = ka.random_inputs(n, d, 1, seed)
    assert int(torch.linalg.matrix_rank(ka.factored_similarities(q, k))) <= d


def test_definition_by_loops() -> None:
    q, k, v = ka.random_inputs(5, 3, 2)
    found = ka.quadratic(q, k, v, ka.elu_plus_one)
    for i in range(5):
        sims = [float(ka.elu_plus_one(q[i]) @ ka.elu_plus_one(k[j])) for j in range(5)]
        torch.testing.assert_close(found[i], sum(sims[j] * v[j] for j in range(5)) / sum(sims))


def test_counted_cost_is_the_formula() -> None:
    n, d = 128, 8
    linear, quadratic = (ka.growth(f, [n])[0] for f in (ka.linear, ka.quadratic))
    assert (linear.multiply_adds, linear.largest) == (n * d * (2 * d + 1), n * d)
    assert (quadratic.multiply_adds, quadratic.largest) == (2 * n * n * d, n * n)
    assert quadratic.peak >= 4 * n * n > linear.peak
    assert not ka.check_exponent(exponent=2.0).holds
