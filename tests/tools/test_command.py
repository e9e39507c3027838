"""How commands end: a reader that has had enough, and Ctrl-C."""

import subprocess
import sys

import pytest

from kdzoo.tools.command import command


def ended(program):
    """(exit status of the command, its stderr) with its output piped into ``head -n 1``."""
    shell = f'"{sys.executable}" {program} | head -n 1 > /dev/null; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize("lines", [100_000, 3])  # while it prints, and as Python flushes at its end
def test_a_closed_pipe_ends_quietly(tmp_path, lines):
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, time\nfrom kdzoo.tools.command import command\n"
        "@command\ndef main():\n"
        "    print('first', flush=True)\n    time.sleep(0.5)\n"
        f"    for number in range({lines}):\n        print(number)\n    return 0\n"
        "sys.exit(main())\n"
    )
    assert ended(program) == (141, "")


def test_ctrl_c_is_one_line(capsys):
    @command
    def main():
        raise KeyboardInterrupt

    assert main() == 130 and capsys.readouterr().err == "interrupted\n"


def test_the_status_is_the_tools_own():
    assert command(lambda status: status)(2) == 2


def test_every_tool_ends_so():
    import importlib
    import inspect
    import pkgutil

    import kdzoo.tools

    names = [module.name for module in pkgutil.iter_modules(kdzoo.tools.__path__)]
    mains = {n: getattr(importlib.import_module(f"kdzoo.tools.{n}"), "main", None) for n in names}
    bare = [n for n, main in mains.items() if main is not None and inspect.unwrap(main) is main]
    assert len(mains) > 10 and not bare
