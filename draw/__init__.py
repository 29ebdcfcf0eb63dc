"""A model's graph drawn: a page that opens and folds, SVG and PNG."""
