"""``tdro data dedup``: reads a mixture or data files, writes a new mixture of what is left, and an audit.

Nothing is changed in place. Without an output folder no mixture is written: one sees what would be removed.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tdro.data.mixtures.from_paths import mixture_of
from tdro.data.mixtures.write import made_before, mixture_key, write_mixture
from tdro.data.neardup.near_duplicates import THRESHOLD
from tdro.data.quality.dedup import By, Deduplicated, deduplicate
from tdro.data.task import Mixture
from tdro.data.testsets.test_texts import TestTexts, find_test_texts
from tdro.disk import check_writable
from tdro.errors import UserError
from tdro.files import file_holds, fingerprint, write_atomic

_VERSION = 1  # raise it when the rules of what is a duplicate change: outputs are then made anew


@dataclass(frozen=True)
class DedupOptions:
    """What is compared with what; see :func:`tdro.data.quality.dedup.deduplicate` and, for ``against`` and ``data``,
    :func:`tdro.data.testsets.test_texts.find_test_texts`."""

    against: Sequence[str] = ()
    by: By = "query"
    within: bool = False
    across: bool = False
    threshold: float = THRESHOLD
    data: Path | None = None


@dataclass(frozen=True)
class DedupResult:
    """What a deduplication found.

    Attributes:
        mixture: what was read.
        found: which rows stay, and why the others do not.
        left: the mixture that was or would be written, without tasks of which no row is left.
    """

    mixture: Mixture
    found: Deduplicated
    left: Mixture


def dedup_files(
    paths: Sequence[str], options: DedupOptions, out: Path | None = None, audit: Path | None = None, force: bool = False
) -> DedupResult | None:
    """Deduplicate a mixture or data files, and write what is left.

    Args:
        paths: a mixture folder; a recipe, for its sources; or any number of sources, a task each.
        options: what is compared with what.
        out: a new folder for the mixture that is left. None: it is not written.
        audit: a JSONL file that gets a line for each :class:`tdro.data.quality.dedup.Duplicate`.
        force: replace the mixture or the audit that is there.

    Returns:
        What was found; None if the same command has written everything before.

    Raises:
        UserError: an input that is not there or broken, nothing to compare with, or an output of other inputs that is
            there.
    """
    if not (options.against or options.within or options.across):
        raise UserError("nothing to compare with: give --against FOLDER, --within or --across")
    inputs = [path for name in [*paths, *options.against] if (path := Path(name).expanduser()).exists()]
    if audit is not None:
        check_writable(audit, read=inputs)

    @functools.cache
    def read() -> tuple[Mixture, list[TestTexts]]:
        passages = options.by != "query"
        tests = [test for source in options.against for test in find_test_texts(source, passages, options.data)]
        return mixture_of(paths), tests

    def key() -> str:
        return _key(*read(), options)

    written = out is not None and made_before(out, key, inputs, force)
    if written and audit is None:
        return None
    mixture, tests = read()
    found = deduplicate(mixture.tasks, tests, options.by, options.within, options.across, options.threshold)
    tasks = [
        task if len(kept) == len(task) else replace(task, rows=task.rows.select(kept), fingerprint="")
        for task, kept in zip(mixture.tasks, found.kept, strict=True)
        if len(kept)
    ]
    names = {task.name for task in tasks}
    left = Mixture(tasks, [test if test.task in names else replace(test, task="") for test in mixture.tests])
    if out is not None and not tasks:
        raise UserError(f"{out}: not written; no row of any task would be left")
    lines = "".join(json.dumps(duplicate.as_json(), ensure_ascii=False) + "\n" for duplicate in found.audit)
    if audit is not None:
        if audit.exists() and not force and not file_holds(audit, lines.encode()):
            raise UserError(f"{audit}: is there already, with other lines; name another file, or use --force")
        write_atomic(audit, lines)
    if out is not None and not written:
        write_mixture(left, out, force, key())
    return DedupResult(mixture, found, left)


def _key(mixture: Mixture, tests: Sequence[TestTexts], options: DedupOptions) -> str:
    """The fingerprint of all that the output depends on: the texts that are read, and the options."""
    against = [[test.name, test.queries, test.passages] for test in tests]
    settings = [options.by, options.within, options.across, options.threshold]
    return fingerprint(["dedup", _VERSION, mixture_key(mixture), against, settings])
