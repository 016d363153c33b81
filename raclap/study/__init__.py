"""A study: many training runs with several seeds, compared on test sets, with a verdict on each claim."""
