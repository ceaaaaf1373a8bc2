import torch

from coursework.models.attention import attention_weights
from coursework.theory import similarity
from coursework.theory.checks import gaussian
from properties import SEED, every


@every((1, 12), (1, 12), (1, 9), SEED, (0.01, 3.0))
def test_bridge_for_all_queries_and_keys(n: int, m: int, d: int, seed: int, scale: float) -> None:
    q = scale * gaussian(seed)(n, d)
    k = scale * gaussian(seed + 1)(m, d)
    torch.testing.assert_close(
        similarity.rbf_regression(q, k), attention_weights(q, k), rtol=1e-8, atol=1e-10
    )


@every((2, 20), (1, 9), SEED)
def test_kernels_have_no_negative_eigenvalue(n: int, d: int, seed: int) -> None:
    x = gaussian(seed)(n, d)
    for gram in (similarity.rbf_kernel(x), similarity.exponential_kernel(x)):
        eigenvalues = torch.linalg.eigvalsh(gram)
        assert float(eigenvalues.min()) > -1e-12 * float(eigenvalues.max())


@every((1, 12), (1, 12), (1, 9), SEED)
def test_keys_of_equal_norm_need_no_weights(n: int, m: int, d: int, seed: int) -> None:
    q = gaussian(seed)(n, d)
    k = similarity.on_a_sphere(gaussian(seed + 1)(m, d))
    plain = similarity.plain_regression(q, k)
    torch.testing.assert_close(plain, attention_weights(q, k), rtol=1e-7, atol=1e-9)


def test_definition_by_loops() -> None:
    q, k = gaussian(0)(3, 4), gaussian(1)(5, 4)
    weights = similarity.rbf_regression(q, k)
    sigma2 = 2.0 * 4**0.5
    for i in range(3):
        terms = [
            torch.exp((k[j] @ k[j]) / sigma2 - ((q[i] - k[j]) @ (q[i] - k[j])) / sigma2)
            for j in range(5)
        ]
        torch.testing.assert_close(weights[i], torch.stack(terms) / sum(terms))
