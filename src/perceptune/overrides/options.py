"""Options of the commands that take overrides: those of Hydra's that are of use, in full.

Hydra itself would take any abbreviation, also of the option that loads a pickle.
"""

from argparse import Namespace, RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from pathlib import Path

from perceptune.errors import UserError
from perceptune.terminal import Parser

_VALUED = ("cfg", "package", "info", "config_dir")
_SWITCHES = ("multirun", "resolve")
_SECTIONS = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
_REFUSED = "--experimental-rerun"


def parse_options(command: str, description: str, arguments: Sequence[str]) -> Namespace:
    """Parse `arguments`: options, and the words that are left as `overrides`.

    Raises:
        UserError: an option or a folder that does not exist, or an option that lacks its value.
    """
    for word in arguments:
        option = word.partition("=")[0]
        if len(option) > 2 and _REFUSED.startswith(option):
            raise UserError(f"{option} is refused: it would load a pickle, which can run any code")
    parsed = _parser(command, description).parse_intermixed_args(list(arguments))
    if parsed.multirun and (parsed.cfg or parsed.info):
        raise UserError("-m trains, --cfg and --info only print; leave out one of them")
    if parsed.config_dir is not None and not Path(parsed.config_dir).is_dir():
        raise UserError(f"--config-dir: no folder {parsed.config_dir}")
    parsed.command, parsed.description = command, description
    return parsed


def help_text(given: Namespace, options: Mapping[str, Sequence[str]]) -> str:
    """The help of a command; `options` are those of each group."""
    lines = [f"  {group:11} {', '.join(names)}" for group, names in options.items()]
    return _parser(given.command, given.description, "\n".join([_GROUPS, *lines])).format_help()


def for_hydra(given: Namespace) -> list[str]:
    """The options as Hydra's own parser takes them."""
    words = [f"--{name}" for name in _SWITCHES if getattr(given, name)]
    for name in _VALUED:
        value = getattr(given, name)
        words += [f"--{name.replace('_', '-')}={value}"] if value is not None else []
    return words


def _parser(command: str, description: str, epilog: str = "") -> Parser:
    parser = Parser(
        f"perceptune {command}",
        usage=f"perceptune {command} [OPTION ...] [OVERRIDE ...]",
        description=description.partition("\n")[0],
        epilog=epilog,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="KEY=VALUE")
    parser.add_argument("-h", "--help", action="store_true", help="print this, and train nothing")
    parser.add_argument(
        "-m",
        "--multirun",
        action="store_true",
        help="train every combination of values, or a study",
    )
    parser.add_argument("-c", "--cfg", choices=["job", "hydra", "all"], help="print the settings")
    parser.add_argument("--resolve", action="store_true", help="with --cfg: ${…} are replaced")
    parser.add_argument("-p", "--package", metavar="KEY", help="with --cfg: only these settings")
    parser.add_argument("-cd", "--config-dir", metavar="FOLDER", help="groups of your own")
    parser.add_argument("-i", "--info", choices=_SECTIONS, help="what Hydra knows of the settings")
    return parser


_GROUPS = """\
`--cfg job` prints every KEY with its value; the files in conf/ explain each.
Groups, of which an option is chosen by GROUP=OPTION:"""
