"""One page that shows a finished run: curves, figures, maps and mistakes."""
