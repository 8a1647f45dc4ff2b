"""One draw: the random numbers, and whether tokens come out with the probabilities they should have."""

import os
from pathlib import Path

import pytest
import torch
from scipy import stats

import tiny
from assent.core.hashing import hash_int
from assent.engine.draw import BLOCK, draw, likeliest, uniform
from assent.engine.sample import sample

STORIES = Path(os.environ.get("ASSENT_TEST_DATA", "../shared")) / "models/stories260K"
MASK = 2**64 - 1


def splitmix(key: int, position: int) -> float:
    """Steele et al. 2014 with Python's integers."""
    x = (key + (position + 1) * 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return ((x ^ (x >> 31)) >> 11) * 2.0**-53


def test_the_published_splitmix64_stream() -> None:
    """The first outputs for state 0, as in the reference implementation's known answers."""
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    zero_N = torch.zeros(1, dtype=torch.int64)
    assert uniform(zero_N, torch.arange(3)).tolist() == [(x >> 11) * 2.0**-53 for x in published]


def test_uniforms_equal_pythons_integers() -> None:
    keys = [hash_int(3, f"a{i}") for i in range(200)] + [0, 1, 2**63 - 1]
    for position in (0, 1, 77):
        assert uniform(torch.tensor(keys), torch.tensor(position)).tolist() == [splitmix(k, position) for k in keys]
    assert uniform(torch.tensor(keys[:3]), torch.tensor([5, 0, 9])).tolist() == [
        splitmix(k, t) for k, t in zip(keys, (5, 0, 9), strict=False)
    ]


def test_uniforms_are_uniform_over_answers_and_over_positions() -> None:
    seed = 11
    print(f"seed {seed}")
    keys_N = torch.tensor([hash_int(seed, f"answer {i}") for i in range(2000)])
    table_NT = uniform(keys_N[:, None], torch.arange(20))
    assert stats.kstest(table_NT[:, 3], "uniform").pvalue > 1e-4
    assert stats.kstest(table_NT[:100].flatten(), "uniform").pvalue > 1e-4
    correlation = torch.corrcoef(table_NT.T) - torch.eye(20)
    assert correlation.abs().max() < 5 / 2000**0.5


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_tokens_come_with_their_softmax_probability(temperature: float) -> None:
    """Chi-square of 6,000 answers of two tokens, the second given the likeliest first."""
    seed, n = 4, 6000
    print(f"seed {seed}")
    model, prompt = tiny.policy(seed=1), (7, 8)
    names = [[f"answer {i}" for i in range(n)]]
    (answers,) = sample(
        model, [prompt], names, seed=seed, temperature=temperature, max_tokens=2, stop=(), token_budget=10**6
    )
    firsts = torch.tensor([r.ids[0] for r in answers])
    with torch.no_grad():
        likeliest = int(firsts.mode().values)
        seconds = torch.tensor([r.ids[1] for r in answers if r.ids[0] == likeliest])
        assert agrees(firsts, model, prompt, temperature)
        assert agrees(seconds, model, (*prompt, likeliest), temperature)
        assert not agrees(firsts, model, prompt, temperature * 1.3)  # the test sees a wrong temperature


def agrees(tokens: torch.Tensor, model, prompt: tuple[int, ...], temperature: float) -> bool:
    expected = len(tokens) * torch.softmax(model(torch.tensor([prompt])).logits[0, -1] / temperature, 0)
    seen = torch.bincount(tokens, minlength=len(expected)).double()
    common = expected >= 5  # the chi-square approximation needs it; the rest joins the largest cell
    common[expected.argmax()] = False
    cells = [torch.cat([x[common], x[~common].sum()[None]]).numpy() for x in (seen, expected)]
    return bool(stats.chisquare(*cells).pvalue > 1e-4)


def test_what_cannot_be_drawn_never_is() -> None:
    """Ids of -inf at the ends, in the middle, and whole blocks of them."""
    possible = [1, 3, 2 * BLOCK + 5, 3 * BLOCK - 1, 5 * BLOCK + 2]
    logits_V = torch.full((6 * BLOCK + 7,), -torch.inf)
    logits_V[possible] = torch.tensor([0.0, 1.0, 0.5, -0.5, 0.0])
    draws_N = torch.linspace(0, 1 - 2.0**-53, 5000, dtype=torch.float64)
    token_N, logp_N = draw(logits_V.repeat(5000, 1), draws_N)
    assert sorted(set(token_N.tolist())) == possible and torch.equal(token_N, token_N.sort().values)
    torch.testing.assert_close(logp_N, torch.log_softmax(logits_V, 0)[token_N])


@pytest.mark.parametrize("value, token", [(0.0, 1), (1 - 2.0**-53, 3)])
@pytest.mark.parametrize("size", [5, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_the_ends_of_the_unit_interval(value: float, token: int, size: int) -> None:
    """The smallest and the largest uniform number take the first and the last token that is possible."""
    logits_V = torch.full((size,), -torch.inf)
    logits_V[1:4] = torch.tensor([0.0, 0.5, 1.0])
    assert draw(logits_V[None], torch.tensor([value]).double())[0].item() == token
    assert draw(logits_V.flip(0)[None], torch.tensor([value]).double())[0].item() == size - 1 - {1: 3, 3: 1}[token]


def test_a_cumulated_probability_by_hand() -> None:
    """p = (1/2, 1/4, 1/4): 0.6 falls into the second token, 0.5 too (its lower end), 0.8 into the third."""
    logits_NV = torch.tensor([0.5, 0.25, 0.25]).double().log().repeat(4, 1)
    token_N, logp_N = draw(logits_NV, torch.tensor([0.6, 0.5, 0.8, 0.49]).double())
    assert token_N.tolist() == [1, 1, 2, 0]
    torch.testing.assert_close(logp_N.exp(), torch.tensor([0.25, 0.25, 0.25, 0.5]).double())


@pytest.mark.parametrize("size", [2, 40, BLOCK, BLOCK + 1, 2 * BLOCK, 1000])
def test_blocks_find_what_one_long_sum_finds(size: int) -> None:
    """The first token whose cumulated probability passes the number, cumulated over all ids at once."""
    print(f"seed {size}")
    torch.manual_seed(size)
    logits_NV = 3 * torch.randn(400, size, dtype=torch.float64)
    logits_NV[torch.rand_like(logits_NV) < 0.2] = -torch.inf
    logits_NV[:, size // 2] = 0.0
    uniform_N = torch.rand(400, dtype=torch.float64)
    token_N, logp_N = draw(logits_NV, uniform_N)
    for logits_V, number, token, logp in zip(logits_NV, uniform_N, token_N, logp_N, strict=True):
        cumulated = torch.softmax(logits_V, 0).cumsum(0)
        wanted = next(i for i, total in enumerate(cumulated.tolist()) if total > float(number * cumulated[-1]))
        assert int(token) == wanted
        assert float(logp) == pytest.approx(float(torch.log_softmax(logits_V, 0)[wanted]), abs=1e-12)


def test_the_likeliest_token_by_hand() -> None:
    token_N, logp_N = likeliest(torch.tensor([[0.2, 0.5, 0.3], [0.7, 0.2, 0.1]]).double().log())
    assert token_N.tolist() == [1, 0]
    assert logp_N.exp().tolist() == pytest.approx([0.5, 0.7])


@pytest.mark.skipif(not STORIES.exists(), reason=f"no {STORIES}: set ASSENT_TEST_DATA")
def test_the_known_greedy_text_of_a_pretrained_model() -> None:
    """stories260K, greedy from <s>: the 60 ids and the logits in its README."""
    from assent.models.load import load_policy, load_tokenizer, stop_ids

    ids = """403 407 261 378 432 383 286 261 376 298 315 421 395 317 426 338 401 396 267 337
    410 408 419 292 411 322 265 282 295 433 426 385 328 432 358 394 261 370 432 352
    266 268 388 426 338 391 266 267 337 335 312 432 398 312 286 267 414 270 333 415"""
    model, tokenizer = load_policy(STORIES).cpu(), load_tokenizer(STORIES)
    stop = stop_ids(model, tokenizer)
    assert set(stop) == {1, 2}
    ((answer,),) = sample(model, [(1,)], [["story"]], seed=0, temperature=0, max_tokens=60, stop=stop, token_budget=512)
    assert list(answer.ids) == [int(i) for i in ids.split()]
    logits_V = model(torch.tensor([[1]])).logits[0, -1]
    assert logits_V[[403, 385, 410]].tolist() == pytest.approx([17.0235, 15.4062, 13.1083], abs=1e-3)
    logp = torch.log_softmax(logits_V, 0)[403].item()
    assert answer.logps[0] == pytest.approx(logp, abs=1e-5)
