"""Says where a text stands in a corpus: an index of files, and the search for runs of lexemes that a text shares."""
