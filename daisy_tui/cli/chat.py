"""`daisy chat`: a plain chat in the terminal, with a server that runs already or with one of its own."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from core.errors import DaisyError
from core.text import plural
from daisy_tui.chatting.client import Client, ClientError
from daisy_tui.chatting.conversation import Conversation
from daisy_tui.chatting.room import LONGEST_ANSWER, as_count
from daisy_tui.chatting.serving import KEY_VARIABLE, Options, new_key, start_server, url_in
from daisy_tui.chatting.transcripts import Saved, Transcript
from daisy_tui.cli.serve import DEVICE, TEMPLATE, WEIGHTS
from daisy_tui.cli.text import echo

_HELP = """\
/temp 0.4      temperature of the answers from now on (0: the likeliest token)
/system TEXT   what the model is told first; without TEXT, nothing
/retry         another answer to the last question
/new           a new conversation
/help          these lines
/quit          the end; Ctrl-D too. Ctrl-C stops an answer.
//text         a question that begins with a slash"""
_ANEW = "/new begins a new conversation"
_MAX_TOKENS = f"Of an answer. [default: {LONGEST_ANSWER}, at most a quarter of what the model holds]"
SAMPLING = (
    click.option("--temperature", type=click.FloatRange(0, 2), default=0.7, show_default=True),
    click.option("--top_k", "--top-k", type=click.IntRange(0), default=50, show_default=True, help="0 leaves all in."),
    click.option("--top_p", "--top-p", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True),
    click.option("--repetition_penalty", "--repetition-penalty", type=float, default=1.0, show_default=True),
    click.option("--seed", type=int, help="The same seed gives the same text. [default: another one each time]"),
)


class _ServerEndedError(Exception):
    """The server of our own has ended, and has said why."""

    def __init__(self, code: int) -> None:
        self.code = code


def sampling_options(command: Any) -> Any:
    """The options of how to choose, on a command."""
    for option in reversed(SAMPLING):
        command = option(command)
    return command


def sampling(values: dict[str, Any]) -> dict[str, Any]:
    """What is sent of them."""
    return {name: value for name, value in values.items() if value is not None}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("checkpoint", metavar="[CKPT|RUN]", required=False)
@click.option("--url", metavar="URL", help="A server that runs already. [default: one of its own, for this chat]")
@click.option("--system", default="", metavar="TEXT", help="What the model is told before everything else.")
@click.option("--max_tokens", "--max-tokens", type=click.IntRange(1), help=_MAX_TOKENS)
@click.option(
    "--save",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Keep the chat as it is held, as JSON lines; a file that is there is gone on with.",
)
@sampling_options
@DEVICE
@WEIGHTS
@TEMPLATE
def chat(
    checkpoint: str | None,
    url: str | None,
    system: str,
    save: Path | None,
    device: str,
    weights: str,
    chat_template: str | None,
    **options: Any,
) -> int:
    """Chat with a checkpoint, a run's latest one, or a server. [default: the run that was started last]

    The key of a server that has one is taken from the environment (DAISY_API_KEY).
    """
    if url is not None:
        typed = [name for name in ("checkpoint", "device", "weights", "chat_template") if _is_typed(name)]
        if typed:
            what = {"checkpoint": "CKPT|RUN"}.get(typed[0], "--" + typed[0].replace("_", "-"))
            raise click.UsageError(f"--url names a server that runs already; {what} is for one of the chat's own")
        return _chat(client_at(url), system, save, options, lambda: True)
    how = Options(device, weights, chat_template)
    key = new_key()
    try:
        with _own_server(checkpoint or "latest", how.arguments, key) as (own_url, line, lives):
            echo(line)
            return _chat(Client(own_url, key), system, save, options, lives)
    except _ServerEndedError as error:
        return error.code


def client_at(url: str) -> Client:
    """Asks a server that runs already, with the key from the environment."""
    return Client(url, os.environ.get(KEY_VARIABLE), key_hint=f"this command takes the key from {KEY_VARIABLE}")


def _is_typed(name: str) -> bool:
    return click.get_current_context().get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


@contextmanager
def _own_server(
    checkpoint: str, arguments: list[str], key: str
) -> Generator[tuple[str, str, Callable[[], bool]], None, None]:
    """A server on a free port, for as long as it is needed: its URL, what it says of itself, and whether it lives."""
    server = start_server(checkpoint, arguments, key)  # Ctrl-C is for the answer, not for the server
    assert server.stdout is not None
    try:
        line = server.stdout.readline().decode(errors="replace").strip()
        url = url_in(line)
        if url is None:
            raise _ServerEndedError(server.wait() or 1)
        yield url, line, lambda: server.poll() is None
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()


