"""What is printed where there is no terminal: a line for what takes long, and nothing for the rest."""

import pytest

from tdro import console


@pytest.fixture
def clock(monkeypatch):
    """Seconds that go by only when the test says so, for tqdm and for us."""
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    return now


def test_a_bar_is_one_line_where_there_is_no_terminal(clock, capsys):
    with console.progress_bar(total=40, title="learning", unit=" steps", leave=True) as bar:
        bar.set_postfix_str("loss 0.3")
        for _ in range(40):
            clock[0] += 1
            bar.update(1)
    assert capsys.readouterr().err == "learning: 5 of 40 steps after 00:05, 00:35 left\n"


def test_what_is_done_within_seconds_prints_nothing(clock, capsys):
    for _ in console.progress_bar(range(4), "short", unit=" steps", leave=True):
        clock[0] += 1
    assert capsys.readouterr().err == ""
