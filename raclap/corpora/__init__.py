"""One file a corpus: raw layout to manifest. The only place that knows a corpus."""
