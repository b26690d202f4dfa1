"""`inspect`: a recipe, atom by atom."""

from __future__ import annotations

import argparse

from conceptbasis.cli.command import Command, add_folder, add_show_text, console, say_next


def _add(parser: argparse.ArgumentParser) -> None:
    add_folder(parser)
    parser.add_argument("--layer", type=int, help="show only this target layer")
    parser.add_argument("--atom", type=int, help="show only this donor latent, in full")
    parser.add_argument(
        "--label",
        metavar="TEXT",
        help="keep a label of your own for --atom at --layer (labels.yaml of the run); an empty "
        "text takes it back",
    )
    parser.add_argument(
        "--side",
        choices=("donor", "target"),
        default="donor",
        help="whether --label is for the donor latent or its match (default: donor)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_show_text(parser)


def _run(options: argparse.Namespace) -> None:
    import json

    from conceptbasis.report.inspection import read_recipe
    from conceptbasis.runs.files import check_run_folder
    from conceptbasis.runs.storage import to_json

    check_run_folder(options.folder)
    if options.label is not None:
        _label(options)
    recipe = read_recipe(
        options.folder, layer=options.layer, atom=options.atom, show_text=options.show_text
    )
    if options.json:
        print(json.dumps(to_json(recipe), indent=1))
        return
    from conceptbasis.report.atom_views import print_recipe

    print_recipe(recipe, console(), few=options.layer is None, full=options.atom is not None)
    if options.atom is not None:
        say_next(options, "the same in a browser", "report", options.folder)
        return
    layers = {layer.target: layer for layer in recipe.layers}
    acting = layers.get(recipe.shared or 0, recipe.layers[0])
    largest = ("--layer", acting.target, "--atom", acting.donor_atoms[0].latent)
    say_next(options, "one atom in full", "inspect", options.folder, *largest)


def _label(options: argparse.Namespace) -> None:
    """Keeps a label of one's own for an atom or its match.

    Raises:
        ConfigError: It is not said which atom, or the atom has no match.
    """
    from conceptbasis.errors import ConfigError
    from conceptbasis.report.inspection import read_recipe
    from conceptbasis.report.own_labels import Labelled, write_label

    if options.layer is None or options.atom is None:
        raise ConfigError(
            "--label without --layer and --atom",
            expected="the atom that is labelled: a target layer and a donor latent",
            fix="add both; `conceptbasis inspect DIR` names them",
        )
    (row,) = read_recipe(options.folder, layer=options.layer, atom=options.atom).layers
    match = row.donor_atoms[0].target_latent
    which = Labelled("donor", row.donor, options.atom)
    if options.side == "target":
        if match is None:
            raise ConfigError(
                f"donor latent {options.atom} has no match at target layer {row.target}",
                expected="an atom with a match",
                fix="leave --side out to label the donor latent",
            )
        which = Labelled("target", row.target, match)
    write_label(options.folder, which, options.label)


INSPECT = Command(_add, _run)
