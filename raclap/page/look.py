"""Colours, type and the style of answers; fonts are the reader's own, so none is fetched."""

import gradio as gr
from gradio.themes.utils import colors, sizes

_SANS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
_MONO = ("ui-monospace", "SFMono-Regular", "Consolas", "monospace")


def theme() -> gr.themes.Base:
    """Of the page, light and dark."""
    base = gr.themes.Base(
        primary_hue=colors.teal, secondary_hue=colors.teal, neutral_hue=colors.slate,
        radius_size=sizes.radius_lg, font=_SANS, font_mono=_MONO,
    )  # fmt: skip
    return base.set(
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        block_label_text_color="*neutral_700",
        block_info_text_color="*neutral_600",
        color_accent="*primary_700",
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        block_border_width="1px",
        block_shadow="none",
        block_label_text_weight="600",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_500",
        button_primary_text_color="white",
    )


CSS = """
.dark { --color-accent: var(--primary-400); }
.gradio-container { max-width: 1120px !important; margin: 0 auto !important; }
.rc-head h1 { font-size: 1.9rem; line-height: 1.2; margin: .6rem 0 .3rem; letter-spacing: -.02em; }
.rc-head p { margin: 0 0 .4rem; max-width: 46rem; color: var(--body-text-color-subdued); font-size: 1.02rem; }
.rc-head b { color: var(--body-text-color); font-weight: 600; }
.html-container:has(.rc-head, .rc-foot), .rc-answer .html-container { padding: 0 !important; }
.rc-hint { border: 1px dashed var(--border-color-primary); border-radius: 12px; padding: 2.2rem 1.2rem; margin: 0;
  text-align: center; color: var(--body-text-color-subdued); }
.rc-sentence { border-left: 4px solid #c2410c; background: #c2410c14; border-radius: 8px; padding: .8rem 1rem;
  margin: 0; }
.rc-title { font-size: 1.05rem; margin: 0 0 .5rem; }
.rc-list { list-style: none; margin: 0; padding: 0; display: grid; gap: .55rem; }
.rc-row { background: var(--block-background-fill); border: 1px solid var(--border-color-primary);
  border-radius: 12px; padding: .65rem .85rem; }
.rc-words { font-weight: 550; margin-bottom: .35rem; overflow-wrap: anywhere; }
.rc-place { display: inline-block; min-width: 1.4em; color: var(--primary-700); }
.dark .rc-place { color: var(--primary-400); }
.rc-facts { display: flex; flex-wrap: wrap; gap: .3rem; margin-bottom: .45rem; }
.rc-facts span { font-size: .8rem; padding: .05rem .55rem; border-radius: 999px;
  background: var(--background-fill-secondary); border: 1px solid var(--border-color-primary); }
.rc-fit { display: grid; grid-template-columns: 1fr 3.4em; align-items: center; column-gap: .7rem; row-gap: .1rem; }
.rc-track { height: 10px; border-radius: 5px; background: var(--border-color-primary); overflow: hidden; }
.rc-bar { height: 100%; border-radius: 5px; background: var(--primary-600); }
.rc-value { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.rc-small { grid-column: 1 / -1; font-size: .84rem; color: var(--body-text-color-subdued);
  font-variant-numeric: tabular-nums; }
.rc-listen { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; margin-top: .45rem; }
.rc-listen audio { flex: 1 1 200px; height: 36px; min-width: 0; }
.rc-more { font: inherit; font-size: .86rem; padding: .35rem .8rem; border-radius: 999px; cursor: pointer;
  color: var(--body-text-color); background: transparent; border: 1px solid var(--neutral-400); }
.rc-more:hover { background: var(--primary-700); color: white; }
.rc-more:focus-visible { outline: 3px solid var(--primary-500); outline-offset: 2px; }
.rc-legend { font-size: .84rem; color: var(--body-text-color-subdued); margin: .7rem .1rem 0; }
.rc-foot { font-size: .84rem; color: var(--body-text-color-subdued); margin: 1.2rem .1rem 0; }
"""
