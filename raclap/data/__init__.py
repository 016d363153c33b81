"""From manifest row to padded batch: manifests, decoding, sampling, collation."""
