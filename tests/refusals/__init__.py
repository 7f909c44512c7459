"""What each module refuses, and in which words; a package, as its files share their names with those of `tests/`."""
