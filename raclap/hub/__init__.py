"""From a finished run to a folder that AutoModel loads."""
