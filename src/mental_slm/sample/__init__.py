"""A small synthetic twin of every data set: invented words in the upstream file formats."""
