"""The workshop of RA-CLAP: corpora, data path, training, retrieval and Hub export. Never travels to the Hub."""

__version__ = "0.1.0"
