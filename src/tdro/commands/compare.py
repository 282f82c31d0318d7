"""``tdro compare PLACE…``: differences between evaluated models, with intervals, p-values and queries to read."""

from __future__ import annotations

import argparse
from pathlib import Path

from tdro.commands.arguments import whole_number
from tdro.commands.output import add_json, print_answer

NAME = "compare"
SUMMARY = "compare evaluated models: differences, intervals, p-values, and queries to read"
EXAMPLE = "tdro compare runs/quickstart --examples 3"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "places",
        metavar="PLACE",
        nargs="+",
        type=Path,
        help="a run folder (all its groups), its folder evaluation/GROUP, or the folder with one model's results; or "
        "files of other tools, and folders of them: TREC runs, mteb's predictions and results, or what "
        "sentence-transformers' InformationRetrievalEvaluator writes",
    )
    parser.add_argument(
        "--qrels",
        metavar="FILE",
        nargs="+",
        type=Path,
        default=[],
        help="the judgements by which TREC runs and predictions are scored, in BEIR's or TREC's format: a file, the "
        "folder of a test set, or a folder of these, one for each test set",
    )
    parser.add_argument(
        "--baseline",
        metavar="NAME",
        help="the model that all others are compared with (default: uniform of the same group, else the first model)",
    )
    parser.add_argument(
        "--measure", metavar="NAME", default="ndcg@10", help="the measure to compare by (default: ndcg@10)"
    )
    parser.add_argument(
        "--examples",
        metavar="N",
        type=whole_number("queries", least=0),
        default=0,
        help="show the N queries that gained most and the N that lost most (default: 0)",
    )
    parser.add_argument("--out", metavar="FILE.json", type=Path, help="write every number to this file too")
    parser.add_argument("--force", action="store_true", help="overwrite that file")
    add_json(parser)


def run(options: argparse.Namespace) -> None:
    """Compare the models and print the table."""
    from tdro.disk import check_writable
    from tdro.errors import UserError

    if options.out is not None:
        check_writable(options.out, read=[*options.places, *options.qrels])
    from tdro.evaluation.compare.compare import compare_places
    from tdro.evaluation.compare.compare_table import comparison_table
    from tdro.evaluation.compare.examples import examples_text
    from tdro.files import holds_json, write_json

    comparison = compare_places(options.places, options.baseline, options.measure, options.examples, options.qrels)
    if options.out is not None and options.out.exists() and not (options.force or holds_json(options.out, comparison)):
        raise UserError(f"{options.out} is there already and holds something else; name another file, or use --force")

    def text() -> str:
        examples = [examples_text(comparison["examples"])] if options.examples else []
        return "\n\n".join([comparison_table(comparison), *examples])

    print_answer(options, comparison, text)
    if options.out is not None:
        write_json(options.out, comparison)
        if not options.json:
            print(options.out)
