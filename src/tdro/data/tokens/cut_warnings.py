"""Says in words what is cut away: limits that a model cannot keep, and tasks of which much is lost."""

from __future__ import annotations

from collections.abc import Mapping

from tdro.data.tokens.cuts import Cutter, SideCut, TaskCut, percent

MUCH = 0.2  # share of a side's texts that are cut, from which on it is said
SAME = 0.01  # the same of distinct texts that become another's
_NAMED = 3  # tasks named in a line


def cut_lines(name: str, cutter: Cutter, cuts: Mapping[str, TaskCut]) -> list[str]:
    """What to say before texts are read: what was brought down, and where much is cut; at most three lines.

    Args:
        name: of the model.
        cutter: what the cuts were made with.
        cuts: by task.
    """
    lines = brought_down(name, cutter, cuts)
    if much := much_cut(cuts, cutter.longest):
        lines.append(f"{name}: {much}")
    return lines


def brought_down(name: str, cutter: Cutter, cuts: Mapping[str, TaskCut]) -> list[str]:
    """A line for each limit that is more than the model reads, alone or with an instruction before it."""
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
        cuts: by task.
        longest: the most tokens that the model reads; None: all.
    """
    sides = [
        (task, what, side)
        for task, cut in cuts.items()
        for what, side in (("queries", cut.query), ("passages", cut.passage))
        if side.cut > MUCH or side.same > SAME
    ]
    sides.sort(key=lambda found: (found[2].same > SAME, found[2].same, found[2].cut), reverse=True)
    if not sides:
        return ""
    named = [_side(*side) for side in sides[:_NAMED]]
    more = f", and {len(sides) - _NAMED} more" if len(sides) > _NAMED else ""
    short = [what for _, what, side in sides if longest is None or (side.limit or 0) + side.prompt < longest]
    keys = [
        f"data.{key}" for what, key in (("queries", "query_tokens"), ("passages", "passage_tokens")) if what in short
    ]
    remedy = f"raise {' or '.join(keys)}" if keys else f"it reads no more than {longest} tokens"
    return f"much is cut away: {', '.join(named)}{more}; {remedy}"


def _side(task: str, what: str, side: SideCut) -> str:
    same = f" ({percent(side.same)} of the different ones become equal)" if side.same else ""
    return f"{percent(side.cut)} of {task}'s {what} after {side.limit} tokens{same}"
