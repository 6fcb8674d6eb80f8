"""Classification by a word that a masked language model puts into a template."""
