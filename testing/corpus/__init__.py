"""A corpus: cases with expected values as files, in the layout of ONNX's old node tests."""

from onnxla.testing.corpus.entry import Entry, entries
from onnxla.testing.corpus.folder import check_corpus, export_corpus

__all__ = ["Entry", "check_corpus", "entries", "export_corpus"]
