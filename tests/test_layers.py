"""Everything in tdro imports downwards, as CONTRIBUTING.md has it."""

import ast
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "tdro"

# From the top down; what stands in one line may import each other. A module counts to its longest prefix here.
LAYERS = (
    ("__main__",),
    ("cli",),
    ("commands", "launch"),
    ("pipeline", "describe_files"),
    ("stages",),
    ("stage_one",),
    ("init", "report"),
    ("planning",),
    ("prepared",),
    ("mining",),
    ("evaluation",),
    ("dro",),
    ("retriever",),
    ("dro.weights", "weights_table", "facts_table", "run_folder"),  # plain values, for everybody above
    ("data",),
    ("recipe", "recipe_keys", "recipe_data", "recipe_types", "recipe_errors", "recipe_checks", "recipes"),
    ("data.places",),  # what a path or a hub's id looks like
    ("console", "files"),
    ("disk",),
    ("errors",),
)
LEVEL = {name: level for level, names in enumerate(reversed(LAYERS)) for name in names}


def layer(module):
    """The name in LAYERS that a module, without ``tdro.``, belongs to."""
    parts = module.split(".")
    return next(name for end in range(len(parts), 0, -1) if (name := ".".join(parts[:end])) in LEVEL)


def imports(tree):
    """The modules of tdro that are imported, wherever in the file, but not those that only types need."""
    nodes = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            nodes += node.orelse
        elif isinstance(node, ast.ImportFrom) and node.module == "tdro":
            yield from (alias.name for alias in node.names if not alias.name.startswith("_"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tdro."):
            yield node.module.removeprefix("tdro.")
        else:
            nodes += ast.iter_child_nodes(node)


def test_imports_point_down():
    upward = []
    for path in sorted(SOURCE.rglob("*.py")):
        module = ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        if module == "__init__":  # the public names, from everywhere
            continue
        for other in imports(ast.parse(path.read_text(encoding="utf-8"))):
            if LEVEL[layer(other)] > LEVEL[layer(module)]:
                upward.append(f"{path.relative_to(SOURCE)} imports tdro.{other}")
    assert not upward
