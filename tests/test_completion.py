"""Shell completion: by a real bash, and the same script for others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from bridge.cli import main

BIN = Path(sys.executable).parent


def completed(*words: str) -> list[str]:
    """Let a real bash complete the last of these words, by the script as a person reads it in."""
    script = """
        source <(pushkit-bridge completion bash)
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        complete -p pushkit-bridge >&2
        _pushkit_bridge_completion pushkit-bridge 2>/dev/null
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    result = subprocess.run(
        ["bash", "--norc", "-c", script, "bash", *words],
        capture_output=True, text=True, check=True, timeout=60,
        env={"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": "/"},
    )  # fmt: skip
    assert "-F _pushkit_bridge_completion pushkit-bridge" in result.stderr
    return result.stdout.split()


@pytest.mark.real
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("he",), ["healthcheck", "heartbeats"]),
        (("devices", "en"), ["enroll"]),
        (("config", "routes", ""), ["show", "test"]),
        (("config", "routes", "test", "--verify"), ["--verify.receivers"]),
        (("incidents", "list", "-o", ""), ["simple", "json"]),
        (("completion", "z"), ["zsh"]),
        (("zzz",), []),
    ],
)
def test_a_real_bash_completes_commands_flags_and_choices(
    words: tuple[str, ...], expected: list[str]
) -> None:
    assert completed("pushkit-bridge", *words) == expected


def test_a_command_is_completed_without_loading_those_that_it_could_be() -> None:
    """They bring an HTTP client and more: each press of the key would wait for them."""
    code = "import sys; from bridge.cli import main; main(prog_name='pushkit-bridge')"
    ask = {"_PUSHKIT_BRIDGE_COMPLETE": "bash_complete", "COMP_WORDS": "pushkit-bridge ", "COMP_CWORD": "1"}
    shown = "import atexit; atexit.register(lambda: print('aiohttp' in sys.modules, file=sys.stderr))"
    result = subprocess.run(
        [sys.executable, "-c", f"import sys; {shown}; {code}"],
        capture_output=True, text=True, check=False, timeout=60, env=dict(os.environ) | ask,
    )  # fmt: skip
    assert "plain,incidents" in result.stdout.splitlines()
    assert result.stderr == "False\n"


@pytest.mark.parametrize(
    ("shell", "says"),
    [("zsh", "#compdef pushkit-bridge"), ("fish", "complete --no-files --command pushkit-bridge")],
)
def test_other_shells_get_a_script_of_their_own(shell: str, says: str) -> None:
    result = CliRunner().invoke(main, ["completion", shell])
    assert (result.exit_code, says in result.stdout) == (0, True)
    assert "_PUSHKIT_BRIDGE_COMPLETE" in result.stdout


def test_a_shell_that_nobody_knows_is_refused() -> None:
    assert CliRunner().invoke(main, ["completion", "cmd"]).exit_code == 2
