"""Completion for bash and zsh, made from the parser of the command line."""

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass

SHELLS = ("bash", "zsh")


@dataclass(frozen=True, slots=True)
class _Argument:
    """An option, or an operand if it has no flags. `values` are what it can be, if they can be counted."""

    flags: tuple[str, ...]
    name: str
    help: str
    takes_value: bool
    is_file: bool
    repeats: bool
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Command:
    """A subcommand, or the program itself, which has no name."""

    name: str
    help: str
    options: tuple[_Argument, ...]
    operands: tuple[_Argument, ...]


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """Return the completion script for "bash" or "zsh". Raises KeyError for another shell."""
    commands = list(_commands(parser))
    return {"bash": _bash, "zsh": _zsh}[shell](parser.prog, commands)


def _commands(parser: argparse.ArgumentParser) -> Iterator[_Command]:
    # argparse has no public way to ask a parser what it takes; these names are as old as the module.
    actions = parser._actions
    below = next((one for one in actions if isinstance(one, argparse._SubParsersAction)), None)
    yield _command("", "", actions)
    if below is not None:
        helps = {one.dest: _help(one) for one in below._choices_actions}
        for name, inner in below.choices.items():
            yield _command(name, helps.get(name, ""), inner._actions)


def _command(name: str, text: str, actions: list[argparse.Action]) -> _Command:
    # The list of subcommands is an action too, but no argument.
    plain = [one for one in actions if not isinstance(one, argparse._SubParsersAction)]
    arguments = [_argument(one) for one in plain if one.help != argparse.SUPPRESS]
    options = tuple(one for one in arguments if one.flags)
    return _Command(name, text, options, tuple(one for one in arguments if not one.flags))


def _argument(action: argparse.Action) -> _Argument:
    name = action.metavar if isinstance(action.metavar, str) else action.dest
    return _Argument(
        flags=tuple(action.option_strings),
        name=name,
        help=_help(action),
        takes_value=action.nargs != 0,
        is_file=name == "FILE",
        repeats=isinstance(action, argparse._AppendAction),
        values=tuple(str(value) for value in action.choices or ()),
    )


def _help(action: argparse.Action) -> str:
    return (action.help or "").replace("%%", "%")


# --- bash -------------------------------------------------------------------------------------------------------

_BASH = """\
# Completion of {program} for bash: source <({program} completion bash)
{function}() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} command="" option="" place=0 words="" files="" word i
    # Bash makes three words of --option=value.
    if [[ $cur == "=" ]]; then cur=""; fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${{COMP_WORDS[i]}}
        if [[ $word == "=" ]]; then continue; fi
        if [[ $option ]]; then option=""; continue; fi
        case "$command $word" in
{seen}
            *" -"*) ;;
            *) ((place += 1)) ;;
        esac
    done
    if [[ $option ]]; then
        case "$command $option" in
{values}
            *) return ;;
        esac
    elif [[ $cur != -* ]]; then
        case "$command $place" in
{operands}
        esac
    fi
    if [[ ! $option && ! $words && ! $files ]]; then
        case "$command" in
{options}
        esac
    fi
    if [[ $files ]]; then
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
    else
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
    fi
}}
complete -F {function} {program}
"""


def _bash(program: str, commands: list[_Command]) -> str:
    top, *below = commands
    seen, values, operands, options = [], [], [], []
    for command in commands:
        for option in command.options:
            cases = "|".join(f'"{command.name} {flag}"' for flag in option.flags)
            if option.takes_value:
                seen.append(f"{cases}) option=$word ;;")
                values.append(f"{cases}) {_bash_values(option)} ;;")
        for place, operand in enumerate(command.operands):
            operands.append(f'"{command.name} {place}") {_bash_values(operand)} ;;')
        flags = " ".join(flag for option in command.options for flag in option.flags)
        options.append(f'"{command.name}") words="{flags}" ;;')
    if below:
        seen.append("|".join(f'" {command.name}"' for command in below) + ") command=$word place=0 ;;")
        names = " ".join(command.name for command in below)
        operands.insert(0, f'"{top.name} 0") words="{names}" ;;')
    parts = {"seen": seen, "values": values, "operands": operands, "options": options}
    indented = {name: "\n".join(" " * 12 + case for case in cases) for name, cases in parts.items()}
    return _BASH.format(program=program, function="_" + re.sub(r"\W", "_", program), **indented)


def _bash_values(argument: _Argument) -> str:
    return "files=1" if argument.is_file else f'words="{" ".join(argument.values)}"'


# --- zsh --------------------------------------------------------------------------------------------------------

_ZSH = """\
#compdef {program}
# Completion of {program} for zsh: put this into a file called _{program} in a folder of $fpath.
_{program}() {{
    local curcontext=$curcontext state line ret=1
    local -a commands
    typeset -A opt_args
    commands=(
{commands}
    )
    _arguments -C \\
{options}
        '1:command:->command' \\
        '*::argument:->argument' && ret=0
    case $state in
        command) _describe -t commands command commands && ret=0 ;;
        argument)
            case $line[1] in
{below}
            esac
            ;;
    esac
    return ret
}}
# Called by its name from $fpath, or read by `source <({program} completion zsh)`.
if [[ ${{funcstack[1]}} == _{program} ]]; then
    _{program} "$@"
else
    compdef _{program} {program}
fi
"""


def _zsh(program: str, commands: list[_Command]) -> str:
    top, *below = commands
    names = [_quoted(_escaped(command.name) + ":" + command.help) for command in below]
    cases = []
    for command in below:
        specs = [*_zsh_options(command), *_zsh_operands(command)]
        cases.append(f"{command.name}) _arguments {' '.join(specs)} && ret=0 ;;")
    return _ZSH.format(
        program=program,
        commands="\n".join(" " * 8 + name for name in names),
        options="\n".join(" " * 8 + spec + " \\" for spec in _zsh_options(top)),
        below="\n".join(" " * 16 + case for case in cases),
    )


def _zsh_options(command: _Command) -> Iterator[str]:
    for option in command.options:
        # What is there already is not offered again, by any of its names, unless it may be.
        once = f"({' '.join(option.flags)})" if len(option.flags) > 1 else ""
        for flag in option.flags:
            # The value may be in the same word or in the next: --option=value, -ovalue.
            joint = ("=" if flag.startswith("--") else "+") if option.takes_value else ""
            value = f":{_escaped(option.name)}:{_zsh_values(option)}" if option.takes_value else ""
            yield _quoted(f"{'*' if option.repeats else once}{flag}{joint}[{_escaped(option.help)}]{value}")


def _zsh_operands(command: _Command) -> Iterator[str]:
    for place, operand in enumerate(command.operands, 1):
        yield _quoted(f"{place}:{_escaped(operand.name)}:{_zsh_values(operand)}")


def _zsh_values(argument: _Argument) -> str:
    return "_files" if argument.is_file else f"({' '.join(argument.values)})" if argument.values else " "


def _escaped(text: str) -> str:
    return re.sub(r"([\[\]:\\])", r"\\\1", text)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