def _chat(client: Client, system: str, save: Path | None, options: dict[str, Any], lives: Callable[[], bool]) -> int:
    models = client.get("/v1/models").get("data") or [{}]
    if not isinstance(models, list) or not isinstance(models[0], dict):
        raise ClientError(f"{client.url}: answers not as a server of OpenAI's kind does")
    if sys.stdin is None or sys.stdout is None:
        raise DaisyError("a chat needs standard input and output, and one of them is closed")
    conversation = Conversation(client, sampling(options), system)
    # Another program's server says nothing of templates: it has them.
    conversation.form = "chat" if models[0].get("chat_template", "") is not None else "plain"
    conversation.model, conversation.size = str(models[0].get("id") or ""), as_count(models[0].get("max_model_len"))
    with _saving(conversation, save) as transcript:
        if conversation.form == "plain":
            echo("this model has no chat template: it goes on with the text as it stands")
            echo("(its server's --chat-template NAME sets one)")
        echo("/help lists the commands; Ctrl-C stops an answer, Ctrl-D ends the chat")
        return _talk(conversation, transcript, lives)


@contextmanager
def _saving(conversation: Conversation, path: Path | None) -> Generator[Transcript | None, None, None]:
    """Write a conversation down in a file, if one is named; one that is there is gone on with."""
    if path is None:
        yield None
        return
    if path.exists():
        transcript, saved = Transcript.reopened(path)
        conversation.tree, conversation.system = saved.tree, conversation.system or saved.system
        echo(f"going on with {path}, of {plural(len(saved.tree.path), 'turn')}")
    else:
        began = Saved(conversation.model, conversation.form, conversation.system, time.time(), conversation.tree)
        transcript = Transcript(path, began)
    conversation.keeper = transcript
    try:
        yield transcript
    finally:
        transcript.close()


def _talk(conversation: Conversation, transcript: Transcript | None, lives: Callable[[], bool]) -> int:
    """Ask what is typed, and obey commands, to the end of the chat."""
    with suppress(ImportError):
        import readline  # noqa: F401 - input() has a history with it
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a model may say what the terminal has no letters for
    is_terminal = sys.stdin.isatty()
    told = ""
    while True:
        try:
            text = input("> " if is_terminal else "").strip()
        except EOFError:
            if is_terminal:
                echo("")
            return 0
        except KeyboardInterrupt:
            echo("\n(/quit or Ctrl-D ends the chat)")
            continue
        if text in ("/quit", "/exit"):
            return 0
        try:
            answer = _obey(conversation, text)
            if answer is not None:
                _show(conversation, answer)
        except ClientError as error:
            if not lives():
                raise DaisyError("this chat's own server has ended; `daisy chat` starts another") from error
            hint = f"; {_ANEW}" if error.code == "context_length_exceeded" else ""
            echo(f"{error}{hint}", err=True)
        if transcript is not None:
            transcript.chosen(conversation.tree.path, conversation.system)
        if transcript is not None and transcript.failure != told:
            told = transcript.failure
            echo(told or f"{transcript.path}: saved again", err=True)


def _obey(conversation: Conversation, text: str) -> Generator[str, None, None] | None:
    """The answer to what was typed; None for what is no question."""
    if not text:
        return None
    if not text.startswith("/") or text.startswith("//"):
        if (room := conversation.room()) is not None and room.is_full:
            echo(f"{room}; {_ANEW}", err=True)
            return None
        return conversation.ask(text.removeprefix("/") if text.startswith("//") else text)
    command, _, rest = text.partition(" ")
    rest = rest.strip()
    if command == "/retry":
        return conversation.retry()
    if command == "/new":
        conversation.new()
        echo("a new conversation")
    elif command == "/system":
        conversation.system = rest
        echo("the model is told this first" if rest else "the model is told nothing first")
    elif command == "/temp":
        try:
            value = float(rest)
        except ValueError:
            value = -1.0
        if 0 <= value <= 2:
            conversation.sampling["temperature"] = value
            echo(f"temperature {value:g}")
        else:
            echo(f"/temp {rest}: a number from 0 to 2, such as /temp 0.4")
    elif command == "/help":
        echo(_HELP)
    else:
        echo(f"{command}: no such command; /help lists those there are")
    return None


def _show(conversation: Conversation, answer: Generator[str, None, None]) -> None:
    """Print an answer as it comes; Ctrl-C stops it, which the server notices."""
    is_begun, stopped = False, ""
    try:
        for piece in answer:
            is_begun = True
            write(piece)
    except KeyboardInterrupt:
        stopped = "stopped; "
    finally:
        answer.close()
        if is_begun:
            write("\n")
    echo_dim(f"[{stopped}{conversation.speed}]")
    if failure := conversation.tree.tip.failure:
        echo(failure, err=True)
    if (room := conversation.room()) is not None and room.is_nearly_full:
        echo_dim(f"{room}; {_ANEW}")


def echo_dim(text: str) -> None:
    """Print what is beside the matter."""
    click.echo(click.style(text, dim=True))


def write(text: str) -> None:
    """Print what a model says: it may say anything, and control characters must not act."""
    if sys.stdout is None:
        raise DaisyError("standard output is closed, and an answer goes nowhere else; leave it open, or redirect it")
    sys.stdout.write("".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text))
    sys.stdout.flush()
