"""The names of mixtures: what is accepted, and what the errors teach."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdro.errors import UserError
from tdro.mixture_name import KINDS, SELECTIONS, MixtureName, known_mixture, parse_mixture


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("uniform", ("uniform", None, None)),
        ("loss-reweight", ("loss-reweight", None, None)),
        ("proportional^0.5", ("proportional", None, 0.5)),
        ("reweight^2", ("reweight", None, 2)),
        ("top-70", ("top", 70, None)),
        ("top-70^0.5", ("top", 70, 0.5)),
        ("top-70^1", ("top", 70, 1)),
        ("bottom-12.5^0.25", ("bottom", 12.5, 0.25)),
    ],
)
def test_a_name_is_taken_apart_and_put_together_again(name, parts):
    mixture = parse_mixture(name)
    assert mixture == MixtureName(*parts) and str(mixture) == name


@given(st.sampled_from(KINDS), st.floats(0, 100, exclude_min=True), st.none() | st.floats(0, 10, exclude_min=True))
def test_every_mixture_has_one_name(kind, percent, exponent):
    if kind in ("uniform", "loss-reweight") or (exponent == 1 and kind not in SELECTIONS):
        exponent = None
    mixture = MixtureName(kind, percent if kind in SELECTIONS else None, exponent)
    assert parse_mixture(str(mixture)) == mixture


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("top70^.5", "top-70^0.5"),
        ("top-70-0.5", "top-70^0.5"),
        ("top 70 ^ 0.5", "top-70^0.5"),
        ("TOP_70%^0.50", "top-70^0.5"),
        ("top-70.0", "top-70"),
        ("top-070^01", "top-70^1"),
        ("reweight**0.5", "reweight^0.5"),
        ("rewieght^0.5", "reweight^0.5"),
        ("alpha^0.5", "reweight^0.5"),
        ("size^0.5", "proportional^0.5"),
        ("proportional-0.5", "proportional^0.5"),
        ("loss_reweight", "loss-reweight"),
        ("uniform^0.5", "uniform"),
        ("loss-reweight^0.5", "loss-reweight"),
    ],
)
def test_another_spelling_is_told_the_right_one(written, meant):
    with pytest.raises(UserError, match="did you mean") as error:
        parse_mixture(written)
    assert str(error.value).endswith(f"did you mean '{meant}'?")
    assert parse_mixture(meant)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("top-0", "percentage above 0 and at most 100"),
        ("top-101^0.5", "percentage above 0 and at most 100"),
        ("top-" + "9" * 500, "percentage above 0 and at most 100"),
        ("top-70^0", "0 would make all shares equal"),
        ("reweight^11", "above 0 and at most 10"),
        ("reweight^1", "an exponent of 1 changes nothing; write 'reweight'"),
        ("top", r"known: uniform, proportional, .*top-P\^E"),
        ("top^0.5", "known: "),
        ("top-70^", "known: "),
        ("top-70^x", "known: "),
        ("top-70^-0.5", "known: "),
        ("top-70^0.5^0.5", "known: "),
        ("top-1.2.3", "known: "),
        ("reweight-0.5-0.5", "known: "),
        ("^0.5", "known: "),
        ("", "known: "),
        ("x" * 5000, "known: "),
    ],
)
def test_what_is_no_mixture_is_refused(name, said):
    with pytest.raises(UserError, match=said) as error:
        parse_mixture(name)
    assert len(str(error.value)) < 300


@given(st.text(max_size=30) | st.from_regex(r"(top|bottom|reweight|proportional)[-_^ .0-9%]*", fullmatch=True))
def test_any_text_is_a_mixture_or_an_error(text):
    try:
        assert str(parse_mixture(text)) == text
    except UserError as error:
        meant = str(error).rpartition("did you mean '")[2].removesuffix("'?")
        assert "did you mean" not in str(error) or known_mixture(meant)


def test_which_mixtures_need_the_weights():
    need = {name: parse_mixture(name) for name in ("uniform", "proportional^0.5", "reweight^0.5", "top-70^0.5")}
    assert [name for name, mixture in need.items() if mixture.samples_by_weights] == ["reweight^0.5", "top-70^0.5"]
    assert [name for name, mixture in need.items() if mixture.selects] == ["top-70^0.5"]
    loss = parse_mixture("loss-reweight")
    assert loss.uses_alpha and not loss.samples_by_weights
    gain = parse_mixture("gain^0.5")
    assert gain.uses_gain and gain.samples_by_weights and not gain.uses_alpha
    assert known_mixture("untrained") is None
