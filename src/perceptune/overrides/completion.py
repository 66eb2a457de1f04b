"""Shell completion: commands, options, groups, keys, values. Imports nothing slow before a key."""

from collections.abc import Iterator, Sequence

SCRIPT = """\
_perceptune() {
    local IFS=' ' line="${COMP_LINE:0:COMP_POINT}" last
    local -a words
    read -ra words <<< "$line"
    [[ $line == *' ' ]] && words+=('')
    IFS=$'\\n'
    COMPREPLY=($("${words[0]}" --complete "${words[@]:1}" 2>/dev/null))
    last="${words[${#words[@]}-1]}"
    if [[ $last == *=* && $COMP_WORDBREAKS == *=* ]]; then  # bash completes what follows the sign
        COMPREPLY=("${COMPREPLY[@]#"${last%%=*}="}")
    fi
}
complete -o default -o nospace -F _perceptune perceptune
"""
_WITH_OVERRIDES = ("train", "compare", "evaluate")


def complete(words: Sequence[str], commands: Sequence[str]) -> list[str]:
    """What the last of `words` may become; a word that is complete ends in a space.

    Args:
        words: all that was typed after `perceptune`, the last one maybe empty.
        commands: the commands of Perceptune.
    """
    *before, last = words or [""]
    if not before:
        return [f"{name} " for name in commands if name.startswith(last)]
    if before[0] not in _WITH_OVERRIDES:
        return []
    return sorted({name for name in _names(before, last) if name.startswith(last)})


def _names(before: Sequence[str], last: str) -> Iterator[str]:
    """What may stand in place of `last` in a command that takes overrides."""
    from perceptune.app import names_beside
    from perceptune.overrides.words import split

    marks, key, value = split(last)
    if "=" in last:
        chosen = value[: value.rfind(",") + 1]
        names = names_beside(before[1:], key)
        yield from (f"{marks}{key}={chosen}{name} " for name in names)
    elif last.startswith("-"):
        yield from ("--multirun ", "--cfg ", "--config-dir ", "--help ", "--info ")
    else:
        for name in names_beside(before[1:]):
            if last.lstrip("+~").startswith("hydra") or not name.startswith("hydra."):
                yield f"{marks}{name}="
