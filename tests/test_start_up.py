"""How scripts end where their output is cut off, closed or knows few letters, and where they are told to end."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest
from commands import command

# Stands for a script: what stands in for its work prints, and waits where it is told to.
PROBE = """
import sys, time
from ccsn_tf.config import flags as command_line
sys.argv[0] = "probe.py"
def main():
    {work}
command_line.run(main)
"""


def probe(work, *through, **options):
    """The process of a script whose main is `work`, started by the command `through`."""
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    return subprocess.Popen([*through, sys.executable, "-c", PROBE.format(work=work)], **pipe)


def ends_quietly(process):
    """Whether it ends without a word, with the status of one that was cut off."""
    with process:
        return (process.stderr.closed or process.stderr.read() in ("", b"")) and process.wait(
            60
        ) == 128 + signal.SIGPIPE


@pytest.mark.parametrize(("flush", "lines"), [(True, 100_000), (False, 2)])
def test_nobody_reads_on(flush, lines):
    process = probe(f"[print('line', n, flush={flush}) for n in range({lines})]; sys.exit('probe: some failed')")
    if lines > 2:
        assert process.stdout.readline() == "line 0\n"
    process.stdout.close()
    assert ends_quietly(process)


@pytest.mark.parametrize("work", ["print('a line')", "print('a line', flush=True)", "print('a line'); sys.exit(0)"])
def test_output_on_a_full_disk(work):
    with open("/dev/full", "w") as full:
        process = probe(work, stdout=full)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said == "probe: the output cannot be written (No space left on device): free space, or send it elsewhere.\n"


def test_help_that_nobody_reads_to_its_end():
    process = subprocess.Popen(command("scripts/prepare.py", "--help"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert ends_quietly(process)


@pytest.mark.parametrize("closed", [(1,), (0, 1, 2)])
def test_closed_streams_receive_nothing_of_files(tmp_path, closed):
    """The next file to be opened would otherwise get the number of standard output, and all that is printed."""
    work = f"file = open({str(tmp_path / 'file')!r}, 'w'); print('printed', flush=True); sys.stdout.isatty(); "
    work += "print('error', file=sys.stderr, flush=True); file.write('written')"
    redirected = " ".join(f"{number}>&-" for number in closed)
    shell = f'exec "$0" -c "$1" {redirected}'
    run = subprocess.run(
        ["sh", "-c", shell, sys.executable, PROBE.format(work=work)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0 and (tmp_path / "file").read_text() == "written"
    assert run.stdout == ("" if 1 in closed else "printed\n") and run.stderr == ("" if 2 in closed else "error\n")


def test_letters_that_the_terminal_does_not_know():
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    out, err = probe(
        "print('走る'); raise command_line.UserError('走る.mp4 is no video.')", env=environment
    ).communicate()
    assert out == r"\u8d70\u308b" + "\n" and err == r"probe: \u8d70\u308b.mp4 is no video." + "\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end(tmp_path, number):
    """What is half done is cleared up, and one sentence says so."""
    half = tmp_path / "half"
    work = f"from ccsn_tf.files import whole_file\n    with whole_file({str(half)!r}) as beside:\n"
    work += "        beside.touch(); print('begun', flush=True); time.sleep(60)"
    # Shells ignore SIGINT in what they run in the background, which these tests may be. (Not by `preexec_fn`: what gRPC
    # does at a fork may end the child.)
    process = probe(work, "env", "--default-signal=INT")
    assert process.stdout.readline() == "begun\n"
    assert len(list(tmp_path.iterdir())) == 1
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert err == "\nprobe: interrupted; the same command goes on where this one stopped.\n" and process.returncode == 1
    assert not list(pathlib.Path(tmp_path).iterdir())


def test_what_is_ignored_stays_ignored():
    """As under nohup, and for the jobs of a shell script."""
    work = "os = __import__('os'); signal = __import__('signal'); os.kill(os.getpid(), signal.SIGINT); print('lives')"
    shell = ["sh", "-c", 'trap "" INT; exec "$0" -c "$1"', sys.executable, PROBE.format(work=work)]
    assert subprocess.run(shell, capture_output=True, text=True, timeout=60, check=True).stdout == "lives\n"


def test_a_script_that_needs_tensorflow_says_so_where_it_is_not():
    code = "import sys; sys.modules['tensorflow'] = None; sys.argv = ['scripts/train.py']; "
    code += "from ccsn_tf.start_up import load_tensorflow; load_tensorflow()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert result.stderr.startswith("train: TensorFlow is not installed: pip install ")
