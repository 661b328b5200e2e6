"""What can be done in the chat, and the `daisy` command that does the same as things stand."""

from __future__ import annotations

from daisy_tui.actions import Action
from daisy_tui.chatting import sampling
from daisy_tui.widgets.chat_pane import ChatPane

_CHAT, _SAVE, _SAMPLE = "daisy chat CKPT|RUN", "daisy chat --save FILE", "daisy sample CKPT|RUN"


def _hidden(id: str, key: str, title: str, help: str, command: str = "", *, acts: bool = False) -> Action:  # noqa: A002
    """An action that the footer has no room for."""
    return Action(id, key, title, help, command, acts=acts, footer=False)


ACTIONS = (
    Action("words", "i", "Type", "Back to where one types; so does Enter, unless it means a token."),
    Action("source", "f2,s", "Model", "Choose a checkpoint, or a run to follow.", "daisy serve CKPT|RUN", acts=True),
    Action("lens", "f3,l", "Lens", "Colour tokens by probability, by entropy, or not at all."),
    Action("parameters", "f4,p", "Params", "Show or hide the parameters and the system prompt."),
    Action("beside", "f9,d", "Beside", "A second model on the same questions and seed; once more ends it.", _CHAT),
    Action("retry", "ctrl+r,r", "Retry", "Another answer, beside the one that is meant.", _CHAT),
    Action("edit", "ctrl+t,e", "Edit", "Ask the question that is meant otherwise; both are kept.", _CHAT),
    Action("go_on", "ctrl+g,k", "Go on", "Go on with the text, or with an answer that was cut.", _SAMPLE),
    Action("new", "ctrl+n,n", "New", "Another conversation; this one is kept.", _CHAT),
    _hidden("stop", "x", "Stop", "Stop what is coming; Escape does too. What came stays."),
    _hidden("branch", "ctrl+b,b", "Branch", "Go on from the answer that is meant, beside what came.", _CHAT),
    _hidden("before", "alt+left,left_square_bracket", "Before", "What stands beside this turn, before it."),
    _hidden("after", "alt+right,right_square_bracket", "Next", "What stands beside this turn, behind it."),
    _hidden("copy", "y", "Copy", "Copy the turn that is meant, or the text."),
    _hidden("preview", "f8,v", "Preview", "What the model would read now, with every id."),
    _hidden("mode", "m", "Chat or text", "Questions and answers, or one text that is gone on with.", _SAMPLE),
    _hidden("transcripts", "f6,t,o", "Open …", "Go on with a chat that was held before.", _SAVE),
    _hidden("write", "w", "Write", "Write this chat as a Markdown document, beside its transcript.", _SAVE, acts=True),
    _hidden("attach", "f7,a", "Attach …", "Talk to a server that runs already.", "daisy chat --url URL"),
    _hidden("end", "z", "End server", "End the server of the side that is meant.", acts=True),
)


_OF_THE_SCREEN = ("words", "lens", "parameters", "attach", "copy", "preview", "before", "after", "stop", "end")


def command(action: str, pane: ChatPane, text: str | None) -> list[str] | None:
    """The arguments of the command behind an action on a side; `text` is what is gone on with, if anything is."""
    server, conversation = pane.server, pane.conversation
    if server is None or action in _OF_THE_SCREEN:
        return None
    if action == "source":
        return ["serve", server.source, *server.options.arguments] if server.is_own else None
    whom = [server.source] if server.is_own else ["--url", str(server.url)]
    asked = sampling.options(conversation.sampling) if conversation is not None else []
    if text is not None and action in ("go_on", "retry", "mode"):
        return ["sample", *whom, "--prompt", text, *asked] if server.is_own else ["complete", text, *whom, *asked]
    system = ["--system", conversation.system] if conversation is not None and conversation.system else []
    keeps = pane.transcript is not None and action in ("write", "transcripts")
    save = ["--save", str(pane.transcript.path)] if keeps and pane.transcript is not None else []
    return ["chat", *whom, *asked, *system, *save]
