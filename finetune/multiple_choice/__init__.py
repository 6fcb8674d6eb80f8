"""Multiple choice: which of the options of a row is right."""
