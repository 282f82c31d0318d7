"""Says in words what is cut away: limits that a model cannot keep, and tasks of which much is lost."""

from __future__ import annotations

from collections.abc import Mapping

from tdro.data.tokens.cuts import Cutter, SideCut, TaskCut, percent

MUCH = 0.2  # the user is told of a task if more than this share of its queries, or of its passages, is cut
SAME = 0.01  # or if more than this share of its different texts become equal by the cut
_NAMED = 3  # how many tasks a line names


def cut_lines(name: str, cutter: Cutter, cuts: Mapping[str, TaskCut]) -> list[str]:
    """What the user is told before texts are read, at most three lines: limits a model cannot keep, where much is cut.

    Args:
        name: the model's name.
        cutter: what the cuts were made with.
        cuts: what is cut of each task, by the task's name.

    Example::

        minilm: much is cut away: 41 % of news's passages after 128 tokens; raise data.passage_tokens
    """
    lines = brought_down(name, cutter, cuts)
    if much := much_cut(cuts, cutter.longest):
        lines.append(f"{name}: {much}")
    return lines


def brought_down(name: str, cutter: Cutter, cuts: Mapping[str, TaskCut]) -> list[str]:
    """A line for each limit that is longer than what the model reads, alone or with an instruction before the text."""
    lines = []
    for side, limit in (("query", cutter.query_tokens), ("passage", cutter.passage_tokens)):
        of_side: dict[str, SideCut] = {task: getattr(cut, side) for task, cut in cuts.items()}
        less = {
            task: cut.limit
            for task, cut in of_side.items()
            if limit is not None and cut.limit is not None and cut.limit < limit
        }
        if not less:
            continue
        worst = min(less, key=lambda task: less[task])
        line = f"{side}_tokens: {limit} is brought down to {less[worst]}"
        if before := of_side[worst].prompt:
            line += (
                f" for task '{worst}': of the {cutter.longest} tokens that {name} reads, {before} are its instruction"
            )
            line += f"; {len(less) - 1} more tasks have less room too" if len(less) > 1 else ""
        else:
            line += f": {name} reads no more than {cutter.longest} tokens"
        lines.append(line)
    return lines


def much_cut(cuts: Mapping[str, TaskCut], longest: int | None) -> str:
    """One line on the tasks of which much is cut, the worst first; empty if there are none.

    Args:
        cuts: what is cut of each task, by the task's name.
        longest: the most tokens that the model reads; None for no limit.
    """
    sides = [
        (task, texts, side)
        for task, cut in cuts.items()
        for texts, side in (("queries", cut.query), ("passages", cut.passage))
        if side.cut > MUCH or side.same > SAME
    ]
    sides.sort(key=lambda found: (found[2].same > SAME, found[2].same, found[2].cut), reverse=True)
    if not sides:
        return ""
    named = [_side_line(*side) for side in sides[:_NAMED]]
    more = f", and {len(sides) - _NAMED} more" if len(sides) > _NAMED else ""
    # Where the model would read more than the recipe's limit, the limit can be raised.
    raisable = [texts for _, texts, side in sides if longest is None or (side.limit or 0) + side.prompt < longest]
    limits = (("queries", "query_tokens"), ("passages", "passage_tokens"))
    keys = [f"data.{key}" for texts, key in limits if texts in raisable]
    remedy = f"raise {' or '.join(keys)}" if keys else f"it reads no more than {longest} tokens"
    return f"much is cut away: {', '.join(named)}{more}; {remedy}"


def _side_line(task: str, texts: str, side: SideCut) -> str:
    """What is cut of a task's queries or passages. Example: ``41 % of news's passages after 128 tokens``."""
    same = f" ({percent(side.same)} of the different ones become equal)" if side.same else ""
    return f"{percent(side.cut)} of {task}'s {texts} after {side.limit} tokens{same}"
