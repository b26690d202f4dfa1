"""The package as one uses it in Python and in notebooks: runs as data frames, matching, judging."""
