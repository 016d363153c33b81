"""The page and its three areas."""

from collections.abc import Callable, Sequence
from functools import partial

import gradio as gr

from raclap.page import markup
from raclap.page.answers import Answers
from raclap.page.clip_input import clip_input
from raclap.page.gallery import GalleryClip

_EXAMPLES = 6
_UPLOADS_ARE_KEPT = (600, 3600)  # seconds: how often old ones are looked for, and how old they get

_DESCRIPTIONS = "\n".join(
    (
        "a man who sounds surprised",
        "a cheerful old man with a high voice",
        "a happy girl",
        "an angry old woman with a deep voice",
        "a woman speaking happily and quietly",
        "a sad old man speaking quietly",
        "somebody whispering",
    )
)
_SEARCHES = (
    "a sad, quiet old man",
    "a frightened child",
    "a man whispering",
    "a child speaking fast in a high voice",
)
_NO_FIT_YET = "How well each description fits the clip is shown here."
_HEAD = """<header class="rc-head"><h1>How does it sound?</h1>
<p>RA-CLAP compares speech with descriptions of its style: who speaks, how high, how fast, how loud, in what mood.
<b>What is said is not judged.</b></p></header>"""
_FOOT = """<p class="rc-foot">Clips that you record or drop stay on this server and are deleted after an hour.
A model hears what it was trained to hear; judge nobody by it.</p>"""

# Buttons and players come and go with the answers, so the element that holds them listens.
# One player sounds at a time.
_LISTEN = """
element.addEventListener('click', event => {
  const button = event.target.closest('.rc-more');
  if (button) trigger('click', {number: Number(button.dataset.number)});
});
element.addEventListener('play', event => {
  document.querySelectorAll('audio').forEach(player => { if (player !== event.target) player.pause(); });
}, true);
"""


def build_page(answers: Answers, models: Sequence[str], gallery: Sequence[GalleryClip]) -> gr.Blocks:
    """Puts the page together.

    Args:
        answers: to what people ask.
        models: names to choose from.
        gallery: clips that are found; some of them serve as examples.
    """
    examples = gallery[:: max(1, len(gallery) // _EXAMPLES)][:_EXAMPLES]
    with gr.Blocks(
        title="RA-CLAP: how does it sound?", analytics_enabled=False, delete_cache=_UPLOADS_ARE_KEPT
    ) as page:
        gr.HTML(_HEAD)
        with gr.Tabs():
            with gr.Tab("Judge a clip", id="judge"):
                _judge(answers, models, examples)
            with gr.Tab("Find a voice", id="find"):
                _find(answers, models, len(gallery))
            if len(models) > 1:
                with gr.Tab("Compare", id="compare"):
                    _compare(answers, models, examples)
        gr.HTML(_FOOT)
    return page


def _judge(answers: Answers, models: Sequence[str], examples: Sequence[GalleryClip]) -> None:
    with gr.Row():
        with gr.Column(min_width=320, scale=4):
            clip = clip_input("Record or drop a clip of speech", examples)
            descriptions = _descriptions()
            model = _model(models)
            button = gr.Button("Judge", variant="primary", elem_id="judge-button")
        with gr.Column(min_width=320, scale=5):
            answer = _answer(_NO_FIT_YET, "judge-answer")
    inputs = [model, clip, descriptions]
    button.click(answers.judge, inputs, answer, api_name="judge", show_progress="minimal")

    def judge_at_once(name: str, path: str | None, texts: str) -> str:
        return answers.judge(name, path, texts) if path else markup.hint(_NO_FIT_YET)

    clip.change(judge_at_once, inputs, answer, api_visibility="private", show_progress="minimal")


def _find(answers: Answers, models: Sequence[str], clips: int) -> None:
    with gr.Row(equal_height=False):
        with gr.Column(min_width=320, scale=4):
            description = gr.Textbox(
                label="How does the voice sound that you look for?", placeholder=_SEARCHES[0], max_lines=3,
                elem_id="find-description",
            )  # fmt: skip
            gr.Examples([[search] for search in _SEARCHES], description, label="For example")
            model = _model(models)
            button = gr.Button("Find", variant="primary", elem_id="find-button")
        with gr.Column(min_width=320, scale=5):
            answer = _answer(f"The best of {clips} clips are shown here, to be heard.", "find-answer")
    asked = [button.click, description.submit]
    gr.on(asked, answers.find, [model, description], answer, api_name="find", show_progress="minimal")
    _more_like(answers, model, answer)


def _compare(answers: Answers, models: Sequence[str], examples: Sequence[GalleryClip]) -> None:
    with gr.Row():
        one = gr.Dropdown(list(models), value=models[0], label="One model")
        other = gr.Dropdown(list(models), value=models[1], label="The other model")
    with gr.Tabs():
        with gr.Tab("On a search"):
            description = gr.Textbox(
                value=_SEARCHES[0], label="How does the voice sound that you look for?", elem_id="compare-description"
            )
            find = gr.Button("Find with both", variant="primary", elem_id="compare-find-button")
        with gr.Tab("On a clip"), gr.Row():
            with gr.Column(min_width=320):
                clip = clip_input("Record or drop a clip of speech", examples)
            with gr.Column(min_width=320):
                descriptions = _descriptions()
                judge = gr.Button("Judge with both", variant="primary", elem_id="compare-judge-button")
    with gr.Row():
        columns = [
            _answer("What one model says is shown here.", "compare-one"),
            _answer("What the other model says is shown here.", "compare-other"),
        ]
    for model, column in zip((one, other), columns, strict=True):
        _more_like(answers, model, column)

    def ask_both(ask: Callable[..., str], one: str, other: str, *question: str | None) -> list[str]:
        return [ask(name, *question) for name in (one, other)]

    searched = [find.click, description.submit]
    gr.on(
        searched, partial(ask_both, answers.find), [one, other, description], columns, api_name="compare_find",
        show_progress="minimal",
    )  # fmt: skip
    judge.click(
        partial(ask_both, answers.judge), [one, other, clip, descriptions], columns, api_name="compare_judge",
        show_progress="minimal",
    )  # fmt: skip


def _more_like(answers: Answers, model: gr.Dropdown, answer: gr.HTML) -> None:
    """Makes the buttons of an answer work."""

    def more_like(name: str, event: gr.EventData) -> str:
        return answers.more_like(name, event.number)

    answer.click(more_like, model, answer, api_visibility="private", show_progress="minimal")


def _descriptions() -> gr.Textbox:
    return gr.Textbox(value=_DESCRIPTIONS, label="Descriptions, one a line", lines=7, max_lines=12)


def _model(models: Sequence[str]) -> gr.Dropdown:
    return gr.Dropdown(list(models), value=models[0], label="Model", visible=len(models) > 1)


def _answer(hint: str, identifier: str) -> gr.HTML:
    return gr.HTML(markup.hint(hint), elem_id=identifier, elem_classes="rc-answer", js_on_load=_LISTEN)
