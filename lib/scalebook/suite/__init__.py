"""The microscale suite: tiny causal transformers trained on the text of Python's standard library.

The learning curves that come out are the data set in ``data/suite``; several chapters fit them.
"""
